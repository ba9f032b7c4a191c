// The login in a real browser against a Braid that asks for credentials.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import axe from "axe-core";
import { chromium } from "playwright-core";
import { start } from "./braid.mjs";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
let braid;
let browser;
let dir;
let key;

before(async () => {
  dir = mkdtempSync(join(tmpdir(), "braid-login-"));
  const keys = (...rest) => execFileSync(process.env.BRAID_BIN, ["keys", ...rest, "--file", join(dir, "keys.yaml")], { input: "open sesame\n", stdio: ["pipe", "pipe", "ignore"], encoding: "utf8" }).trim();
  keys("user", "ada", "--scope", "read");
  key = keys("add", "--name", "the page", "--scope", "read");
  writeFileSync(join(dir, "braid.yaml"), "auth: {credentials_file: keys.yaml}\n");
  braid = await start(["--config", join(dir, "braid.yaml"), "--login-link"]);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
});
after(async () => {
  await browser?.close();
  await braid?.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function open(path) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const problems = [];
  page.on("pageerror", (e) => problems.push(e.message));
  page.on("console", (m) => m.type() === "error" && !m.text().startsWith("Failed to load resource") && problems.push(m.text()));
  await page.goto(`${braid.url}/${path}`, { timeout: 60_000 });
  return { context, page, problems };
}

test("a stranger sees the login and nothing else; a password opens the page where it was asked for; logging out closes it", async () => {
  const { context, page, problems } = await open("#/system?from=now-15m");
  await page.getByRole("heading", { name: "Log in to Braid" }).waitFor();
  assert.equal(await page.getByRole("navigation", { name: "Pages" }).count(), 0);
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(", ")}`), []);
  await page.getByLabel("User", { exact: true }).fill("ada");
  await page.getByLabel("Password", { exact: true }).fill("open barley");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText("that is not right").waitFor();
  await page.getByLabel("Password", { exact: true }).fill("open sesame");
  await page.keyboard.press("Enter");
  await page.getByText("storage.retention.logs").waitFor();
  assert.match(page.url(), /#\/system\?from=now-15m$/);
  const [cookie] = (await context.cookies()).filter((c) => c.name === "braid_session");
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/"]);
  assert.equal(await page.evaluate(() => document.cookie), "");
  // It is a session of the server's: a reload goes on, a request that changes something needs the session's word.
  await page.reload();
  await page.getByText("storage.retention.logs").waitFor();
  assert.equal(await page.evaluate(async () => (await fetch("/api/v1/query", { method: "POST", body: new URLSearchParams({ query: "1" }) })).status), 403);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("heading", { name: "Log in to Braid" }).waitFor();
  assert.equal(await page.evaluate(async () => (await fetch("/api/v1/labels", { headers: { "x-braid-page": "1" } })).status), 401);
  assert.deepEqual(problems, []);
  await context.close();
});

test("a login link opens the page once and is gone from the address; an API key does as well", async () => {
  const link = braid.at.login.split("/").pop();
  const first = await open(link);
  await first.page.getByRole("navigation", { name: "Pages" }).waitFor();
  await first.page.getByText("operator", { exact: true }).waitFor();
  assert.doesNotMatch(first.page.url(), /login/);
  await first.context.close();
  const second = await open(link);
  await second.page.getByText("This login link is not good").waitFor();
  await second.page.getByRole("button", { name: "API key" }).click();
  await second.page.getByLabel("Key, with the scope read").fill(key);
  await second.page.getByRole("button", { name: "Log in" }).click();
  await second.page.getByText("the page", { exact: true }).waitFor();
  assert.deepEqual([...first.problems, ...second.problems], []);
  await second.context.close();
});

test("a session that ends leads back to the login, and the page goes on where it was", async () => {
  const { context, page, problems } = await open("#/metrics?from=now-15m");
  await page.getByLabel("User", { exact: true }).fill("ada");
  await page.getByLabel("Password", { exact: true }).fill("open sesame");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { level: 1, name: "Metrics" }).waitFor();
  await context.clearCookies();
  await page.keyboard.press("r");
  await page.getByRole("heading", { name: "Log in to Braid" }).waitFor();
  assert.match(page.url(), /#\/metrics/);
  assert.deepEqual(problems, []);
  await context.close();
});

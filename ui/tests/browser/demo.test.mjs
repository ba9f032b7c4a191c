// The page beside the demo itself: the lab's services, their traffic and a legacy host, as `make demo` starts them. Needs LAB_BIN, the lab's binary.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const OFFSET = 21_000;
const URL = process.env.DEMO ?? `http://127.0.0.1:${3000 + OFFSET}`;
const left_out = process.env.DEMO || process.env.LAB_BIN ? false : "LAB_BIN names no binary of the lab";
let lab, state, browser;

/** Asks until there is something; says what was missing. */
async function until(what, ask) {
  const end = Date.now() + 180_000;
  for (;;) {
    const found = await ask().catch(() => undefined);
    if (found) return found;
    if (lab && lab.exitCode !== null) throw new Error(`the lab ended with ${lab.exitCode} before ${what}`);
    if (Date.now() > end) throw new Error(`no ${what} after 180 s`);
    await new Promise((done) => setTimeout(done, 500));
  }
}

before(async () => {
  if (left_out) return;
  if (!process.env.DEMO) {
    state = await mkdtemp(join(tmpdir(), "braid-demo-"));
    const root = new globalThis.URL("../../..", import.meta.url).pathname;
    const flags = ["up", "--braid", process.env.BRAID_BIN, "--config", "lab/braid.yaml", "--state", state, "--port-offset", `${OFFSET}`];
    lab = spawn(process.env.LAB_BIN, flags, { cwd: root, stdio: ["ignore", "ignore", process.env.BRAID_LOG ? "inherit" : "ignore"], env: { ...process.env, CORR_WINDOW_SECONDS: "5", LAB_TRAFFIC_RATE: "8" } });
  }
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
});

after(async () => {
  await browser?.close();
  if (lab && lab.exitCode === null) {
    const ended = new Promise((resolve) => lab.once("exit", resolve));
    lab.kill("SIGTERM");
    await ended;
  }
  if (state) await rm(state, { recursive: true, force: true });
});

test("beside the demo: from the first page to a slow request, its lines and what a legacy host said of it", { skip: left_out, timeout: 400_000 }, async () => {
  const joined = await until("correlation that a business key joined", async () => {
    const answer = await fetch(`${URL}/api/correlations?limit=500`);
    return (await answer.json()).find((c) => c.log_count_by_key > 0);
  });
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  page.setDefaultTimeout(30_000);
  const problems = [];
  page.on("pageerror", (e) => problems.push(e.message));
  await page.goto(`${URL}/#/?from=now-15m`);
  const begun = Date.now();
  await page.getByRole("link", { name: "payment-service", exact: true }).first().click();
  await page.getByRole("heading", { level: 1, name: "payment-service" }).waitFor();
  const dot = page.getByRole("button", { name: /^Trace / }).first();
  await dot.waitFor();
  await dot.dispatchEvent("click");
  await page.getByRole("heading", { name: "Logs of the trace" }).waitFor();
  await page.getByRole("option", { name: /Request completed/ }).first().waitFor();
  await page.locator("section", { has: page.getByRole("heading", { name: "Correlation", exact: true }) }).waitFor();
  console.log(`# the story beside the demo took ${((Date.now() - begun) / 1000).toFixed(1)} s`);
  await page.goto(`${URL}/#/trace/${joined.trace_id}`);
  await page.locator(".loglist .line").first().waitFor();
  await page.getByText(/business key/i).first().waitFor();
  assert.deepEqual(problems, []);
});

test("beside the demo: each dashboard that ships shows something in every panel", { skip: left_out, timeout: 400_000 }, async () => {
  const index = await (await fetch(`${URL}/dashboards/index.json`)).json();
  await until("rate over five minutes of the slowest counter", async () => {
    const answer = await fetch(`${URL}/api/v1/query?${new URLSearchParams({ query: "sum(rate(inventory_sales_total[5m])) and sum(rate(http_errors_total[5m])) and sum(correlation_events_total)" })}`);
    return (await answer.json()).data.result[0];
  });
  const page = await browser.newPage({ viewport: { width: 1440, height: 1600 } });
  page.setDefaultTimeout(30_000);
  const problems = [];
  page.on("pageerror", (e) => problems.push(e.message));
  for (const { id, title } of index) {
    await page.goto(`${URL}/#/dashboards/${id}?from=now-15m`);
    await page.getByRole("heading", { name: title, exact: true }).waitFor();
    await page.waitForFunction(() => document.querySelector(".dash .panel") && !document.querySelector(".loading"));
    assert.deepEqual(await page.locator(".dash .panel:has(.note)").allInnerTexts(), [], id);
  }
  assert.deepEqual(problems, []);
});

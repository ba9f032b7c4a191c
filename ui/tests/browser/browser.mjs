// The browser of the tests: Debian's Chromium, pages in it that remember what went wrong, and when a page has come to rest.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** Where pictures go. */
export const SHOTS = process.env.SHOTS ?? join(tmpdir(), "braid-ui-shots");

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });

/** Opens pages of `base` that remember errors, and what their policy forbade. */
export const opener = (browser, base) => async (hash, theme = "dark", more = {}) => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 960 }, reducedMotion: "reduce", ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const problems = [];
  page.on("pageerror", (e) => problems.push(e.message));
  page.on("console", (m) => {
    // What an API refuses is shown on the page; what the policy or the code refuses must not happen.
    if (m.type() === "error" && !m.text().startsWith("Failed to load resource")) problems.push(m.text());
  });
  await page.addInitScript((t) => localStorage.setItem("braid.theme", t), theme);
  await page.goto(`${base}/${hash}`, { timeout: 60_000 });
  return { page, problems, close: () => context.close() };
};

export const calm = async (page) => {
  await page.waitForFunction(() => document.querySelector("main")?.children.length > 0 && !document.querySelector(".loading"), undefined, { timeout: 20_000 });
  await page.waitForTimeout(150);
};

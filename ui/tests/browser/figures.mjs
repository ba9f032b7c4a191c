// First load and interaction, measured in headless Chromium against a Braid with the tests' data: reported, never asserted.
//   BRAID_BIN=target/release/braid node tests/browser/figures.mjs
import { chromium } from "playwright-core";
import { SLOW, start, tell } from "./braid.mjs";

const braid = await start();
await tell(braid);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--no-first-run"] });
try {
  await new Promise((resolve) => setTimeout(resolve, 4000));
  /** Compressed bytes of the page's own files that a fresh browser loads for an address. */
  const load = async (hash) => {
    const context = await browser.newContext({ viewport: { width: 1440, height: 960 } });
    const page = await context.newPage();
    const session = await context.newCDPSession(page);
    await session.send("Network.enable");
    const urls = new Map();
    let bytes = 0;
    session.on("Network.responseReceived", (e) => urls.set(e.requestId, new URL(e.response.url)));
    session.on("Network.loadingFinished", (e) => {
      const url = urls.get(e.requestId);
      if (url && !/^\/(api|loki|metrics)/.test(url.pathname)) bytes += e.encodedDataLength;
    });
    await page.goto(`${braid.url}/${hash}`);
    await page.waitForFunction(() => document.querySelector("main")?.children.length > 0 && !document.querySelector(".loading"));
    const painted = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    await page.waitForTimeout(300);
    await context.close();
    return `${(bytes / 1000).toFixed(0)} kB, first paint after ${painted?.toFixed(0)} ms`;
  };
  for (const hash of ["#/", "#/service/cart?from=now-15m", "#/traces?from=now-15m", `#/trace/${SLOW}`, "#/logs?from=now-15m", "#/metrics?from=now-15m", "#/dashboards/master-overview"]) console.log(`load ${hash}: ${await load(hash)}`);

  const page = await browser.newPage({ viewport: { width: 1440, height: 960 } });
  await page.addInitScript(() => {
    window.slowest = {};
    // From the event to the next paint, as the browser counts it (Event Timing); 8 ms are its grain.
    new PerformanceObserver((list) => {
      for (const e of list.getEntries()) if (e.interactionId) window.slowest[e.name] = Math.max(window.slowest[e.name] ?? 0, e.duration);
    }).observe({ type: "event", durationThreshold: 16, buffered: true });
  });
  const act = async (name, hash, keys) => {
    await page.goto(`${braid.url}/${hash}`);
    await page.reload();
    await page.waitForFunction(() => document.querySelector("main")?.children.length > 0 && !document.querySelector(".loading"));
    await page.waitForTimeout(400);
    await page.evaluate(() => (window.slowest = {}));
    for (const key of keys) {
      await page.keyboard.press(key);
      await page.waitForTimeout(250);
    }
    const most = await page.evaluate(() => Math.max(0, ...Object.values(window.slowest)));
    console.log(`${name}: ${most ? `${most} ms` : "below 16 ms"} from the key to the next paint, at most`);
  };
  await act("pages", "#/?from=now-15m", ["g", "t", "g", "l", "g", "m", "g", "c", "g", "a", "g", "h"]);
  await act("rows of Logs", "#/logs?from=now-15m", ["j", "j", "k", "Escape"]);
  await act("spans of a trace", `#/trace/${SLOW}`, ["j", "j", "Enter", "Enter", "p", "e", "e", "Escape"]);
  await act("compare on Traces", "#/traces?from=now-15m", ["c", "c"]);
  await act("compare on a service", "#/service/cart?from=now-15m", ["c", "Escape"]);
  await act("palette", "#/?from=now-15m", ["Control+k", "c", "a", "r", "ArrowDown", "Escape"]);
} finally {
  await browser.close();
  await braid.stop();
}

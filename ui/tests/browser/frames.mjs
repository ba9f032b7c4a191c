// How smoothly 100,000 spans and 1 M log lines scroll: frame times in headless Chromium, reported, never asserted.
//   node tests/browser/frames.mjs
import { chromium } from "playwright-core";
import { createServer } from "vite";

const server = await createServer({ root: new URL("../..", import.meta.url).pathname, logLevel: "error", server: { port: 0, host: "127.0.0.1", hmr: false } });
await server.listen();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--no-first-run"] });
const page = await browser.newPage({ viewport: { width: 1440, height: 960 } });
page.setDefaultTimeout(180_000);
await page.goto(`${server.resolvedUrls.local[0]}#/dashboards`, { timeout: 120_000 });
const result = await page.evaluate(async () => {
  const { LogList } = await import("/src/draw/loglist.ts");
  const { Waterfall } = await import("/src/draw/waterfall.ts");
  const { build } = await import("/src/trace/model.ts");
  document.body.replaceChildren();
  const place = (name) => {
    const e = document.createElement("div");
    e.className = name;
    e.style.height = "800px";
    document.body.replaceChildren(e);
    return e;
  };
  const scroll = async (e, jump) => {
    // What was just built is laid out and painted first, and its garbage taken away: that is no scrolling.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    return new Promise((resolve) => {
      const times = [];
      let last = performance.now();
      const step = (now) => {
        times.push(now - last);
        last = now;
        e.scrollTop += jump;
        if (times.length < 240) requestAnimationFrame(step);
        else {
          times.sort((a, b) => a - b);
          const at = (q) => Number(times[Math.floor(times.length * q)].toFixed(1));
          resolve({ frames: times.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), most: at(0.9999) });
        }
      };
      requestAnimationFrame(step);
    });
  };
  const lines = Array.from({ length: 1_000_000 }, (_, i) => ({ ns: `${1700000000000 + i}000000`, ms: 1700000000000 + i, text: `{"message":"request ${i} completed","status":200,"path":"/api/items/${i % 97}"}`, level: ["info", "warn", "error"][i % 3], stream: { service_name: "shop" }, fields: {} }));
  const out = {};
  const list = place("loglist");
  const logs = new LogList(list, () => {});
  logs.update(lines, -1);
  out["1 M lines"] = await scroll(list, 700);
  logs.destroy();
  const began = performance.now();
  const spans = Array.from({ length: 100_000 }, (_, i) => ({ id: String(i), parent: i ? String(Math.floor((i - 1) / 8)) : "", name: `operation ${i % 50}`, service: `service-${i % 9}`, kind: "", start: i, end: i + 500, error: i % 40 === 0, message: "", attributes: [], resource: [], scope: "", events: [], links: [] }));
  const tree = build(spans);
  out["tree of 100,000 spans, ms"] = Math.round(performance.now() - began);
  const scroller = place("canvas-scroll");
  const fall = new Waterfall(scroller, tree, { visible: tree.rows.map((_, i) => i), selected: -1, critical: false, marked: () => false, collapsed: new Set() }, { select: () => {}, toggle: () => {} });
  out["100,000 spans"] = await scroll(scroller, 700);
  fall.destroy();
  return out;
});
console.log(JSON.stringify(result, null, 1));
await browser.close();
await server.close();

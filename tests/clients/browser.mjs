// The task page of the lab, with the OpenTelemetry SDK for browsers in it, sends its spans across origins to Braid: the
// browser asks first (CORS preflight), then posts OTLP/HTTP JSON. The page is served from here, without the lab behind it.
//
//   node browser.mjs OFFSET PLAYWRIGHT_DIR     the page listens on 8081+OFFSET, Braid's OTLP/HTTP on 4318+OFFSET
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const offset = Number(process.argv[2]);
const { chromium } = createRequire(`${process.argv[3]}/`)("playwright-core");
const dist = fileURLToPath(new URL("../../lab/tasks/page/dist/", import.meta.url));
const types = { html: "text/html", css: "text/css", js: "text/javascript" };

let traceparent;
const server = createServer(async (request, response) => {
  const path = new URL(request.url, "http://x").pathname;
  if (path.startsWith("/api/")) {
    traceparent ??= request.headers.traceparent;
    response.setHeader("Content-Type", "application/json").end(JSON.stringify({ tasks: [] }));
    return;
  }
  const file = path === "/" ? "index.html" : path.slice(1);
  try {
    const body = await readFile(dist + file.replaceAll("..", ""));
    response.setHeader("Content-Type", types[file.split(".").pop()] ?? "text/plain").end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((done) => server.listen(8081 + offset, "127.0.0.1", done));

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  const failed = [];
  page.on("requestfailed", (request) => failed.push(`${request.method()} ${request.url()}: ${request.failure().errorText}`));
  const exported = page.waitForResponse((r) => r.url().endsWith("/v1/traces") && r.request().method() === "POST", { timeout: 30_000 });
  await page.goto(`http://localhost:${8081 + offset}/`);
  const response = await exported.catch((error) => assert.fail(`${error}\n${failed.join("\n")}`));
  assert.equal(response.status(), 200);
  assert.match(response.request().headers()["content-type"], /^application\/json/);
  assert.deepEqual(failed, []);
  console.log(JSON.stringify({ traceparent }));
} finally {
  await browser.close();
  server.close();
}

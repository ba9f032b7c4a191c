// A Braid of its own for the tests, with data that tells a story: `cart` is slow in the region `eu`, and some of it is hostile.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const hex = (n) => randomBytes(n).toString("hex");
const attributes = (o) => Object.entries(o).map(([key, v]) => ({ key, value: typeof v === "number" ? { intValue: String(v) } : { stringValue: v } }));
const ns = (ms) => `${Math.floor(ms * 1000)}000`;

/** Starts the binary that BRAID_BIN names with more arguments; gives its addresses and what ends it. */
export async function start(more = []) {
  const dir = await mkdtemp(join(tmpdir(), "braid-ui-"));
  const child = spawn(process.env.BRAID_BIN, ["serve", "--free-ports", "--print-ready", "--data-dir", dir, ...more], { stdio: ["ignore", "pipe", process.env.BRAID_LOG ? "inherit" : "ignore"], env: { ...process.env, CORR_WINDOW_SECONDS: "2" } });
  const line = await new Promise((resolve, reject) => {
    createInterface(child.stdout).once("line", resolve);
    child.once("exit", (code) => reject(new Error(`braid ended with ${code} before it was ready`)));
    child.once("error", reject);
  });
  const at = JSON.parse(line);
  // While one works on the page: the sources instead of what is inside the binary.
  let sources;
  if (process.env.SOURCES) {
    process.env.BRAID = `http://${at.braid}`;
    const { createServer } = await import("vite");
    sources = await createServer({ root: new URL("../..", import.meta.url).pathname, logLevel: "error", server: { port: 0, host: "127.0.0.1", hmr: false } });
    await sources.listen();
  }
  return {
    at,
    url: sources?.resolvedUrls.local[0].replace(/\/$/, "") ?? `http://${at.braid}`,
    post: async (path, body) => {
      const response = await fetch(`http://${at.braid}${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
      if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    },
    stop: async () => {
      await sources?.close();
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Markup that runs if it is ever taken for markup. */
export const HOSTILE = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>"'\`\${7*7}{{7*7}}`;

/** A slow trace of which all else is told. */
export const SLOW = hex(16);

/** Sends ten minutes of traffic. */
export async function tell(braid) {
  const now = Date.now();
  const byService = { gateway: [], cart: [], db: [], [HOSTILE]: [] };
  const lines = { gateway: [], cart: [], db: [], legacy: [], [HOSTILE]: [] };
  const log = (service, ms, severity, text, traceId, spanId, more = {}) =>
    lines[service].push({ timeUnixNano: ns(ms), severityText: severity, severityNumber: { INFO: 9, WARN: 13, ERROR: 17 }[severity], body: { stringValue: text }, traceId, spanId, attributes: attributes(more) });
  for (let i = 0; i < 240; i++) {
    const slow = i % 20 === 7;
    const failed = i % 30 === 7;
    const traceId = i === 227 ? SLOW : hex(16);
    const [a, b, c, d] = [hex(8), hex(8), hex(8), hex(8)];
    const start = now - 600e3 + i * 2400;
    const took = slow ? 900 + (i === 227 ? 700 : 0) : 20 + (i % 7);
    const region = slow ? "eu" : "us";
    const circuit_id = i === 227 ? "CIRCUIT-777" : `CIRCUIT-${i % 5}`;
    const span = (spanId, parentSpanId, name, kind, from, to, more = {}, status = {}) => ({ traceId, spanId, parentSpanId, name, kind, startTimeUnixNano: ns(start + from), endTimeUnixNano: ns(start + to), attributes: attributes({ region, circuit_id, ...more }), status });
    byService.gateway.push(span(a, "", "GET /checkout", 2, 0, took + 6, { "http.response.status_code": failed ? 500 : 200 }, failed ? { code: 2, message: "upstream failed" } : {}));
    byService.gateway.push(span(b, a, "GET", 3, 2, took + 4));
    byService.cart.push({ ...span(c, b, "GET /cart", 2, 3, took + 3, {}, failed ? { code: 2, message: "query failed" } : {}), events: failed ? [{ timeUnixNano: ns(start + took), name: "exception", attributes: attributes({ "exception.type": "Timeout", "exception.message": "the query took too long" }) }] : [] });
    byService.db.push(span(d, c, "SELECT items", 2, 6, took, { "db.system": "postgresql" }));
    log("gateway", start + 1, "INFO", `checkout begins for user ${i}`, traceId, a);
    log("cart", start + 6, slow ? "WARN" : "INFO", slow ? "slow query: SELECT items took too long" : `read ${i % 9} items`, traceId, c, { circuit_id });
    // It knows no trace, only the circuit.
    if (i === 227) log("legacy", start + 50, "WARN", "signal degraded on circuit_id=CIRCUIT-777");
    if (failed) log("cart", start + took, "ERROR", "query failed: timeout", traceId, c);
  }
  const traceId = hex(16);
  byService[HOSTILE].push({ traceId, spanId: hex(8), name: HOSTILE, kind: 2, startTimeUnixNano: ns(now - 50e3), endTimeUnixNano: ns(now - 49e3), attributes: attributes({ [HOSTILE]: HOSTILE, url: "javascript:window.hacked=1" }), events: [{ timeUnixNano: ns(now - 49.5e3), name: HOSTILE, attributes: attributes({ [HOSTILE]: HOSTILE }) }], status: { code: 2, message: HOSTILE } });
  log(HOSTILE, now - 49e3, "ERROR", HOSTILE, traceId, hex(8), { [HOSTILE]: HOSTILE });
  log(HOSTILE, now - 48e3, "ERROR", JSON.stringify({ message: HOSTILE, more: HOSTILE }), traceId, hex(8));
  const resource = (name) => ({ attributes: attributes({ "service.name": name, "service.instance.id": `${name}-1` }) });
  await braid.post("/v1/traces", { resourceSpans: Object.entries(byService).map(([name, spans]) => ({ resource: resource(name), scopeSpans: [{ scope: { name: "shop" }, spans }] })) });
  await braid.post("/v1/logs", { resourceLogs: Object.entries(lines).map(([name, logRecords]) => ({ resource: resource(name), scopeLogs: [{ logRecords }] })) });
  const bounds = [0.01, 0.05, 0.1, 0.5, 1, 5];
  const points = Array.from({ length: 20 }, (_, i) => ({
    startTimeUnixNano: ns(now - 600e3), timeUnixNano: ns(now - 600e3 + (i + 1) * 29e3), count: String((i + 1) * 12), sum: (i + 1) * 1.3, explicitBounds: bounds, bucketCounts: [0, 11, 0, 0, 1, 0, 0].map((n) => String(n * (i + 1))), attributes: attributes({ route: "/checkout", odd: HOSTILE }),
    exemplars: i === 18 ? [{ timeUnixNano: ns(now - 50e3), asDouble: 1.6, traceId: SLOW, spanId: hex(8) }] : [],
  }));
  // Another route, which is asked for in the last minutes only.
  const busier = points.map((p, i) => ({ ...p, count: String(Math.max(0, i - 13) * 12), sum: Math.max(0, i - 13), bucketCounts: [0, 12, 0, 0, 0, 0, 0].map((n) => String(n * Math.max(0, i - 13))), attributes: attributes({ route: "/cart" }), exemplars: [] }));
  const gauge = { dataPoints: points.map((p) => ({ timeUnixNano: p.timeUnixNano, asDouble: p.sum, attributes: p.attributes })) };
  await braid.post("/v1/metrics", { resourceMetrics: [{ resource: resource("gateway"), scopeMetrics: [{ metrics: [{ name: "checkout.duration", unit: "s", description: `How long a checkout took ${HOSTILE}`, histogram: { aggregationTemporality: 2, dataPoints: [...points, ...busier] } }, { name: "carts.open", description: "Open carts", gauge }] }] }] });
}

// How long `/api/compare` takes over a million spans of 60 attributes: reported, never asserted.
//   BRAID_BIN=target/release/braid node tests/browser/compare.mjs [SPANS]
//   LOADGEN=…/loadgen …  sends the reference generator's spans instead (19 attributes each)
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { start } from "./braid.mjs";

const SPANS = Number(process.argv[2] ?? 1_000_000);
const BATCH = 1000;
const WIDTH = 60;

// Just enough of protobuf: fields of OTLP's ExportTraceServiceRequest.
const varint = (n) => {
  const out = [];
  for (; n > 127; n = Math.floor(n / 128)) out.push((n % 128) | 128);
  return Buffer.from([...out, n]);
};
const bytes = (field, body) => Buffer.concat([varint(field * 8 + 2), varint(body.length), body]);
const number = (field, n) => Buffer.concat([varint(field * 8), varint(n)]);
const time = (field, ns) => {
  const out = Buffer.alloc(9);
  out[0] = field * 8 + 1;
  out.writeBigUInt64LE(ns, 1);
  return out;
};
const pair = (key, value) => bytes(9, Buffer.concat([bytes(1, Buffer.from(key)), bytes(2, typeof value === "number" ? number(3, value) : bytes(1, Buffer.from(value)))]));

/** The values of attribute `a`: two to some thousands, a third of them numbers; encoded once. */
const values = Array.from({ length: WIDTH - 2 }, (_, a) => {
  const distinct = [2, 3, 5, 10, 30, 100, 1000, 5000][a % 8];
  return Array.from({ length: distinct }, (_, v) => pair(`app.attribute_${a}`, a % 3 === 2 ? v * 7 : `value ${v} of attribute ${a}`));
});
const resource = bytes(1, Buffer.concat([["service.name", "wide"], ["host.name", "node-1"]].map(([k, v]) => bytes(1, Buffer.concat([bytes(1, Buffer.from(k)), bytes(2, bytes(1, Buffer.from(v)))])))));
let seed = 42;
const random = (n) => {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
  return Math.floor((seed / 4294967296) * n);
};

async function send(braid, from, to) {
  let sent = 0;
  const worker = async () => {
    while (sent < SPANS) {
      const first = sent;
      sent += BATCH;
      const spans = Array.from({ length: Math.min(BATCH, SPANS - first) }, (_, i) => {
        const at = first + i;
        const begin = BigInt(from) * 1_000_000n + (BigInt(to - from) * 1_000_000n * BigInt(at)) / BigInt(SPANS);
        const slow = at % 20 === 0;
        const id = Buffer.alloc(16);
        id.writeUInt32BE(at + 1, 4);
        id.writeUInt32BE(Math.imul(at + 1, 2654435761) >>> 0, 0);
        // The slow ones are of one value of one attribute.
        const attributes = values.map((all, a) => all[a === 4 && slow ? 0 : random(all.length)]);
        return bytes(2, Buffer.concat([bytes(1, id), bytes(2, id.subarray(0, 8)), bytes(5, Buffer.from(`GET /${at % 12}`)), number(6, 2), time(7, begin), time(8, begin + (slow ? 900_000_000n : 20_000_000n)), ...attributes]));
      });
      const body = bytes(1, Buffer.concat([resource, bytes(2, Buffer.concat(spans))]));
      const response = await fetch(`http://${braid.at.otlp_http}/v1/traces`, { method: "POST", headers: { "content-type": "application/x-protobuf" }, body });
      if (response.status === 503) sent = Math.min(sent, first);
      else if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    }
  };
  await Promise.all([worker(), worker()]);
}

const braid = await start(["--memory", "2GiB"]);
try {
  const to = Date.now();
  const from = to - 3600e3;
  const began = performance.now();
  if (process.env.LOADGEN) await promisify(execFile)(process.env.LOADGEN, ["traces", "--url", `http://${braid.at.otlp_http}/v1/traces`, "--count", String(SPANS)], { maxBuffer: 1 << 26 });
  else await send(braid, from, to);
  console.log(`sent ${SPANS} spans in ${((performance.now() - began) / 1000).toFixed(0)} s`);
  const ns = (ms) => `${Math.floor(ms)}000000`;
  const ask = async (more) => {
    const query = new URLSearchParams({ start: ns(from - 60e3), end: ns(to + 60e3), ...more });
    const times = [];
    let said;
    for (let i = 0; i < 7; i++) {
      const at = performance.now();
      const response = await fetch(`${braid.url}/api/compare?${query}`);
      said = await response.json();
      times.push(performance.now() - at);
      if (!response.ok) throw new Error(JSON.stringify(said));
    }
    const rest = times.slice(1).sort((a, b) => a - b);
    const first = said.attributes[0];
    console.log(`${JSON.stringify(more)}: first ${times[0].toFixed(0)} ms, then ${rest[0].toFixed(0)} to ${rest.at(-1).toFixed(0)} ms; ${said.inside} inside, ${said.outside} outside, first ${first?.key}`);
  };
  await ask({ min: "500ms" });
  await ask({ min: "500ms", from: ns(from + 600e3), to: ns(from + 1200e3) });
  await ask({ from: ns(from + 600e3), to: ns(from + 1200e3) });
} finally {
  await braid.stop();
}

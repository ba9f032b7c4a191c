// Braid's own metrics, as /metrics has them now.
import { text } from "./http.ts";
import type { Labels } from "./prometheus.ts";

export interface OwnSample {
  name: string;
  labels: Labels;
  value: number;
}

/** Reads Prometheus' text format (what Braid itself writes of it). */
export function parse(body: string): OwnSample[] {
  const out: OwnSample[] = [];
  for (const line of body.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)$/.exec(line);
    if (!match) continue;
    const labels: Labels = {};
    for (const [, key = "", value = ""] of (match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[key] = value.replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c));
    }
    out.push({ name: match[1] ?? "", labels, value: Number(match[3]) });
  }
  return out;
}

export const own = async (signal?: AbortSignal) => parse(await text("/metrics", {}, signal));

/** The sum of a metric's samples that carry `labels`. */
export function total(samples: OwnSample[], name: string, labels: Labels = {}): number {
  return samples.filter((s) => s.name === name && Object.entries(labels).every(([k, v]) => s.labels[k] === v)).reduce((n, s) => n + s.value, 0);
}

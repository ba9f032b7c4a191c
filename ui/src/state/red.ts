// Rate, errors, duration of services, out of three TraceQL metrics.
import type { Labels } from "../api/prometheus.ts";

type Points = [number, number][];
interface In {
  labels: Labels;
  points: Points;
}

export interface Red {
  name: string;
  rate: number;
  /** Share of requests that failed, 0 to 1. */
  share: number;
  /** Seconds. */
  p95: number;
  rates: Points;
  errors: Points;
  p95s: Points;
}

/** From the first step in which anything happened: what came into being a minute ago is not slowed down by the hour before. */
function since(points: Points): Points {
  const first = points.findIndex(([, v]) => v > 0);
  return first > 0 ? points.slice(first) : points;
}

const sum = (points: Points) => points.reduce((n, [, v]) => n + (Number.isFinite(v) ? v : 0), 0);
const mean = (points: Points) => (points.length ? sum(points) / points.length : 0);

/** Rows by `key`, the busiest first; series that name none (nothing matched) are left out. */
export function services(rate: In[], errors: In[], latency: In[], key = "resource.service.name"): Red[] {
  const find = (all: In[], name: string) => all.find((s) => s.labels[key] === name)?.points ?? [];
  return rate
    .flatMap((s): Red[] => {
      const name = s.labels[key];
      const happened = since(s.points);
      const total = mean(happened);
      if (name === undefined || name === "nil" || total === 0) return [];
      const failed = find(errors, name).filter(([t]) => t >= (happened[0]?.[0] ?? 0));
      // A step without a request has no latency; its zero says nothing.
      const slow = find(latency, name).filter(([, v]) => v > 0);
      const weight = new Map(s.points);
      let [slowness, n] = [0, 0];
      for (const [t, v] of slow) {
        const w = weight.get(t) ?? 0;
        slowness += v * w;
        n += w;
      }
      return [{ name, rate: total, share: sum(failed) / sum(happened), p95: n > 0 ? slowness / n : mean(slow), rates: s.points, errors: failed, p95s: slow }];
    })
    .sort((a, b) => b.rate - a.rate);
}

export interface Change {
  service: string;
  what: string;
  bad: boolean;
  errors: boolean;
}

/** What is different in the last fifth of the range from the rest. */
export function changes(rows: Red[]): Change[] {
  const out: Change[] = [];
  for (const row of rows) {
    const first = row.rates[0]?.[0] ?? 0;
    const last = row.rates.at(-1)?.[0] ?? 0;
    const edge = last - (last - first) / 5;
    const part = (points: Points): [Points, Points] => [points.filter(([t]) => t < edge), points.filter(([t]) => t >= edge)];
    const of = (points: Points, what: (points: Points) => number): [number, number] => [what(part(points)[0]), what(part(points)[1])];
    // What came into being in the last fifth has nothing to be compared with, and calm before it is not a rise.
    const happened = since(row.rates);
    if (!happened.some(([t, v]) => t < edge && v > 0)) {
      out.push({ service: row.name, what: "is new", bad: false, errors: false });
      continue;
    }
    const [calm, now] = of(row.p95s, mean);
    const [failed, fails] = of(row.errors, sum);
    const [asked, asks] = of(happened, sum);
    const [busy, busier] = of(happened, mean);
    if (calm > 0 && now > calm * 1.5 && now - calm > 0.002) out.push({ service: row.name, what: `is ${(now / calm).toFixed(1)} times as slow as before`, bad: true, errors: false });
    const [before, after] = [asked > 0 ? failed / asked : 0, asks > 0 ? fails / asks : 0];
    if (after > 0.01 && after > before * 1.5) out.push({ service: row.name, what: `fails more: ${(after * 100).toFixed(1)} % after ${(before * 100).toFixed(1)} %`, bad: true, errors: true });
    if (busy > 0 && busier < busy * 0.2) out.push({ service: row.name, what: "has nearly fallen silent", bad: true, errors: false });
    else if (busy > 0 && busier > busy * 3) out.push({ service: row.name, what: `gets ${(busier / busy).toFixed(1)} times the requests`, bad: false, errors: false });
  }
  return out.slice(0, 12);
}

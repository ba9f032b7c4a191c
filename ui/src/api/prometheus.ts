// Prometheus' API.
import type { Range } from "../state/time.ts";
import { json, type Query } from "./http.ts";

export type Labels = Record<string, string>;

/** A line: its labels and its points, milliseconds and value. */
export interface Series {
  labels: Labels;
  points: [number, number][];
}

export interface Exemplar {
  labels: Labels;
  value: number;
  time: number;
}

export interface Metadata {
  type: string;
  help: string;
  unit: string;
}

type Pair = [number, string];
interface Result {
  resultType: string;
  result: { metric: Labels; values?: Pair[]; value?: Pair }[] | Pair;
}

const value = (text: string) => (text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text));

export function toSeries(data: Result): Series[] {
  if (data.resultType === "scalar" || data.resultType === "string") {
    const [t, v] = data.result as Pair;
    return [{ labels: {}, points: [[t * 1000, value(v)]] }];
  }
  return (data.result as Exclude<Result["result"], Pair>).map((r) => ({
    labels: r.metric,
    points: (r.values ?? (r.value ? [r.value] : [])).map(([t, v]): [number, number] => [t * 1000, value(v)]),
  }));
}

export const rangeQuery = (query: string, range: Range, step: number): Query => ({
  query,
  start: (range.from / 1000).toFixed(3),
  end: (range.to / 1000).toFixed(3),
  step,
});

export async function queryRange(query: string, range: Range, step: number, signal?: AbortSignal): Promise<Series[]> {
  return toSeries((await json<{ data: Result }>("/api/v1/query_range", rangeQuery(query, range, step), signal)).data);
}

export async function query(text: string, time: number, signal?: AbortSignal): Promise<Series[]> {
  return toSeries((await json<{ data: Result }>("/api/v1/query", { query: text, time: time / 1000 }, signal)).data);
}

export const labelValuesQuery = (matcher?: string, range?: Range): Query => ({ "match[]": matcher, start: range && range.from / 1000, end: range && range.to / 1000 });

export async function labelValues(label: string, signal?: AbortSignal, matcher?: string, range?: Range): Promise<string[]> {
  return (await json<{ data: string[] }>(`/api/v1/label/${encodeURIComponent(label)}/values`, labelValuesQuery(matcher, range), signal)).data;
}

export async function labelNames(matcher: string, range: Range, signal?: AbortSignal): Promise<string[]> {
  const q = { "match[]": matcher || undefined, start: range.from / 1000, end: range.to / 1000 };
  return (await json<{ data: string[] }>("/api/v1/labels", q, signal)).data;
}

export async function metadata(signal?: AbortSignal): Promise<Record<string, Metadata[]>> {
  return (await json<{ data: Record<string, Metadata[]> }>("/api/v1/metadata", {}, signal)).data;
}

export async function exemplars(text: string, range: Range, signal?: AbortSignal): Promise<Exemplar[]> {
  type Answer = { data: { exemplars: { labels: Labels; value: string; timestamp: number }[] }[] };
  const answer = await json<Answer>("/api/v1/query_exemplars", { query: text, start: range.from / 1000, end: range.to / 1000 }, signal);
  return answer.data.flatMap((s) => s.exemplars.map((e) => ({ labels: e.labels, value: value(e.value), time: e.timestamp * 1000 })));
}

export interface Target {
  scrapePool: string;
  scrapeUrl: string;
  labels: Labels;
  health: string;
  lastError: string;
  lastScrape: string;
  lastScrapeDuration: number;
}

export async function targets(signal?: AbortSignal): Promise<Target[]> {
  return (await json<{ data: { activeTargets: Target[] } }>("/api/v1/targets", { state: "active" }, signal)).data.activeTargets;
}

/** A metric name or label value inside a selector. */
export const quoted = (text: string) => JSON.stringify(text);

/** A selector of a metric by name, also where the name is no identifier. */
export function selector(name: string, matchers: Labels = {}): string {
  const parts = Object.entries(matchers).map(([k, v]) => `${/^[a-zA-Z_]\w*$/.test(k) ? k : quoted(k)}=${quoted(v)}`);
  const plain = /^[a-zA-Z_:][\w:]*$/.test(name);
  if (!plain) parts.unshift(quoted(name));
  return `${plain ? name : ""}${parts.length || !plain ? `{${parts.join(", ")}}` : ""}`;
}

/** `name{label="value"}`, short. */
export function seriesName(labels: Labels, legend?: string): string {
  if (legend && legend !== "__auto") return legend.replace(/\{\{\s*([^}]+?)\s*\}\}/g, (_, name: string) => labels[name] ?? "");
  const { __name__: name, ...rest } = labels;
  const parts = Object.entries(rest);
  if (!name && parts.length === 1) return parts[0]?.[1] ?? "";
  return `${name ?? ""}${parts.length ? `{${parts.map(([k, v]) => `${k}=${quoted(v)}`).join(", ")}}` : ""}` || "value";
}

// Loki's API.
import type { Range } from "../state/time.ts";
import type { Evidence } from "./braid.ts";
import { json, type Query } from "./http.ts";
import { type Labels, type Series, toSeries } from "./prometheus.ts";

/** A log line with everything that is known of it. */
export interface Line {
  /** Nanoseconds since the epoch, as text: more digits than a number holds. */
  ns: string;
  ms: number;
  text: string;
  level: Level;
  stream: Labels;
  /** Structured metadata and parsed fields. */
  fields: Labels;
  /** It carries no trace id and belongs to the trace by a business key; where it is not certain, the key fits others too. */
  joined?: { certain: boolean; evidence: Evidence | undefined };
}

export type Level = "error" | "warn" | "info" | "debug" | "unknown";
export const LEVELS: Level[] = ["error", "warn", "info", "debug", "unknown"];

/** Whatever a level is called, one of five. */
export function levelOf(text: string | undefined): Level {
  const t = (text ?? "").toLowerCase();
  if (/^(err|fatal|crit|alert|emerg|panic|severe)/.test(t)) return "error";
  if (t.startsWith("warn")) return "warn";
  if (/^(info|notice)/.test(t)) return "info";
  if (/^(debug|trace|fine|verbose)/.test(t)) return "debug";
  return "unknown";
}

type Entry = [string, string, { structuredMetadata?: Labels; parsed?: Labels }?];
interface Streams {
  resultType: string;
  result: { stream: Labels; values: Entry[] }[];
}

function toLine(stream: Labels, [ns, text, more]: Entry): Line {
  const fields = { ...more?.structuredMetadata, ...more?.parsed };
  const named = fields.detected_level ?? fields.level ?? fields.severity_text ?? stream.detected_level ?? stream.level;
  return { ns, ms: Number(ns.slice(0, -6)), text, stream, fields, level: levelOf(named) };
}

export function toLines(data: Pick<Streams, "result">): Line[] {
  return data.result.flatMap((s) => s.values.map((v) => toLine(s.stream, v)));
}

const CATEGORIZE = { "X-Loki-Response-Encoding-Flags": "categorize-labels" };
export const byTime = (a: Pick<Line, "ns">, b: Pick<Line, "ns">) => (a.ns.length - b.ns.length || (a.ns < b.ns ? -1 : a.ns > b.ns ? 1 : 0));

/** `to` is milliseconds, or nanoseconds as a `bigint`. */
export const linesQuery = (query: string, range: { from: number; to: number | bigint }, limit: number, direction = "backward"): Query => ({
  query,
  start: Math.floor(range.from) + "000000",
  end: typeof range.to === "bigint" ? String(range.to) : Math.ceil(range.to) + "000000",
  limit,
  direction,
});

/** Lines that a query selects; the newest first unless asked `forward`. */
export async function lines(query: string, range: { from: number; to: number | bigint }, limit: number, signal?: AbortSignal, direction = "backward"): Promise<Line[]> {
  const q = linesQuery(query, range, limit, direction);
  const { data } = await json<{ data: Streams }>("/loki/api/v1/query_range", q, signal, CATEGORIZE);
  if (data.resultType !== "streams") throw new Error("This is a metric query. It is shown as a chart.");
  const all = toLines(data).sort(byTime);
  return direction === "backward" ? all.reverse() : all;
}

export const matrixQuery = (query: string, range: Range, step: number): Query => ({ query, start: Math.floor(range.from) + "000000", end: Math.ceil(range.to) + "000000", step });

export async function matrix(query: string, range: Range, step: number, signal?: AbortSignal): Promise<Series[]> {
  return toSeries((await json<{ data: Parameters<typeof toSeries>[0] }>("/loki/api/v1/query_range", matrixQuery(query, range, step), signal)).data);
}

/** A metric query at one time. */
export async function instant(query: string, time: number, signal?: AbortSignal): Promise<Series[]> {
  const q = { query, time: `${Math.ceil(time)}000000` };
  return toSeries((await json<{ data: Parameters<typeof toSeries>[0] }>("/loki/api/v1/query", q, signal)).data);
}

export const volumeText = (query: string, step: number) => `sum by (level, detected_level, severity_text) (count_over_time(${query} [${step}s]))`;

/** Lines a step by level. */
export async function volume(query: string, range: Range, step: number, signal?: AbortSignal): Promise<Series[]> {
  const counted = volumeText(query, step);
  const sums = new Map<Level, Map<number, number>>();
  for (const series of await matrix(counted, range, step, signal)) {
    const level = levelOf(series.labels.detected_level ?? series.labels.level ?? series.labels.severity_text);
    const sum = sums.get(level) ?? new Map<number, number>();
    for (const [t, v] of series.points) sum.set(t, (sum.get(t) ?? 0) + v);
    sums.set(level, sum);
  }
  return LEVELS.flatMap((level) => {
    const sum = sums.get(level);
    return sum ? [{ labels: { level }, points: [...sum].sort((a, b) => a[0] - b[0]) }] : [];
  });
}

/** Whether a query gives numbers, not lines. */
export const isMetric = (query: string) => !/^\s*\{/.test(query);

export async function labelValues(label: string, signal?: AbortSignal, range?: Range, selector?: string): Promise<string[]> {
  const q: Query = { query: selector, ...(range ? { start: `${Math.floor(range.from)}000000`, end: `${Math.ceil(range.to)}000000` } : {}) };
  return (await json<{ data?: string[] }>(`/loki/api/v1/label/${encodeURIComponent(label)}/values`, q, signal)).data ?? [];
}

export async function labelNames(signal?: AbortSignal): Promise<string[]> {
  return (await json<{ data?: string[] }>("/loki/api/v1/labels", {}, signal)).data ?? [];
}

export interface Pattern {
  pattern: string;
  samples: [number, number][];
}

export const patternsQuery = (query: string, range: Range): Query => ({ query, start: `${Math.floor(range.from)}000000`, end: `${Math.ceil(range.to)}000000` });

export async function patterns(query: string, range: Range, signal?: AbortSignal): Promise<Pattern[]> {
  return (await json<{ data?: Pattern[] }>("/loki/api/v1/patterns", patternsQuery(query, range), signal)).data ?? [];
}

export interface DetectedField {
  label: string;
  type: string;
  cardinality: number;
}

export async function detectedFields(query: string, range: Range, signal?: AbortSignal): Promise<DetectedField[]> {
  const q = { query, start: `${Math.floor(range.from)}000000`, end: `${Math.ceil(range.to)}000000`, line_limit: 1000 };
  return (await json<{ fields?: DetectedField[] | null }>("/loki/api/v1/detected_fields", q, signal)).fields ?? [];
}

/** Follows a query over a WebSocket until it is closed. */
export function tail(query: string, each: (lines: Line[]) => void, ended: (why: string) => void): () => void {
  const url = new URL("/loki/api/v1/tail", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.searchParams.set("query", query);
  url.searchParams.set("limit", "100");
  const socket = new WebSocket(url);
  let closed = false;
  socket.onmessage = (event) => {
    const frame = JSON.parse(String(event.data)) as { streams?: Streams["result"] };
    if (!closed) each(toLines({ result: frame.streams ?? [] }).sort(byTime));
  };
  socket.onclose = (event) => {
    if (!closed) ended(event.reason || "The server ended the live tail.");
  };
  return () => {
    closed = true;
    socket.close();
  };
}

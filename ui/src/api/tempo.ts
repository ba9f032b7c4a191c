// Tempo's API.
import { duration, flatten, type OtlpTrace, type Span } from "../trace/model.ts";
import type { Range } from "../state/time.ts";
import { json, type Query } from "./http.ts";
import type { Exemplar, Labels, Series } from "./prometheus.ts";

/** A trace that a search found. */
export interface Found {
  traceID: string;
  rootServiceName: string;
  rootTraceName: string;
  startTimeUnixNano: string;
  durationMs?: number;
  serviceStats?: Record<string, { spanCount?: number; errorCount?: number }>;
  spanSet?: { matched?: number };
}

/** How long a trace took: whole milliseconds are all that a search knows. */
export function took({ durationMs: ms = 0 }: Found): string {
  return ms < 1 ? "< 1 ms" : ms < 1000 ? `${Math.round(ms)} ms` : duration(ms);
}

const seconds = (range: Range) => ({ start: Math.floor(range.from / 1000), end: Math.ceil(range.to / 1000) });

export const searchQuery = (q: string, range: Range, limit: number): Query => ({ q, ...seconds(range), limit, spss: 3 });

export async function search(q: string, range: Range, limit: number, signal?: AbortSignal): Promise<Found[]> {
  return (await json<{ traces?: Found[] }>("/api/search", searchQuery(q, range, limit), signal)).traces ?? [];
}

export async function trace(id: string, signal?: AbortSignal): Promise<Span[]> {
  const answer = await json<{ trace?: OtlpTrace }>(`/api/v2/traces/${encodeURIComponent(id)}`, {}, signal);
  return flatten(answer.trace ?? {});
}

type Any = { stringValue?: string; intValue?: string; doubleValue?: number; boolValue?: boolean };
const plain = (v: Any) => String(v.stringValue ?? v.intValue ?? v.doubleValue ?? v.boolValue ?? "");
const named = (labels: { key: string; value: Any }[]): Labels => Object.fromEntries(labels.map((l) => [l.key, plain(l.value)]));

export interface TraceSeries extends Series {
  exemplars: Exemplar[];
}

export const metricsQuery = (q: string, range: Range, step: number): Query => ({ q, ...seconds(range), step: `${step}s`, exemplars: 50 });

/** A TraceQL metrics query over a range. */
export async function metrics(q: string, range: Range, step: number, signal?: AbortSignal): Promise<TraceSeries[]> {
  type Sample = { timestampMs: string; value?: number | string };
  type Answer = { series?: { labels?: { key: string; value: Any }[]; samples?: Sample[]; exemplars?: (Sample & { labels?: { key: string; value: Any }[] })[] }[] };
  const answer = await json<Answer>("/api/metrics/query_range", metricsQuery(q, range, step), signal);
  return (answer.series ?? []).map((s) => ({
    labels: named(s.labels ?? []),
    points: (s.samples ?? []).map((p): [number, number] => [Number(p.timestampMs), Number(p.value ?? 0)]),
    exemplars: (s.exemplars ?? []).map((e) => ({ labels: named(e.labels ?? []), value: Number(e.value ?? 0), time: Number(e.timestampMs) })),
  }));
}

export interface Scopes {
  name: string;
  tags: string[];
}

export async function tags(range: Range, signal?: AbortSignal): Promise<Scopes[]> {
  return (await json<{ scopes?: Scopes[] }>("/api/v2/search/tags", seconds(range), signal)).scopes ?? [];
}

export async function tagValues(tag: string, range: Range, signal?: AbortSignal): Promise<string[]> {
  type Answer = { tagValues?: { value: string }[] };
  const answer = await json<Answer>(`/api/v2/search/tag/${encodeURIComponent(tag)}/values`, { ...seconds(range), limit: 500 }, signal);
  return [...new Set((answer.tagValues ?? []).map((v) => v.value))].sort();
}

/** An attribute as TraceQL names it. */
export const attribute = (scope: string, key: string) => `${scope}.${/^[\w./-]+$/.test(key) ? key : JSON.stringify(key)}`;
export const quoted = (text: string) => JSON.stringify(text);

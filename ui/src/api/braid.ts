// Braid's own API.
import type { Range } from "../state/time.ts";
import { json, type Query } from "./http.ts";
import { type Line, levelOf } from "./loki.ts";
import type { Labels } from "./prometheus.ts";

/** What a Braid says of itself. */
export interface System {
  version: string;
  uptime_seconds: number;
  addresses: Record<string, string>;
  settings: Record<string, string>;
}

export const system = (signal?: AbortSignal) => json<System>("/api/system", {}, signal);

/** A value of an attribute, and how much inside and outside of the selection has it: spans or lines counted, samples measured. */
export interface ComparedValue {
  value: string;
  inside: number;
  outside: number;
}

export interface Compared {
  inside: number;
  outside: number;
  attributes: { scope: string; key: string; numeric: boolean; score: number; inside: number; outside: number; values: ComparedValue[] }[];
  too_many_values: { scope: string; key: string }[];
  /** What was compared: the filter, log query or selector inside the query that was asked. */
  of: string;
  /** Of samples: the function over time that weighs a series. */
  measure?: string;
}

/** What can be compared: spans (TraceQL), lines (LogQL), samples (PromQL). Metric queries stand for what their series are made of. */
export interface Subject {
  kind: "traces" | "logs" | "metrics";
  query: string;
}

/** A stretch of time, and of durations where spans are meant. */
export interface Box extends Range {
  /** Milliseconds. */
  low?: number;
  high?: number;
}

const PARAMETER = { traces: "q", logs: "query", metrics: "promql" } as const;

export const compareQuery = (subject: Subject, range: Range, box: Box): Query => ({
  [PARAMETER[subject.kind]]: subject.query,
  start: Math.floor(range.from) + "000000",
  end: Math.ceil(range.to) + "000000",
  from: Math.floor(box.from) + "000000",
  to: Math.ceil(box.to) + "000000",
  min: box.low ? `${Math.floor(box.low * 1e6)}ns` : undefined,
  max: box.high !== undefined && Number.isFinite(box.high) ? `${Math.ceil(box.high * 1e6)}ns` : undefined,
});

export const compare = (subject: Subject, range: Range, box: Box, signal?: AbortSignal) =>
  json<Compared>("/api/compare", compareQuery(subject, range, box), signal);

/** A correlation event. */
export interface Correlation {
  trace_id: string;
  services: string[];
  signals: string[];
  root: { service: string; name: string } | null;
  first: string;
  last: string;
  duration_ms: number;
  span_count: number;
  log_count: number;
  log_count_by_trace_id: number;
  log_count_by_key: number;
  candidate_count: number;
  error_count: number;
  error_log_count: number;
  exemplar_count: number;
  keys: Record<string, string[]>;
  exemplars?: { metric: string; service: string; time: string; value: number }[];
  joined_logs?: JoinedLog[];
  candidate_logs?: JoinedLog[];
}

/** A line that a key joins to a trace, or may join. */
export interface JoinedLog {
  log_id: string;
  time: string;
  service: string;
  host: string;
  severity: string;
  line: string;
  evidence?: Evidence;
}

/** Why a line belongs to a trace. */
export interface Evidence {
  key: string;
  value: string;
  /** Where in the line the key was found. */
  found_in: string;
  score: number;
  /** How many traces carry the key. */
  candidates: number;
  distance_ms: number;
  notes: string;
}

interface TraceLog {
  time: string;
  line: string;
  service: string;
  host: string;
  severity: string;
  trace_id: string | null;
  span_id: string | null;
  joined_by: "trace_id" | "trace_id_in_record" | "key" | "key_candidate";
  evidence?: Evidence;
  labels?: Labels;
  attributes?: Labels;
}

/** Lines of a trace, oldest first: those that carry its id, and those that a business key joins, each with its evidence. */
export async function traceLogs(id: string, limit: number, signal?: AbortSignal): Promise<Line[]> {
  const answer = await json<{ logs: TraceLog[] }>(`/api/traces/${encodeURIComponent(id)}/logs`, { limit }, signal);
  return answer.logs.map((l) => {
    const [whole = "", fraction = ""] = l.time.replace("Z", "").split(".");
    const ns = `${Date.parse(`${whole}Z`) / 1000}${fraction.padEnd(9, "0")}`;
    const fields: Labels = { ...l.attributes, ...(l.host ? { host: l.host } : {}) };
    if (l.trace_id) fields.trace_id = l.trace_id;
    if (l.span_id) fields.span_id = l.span_id;
    const line: Line = { ns, ms: Number(ns.slice(0, -6)), text: l.line, level: levelOf(l.severity), stream: l.labels ?? { service_name: l.service }, fields };
    if (l.joined_by === "key" || l.joined_by === "key_candidate") line.joined = { certain: l.joined_by === "key", evidence: l.evidence };
    return line;
  });
}

export async function correlations(query: Query, signal?: AbortSignal): Promise<Correlation[]> {
  return json<Correlation[]>("/api/correlations", query, signal);
}

export interface Latency {
  p50: number;
  p90: number;
  p95: number;
  p99: number;
}

export interface GraphNode {
  id: string;
  name: string;
  type: string;
  x: number;
  y: number;
  requests: number;
  rate: number;
  error_ratio: number;
  latency: Latency | null;
}

export interface GraphEdge {
  id: string;
  source: string;
  target: string;
  type: string;
  requests: number;
  rate: number;
  error_ratio: number;
  server_latency: Latency | null;
  client_latency: Latency | null;
}

/** Who calls whom; places come from the server. */
export interface Graph {
  width: number;
  height: number;
  nodes: GraphNode[];
  edges: GraphEdge[];
  message?: string;
}

export const graphQuery = (range: Range, service = ""): Query => ({ start: Math.floor(range.from / 1000), end: Math.ceil(range.to / 1000), service });

export const graph = (range: Range, service = "", signal?: AbortSignal) => json<Graph>("/api/graph", graphQuery(range, service), signal);

// Braid's own API.
import type { Range } from "../state/time.ts";
import { json, type Query } from "./http.ts";

/** What a Braid says of itself. */
export interface System {
  version: string;
  uptime_seconds: number;
  addresses: Record<string, string>;
  settings: Record<string, string>;
}

export const system = (signal?: AbortSignal) => json<System>("/api/system", {}, signal);

/** A value of an attribute, and how often spans inside and outside of the selection have it. */
export interface ComparedValue {
  value: string;
  inside: number;
  outside: number;
}

export interface Compared {
  inside: number;
  outside: number;
  attributes: { scope: string; key: string; numeric: boolean; score: number; inside: number; outside: number; values: ComparedValue[] }[];
}

/** A box on the heatmap: time and duration. */
export interface Box extends Range {
  /** Milliseconds. */
  low: number;
  high: number;
}

export const compareQuery = (q: string, range: Range, box: Box): Query => ({
  q,
  start: Math.floor(range.from) + "000000",
  end: Math.ceil(range.to) + "000000",
  from: Math.floor(box.from) + "000000",
  to: Math.ceil(box.to) + "000000",
  min: `${Math.floor(box.low * 1e6)}ns`,
  max: Number.isFinite(box.high) ? `${Math.ceil(box.high * 1e6)}ns` : undefined,
});

export const compare = (q: string, range: Range, box: Box, signal?: AbortSignal) =>
  json<Compared>("/api/compare", compareQuery(q, range, box), signal);

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

export type JoinedLog = Record<string, unknown>;

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

export const graph = (range: Range, service = "", signal?: AbortSignal) =>
  json<Graph>("/api/graph", { start: Math.floor(range.from / 1000), end: Math.ceil(range.to / 1000), service }, signal);

// A trace as a tree: order, depth, self time, critical path. Plain data in, plain data out.

export type Attributes = [key: string, value: string][];

export interface SpanEvent {
  name: string;
  ns: number;
  attributes: Attributes;
}

export interface SpanLink {
  traceId: string;
  spanId: string;
  attributes: Attributes;
}

/** A span; times in milliseconds since the epoch, with fractions. */
export interface Span {
  id: string;
  parent: string;
  name: string;
  service: string;
  kind: string;
  start: number;
  end: number;
  error: boolean;
  message: string;
  attributes: Attributes;
  resource: Attributes;
  scope: string;
  events: SpanEvent[];
  links: SpanLink[];
}

type Any = {
  stringValue?: string;
  intValue?: string | number;
  doubleValue?: number | string;
  boolValue?: boolean;
  bytesValue?: string;
  arrayValue?: { values?: Any[] };
  kvlistValue?: { values?: KeyValue[] };
};
type KeyValue = { key: string; value?: Any };
interface OtlpSpan {
  traceId?: string;
  spanId?: string;
  parentSpanId?: string;
  name?: string;
  kind?: string;
  startTimeUnixNano?: string;
  endTimeUnixNano?: string;
  attributes?: KeyValue[];
  status?: { code?: string | number; message?: string };
  events?: { timeUnixNano?: string; name?: string; attributes?: KeyValue[] }[];
  links?: { traceId?: string; spanId?: string; attributes?: KeyValue[] }[];
}
export interface OtlpTrace {
  resourceSpans?: {
    resource?: { attributes?: KeyValue[] };
    scopeSpans?: { scope?: { name?: string }; spans?: OtlpSpan[] }[];
  }[];
}

function plain(v: Any | undefined): string {
  if (!v) return "";
  if (v.arrayValue) return `[${(v.arrayValue.values ?? []).map(plain).join(", ")}]`;
  if (v.kvlistValue) return `{${(v.kvlistValue.values ?? []).map((kv) => `${kv.key}: ${plain(kv.value)}`).join(", ")}}`;
  return String(v.stringValue ?? v.intValue ?? v.doubleValue ?? v.boolValue ?? v.bytesValue ?? "");
}
const pairs = (list: KeyValue[] | undefined): Attributes => (list ?? []).map((a) => [a.key, plain(a.value)]);

/** Ids are base64 in Tempo's JSON. */
export function hex(base64: string | undefined): string {
  if (!base64) return "";
  try {
    return [...atob(base64)].map((c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  } catch {
    return base64;
  }
}

/** Nanoseconds as text -> milliseconds; the difference of two keeps about 0.2 microseconds. */
export const toMs = (nanos: string | undefined) => (nanos ? Number(nanos.slice(0, -6) || 0) + Number(nanos.slice(-6)) / 1e6 : 0);

export function flatten(trace: OtlpTrace): Span[] {
  const out: Span[] = [];
  for (const rs of trace.resourceSpans ?? []) {
    const resource = pairs(rs.resource?.attributes);
    const service = resource.find(([k]) => k === "service.name")?.[1] ?? "unknown_service";
    for (const ss of rs.scopeSpans ?? []) {
      for (const s of ss.spans ?? []) {
        const start = toMs(s.startTimeUnixNano);
        out.push({
          id: hex(s.spanId),
          parent: hex(s.parentSpanId),
          name: s.name ?? "",
          service,
          kind: (s.kind ?? "").replace("SPAN_KIND_", "").toLowerCase(),
          start,
          end: Math.max(start, toMs(s.endTimeUnixNano)),
          error: s.status?.code === "STATUS_CODE_ERROR" || s.status?.code === 2,
          message: s.status?.message ?? "",
          attributes: pairs(s.attributes),
          resource,
          scope: ss.scope?.name ?? "",
          events: (s.events ?? []).map((e) => ({ name: e.name ?? "", ns: toMs(e.timeUnixNano), attributes: pairs(e.attributes) })),
          links: (s.links ?? []).map((l) => ({ traceId: hex(l.traceId), spanId: hex(l.spanId), attributes: pairs(l.attributes) })),
        });
      }
    }
  }
  return out;
}

/** A span in its place. */
export interface Row {
  span: Span;
  depth: number;
  /** Index of the parent's row, -1 at a root. */
  parent: number;
  /** Index after the last descendant's row. */
  end: number;
  /** Time in which no child was running, milliseconds. */
  self: number;
  critical: boolean;
}

export interface Tree {
  rows: Row[];
  start: number;
  end: number;
  services: string[];
  errors: number;
}

/** Puts spans in order: parents before children, siblings by time. A span whose parent is missing is a root; so is one of a cycle. */
export function build(spans: Span[]): Tree {
  const byId = new Map<string, Span>();
  for (const s of spans) if (!byId.has(s.id)) byId.set(s.id, s);
  const children = new Map<Span, Span[]>();
  const roots: Span[] = [];
  for (const s of spans) {
    const parent = s.parent ? byId.get(s.parent) : undefined;
    if (!parent || parent === s) roots.push(s);
    else {
      const list = children.get(parent);
      if (list) list.push(s);
      else children.set(parent, [s]);
    }
  }
  const byStart = (a: Span, b: Span) => a.start - b.start || b.end - a.end;
  for (const list of children.values()) list.sort(byStart);
  roots.sort(byStart);

  const rows: Row[] = [];
  const placed = new Set<Span>();
  const walk = (root: Span) => {
    const stack: { span: Span; depth: number; parent: number }[] = [{ span: root, depth: 0, parent: -1 }];
    const open: number[] = [];
    const close = (depth: number) => {
      while (open.length > depth) {
        const row = rows[open.pop() ?? 0];
        if (row) row.end = rows.length;
      }
    };
    for (let next = stack.pop(); next; next = stack.pop()) {
      if (placed.has(next.span)) continue;
      placed.add(next.span);
      close(next.depth);
      const at = rows.length;
      open.push(at);
      rows.push({ span: next.span, depth: next.depth, parent: next.parent, end: at + 1, self: 0, critical: false });
      const list = children.get(next.span) ?? [];
      for (let i = list.length - 1; i >= 0; i--) {
        const span = list[i];
        if (span) stack.push({ span, depth: next.depth + 1, parent: at });
      }
    }
    close(0);
  };
  for (const root of roots) walk(root);
  // Whatever is left hangs in a cycle of parents.
  for (const s of spans) if (!placed.has(s)) walk(s);

  for (const [at, row] of rows.entries()) row.self = selfTime(rows, at);
  markCritical(rows);
  let [start, end] = [Infinity, -Infinity];
  for (const s of spans) {
    start = Math.min(start, s.start);
    end = Math.max(end, s.end);
  }
  const services = [...new Set(rows.map((r) => r.span.service))];
  return { rows, start: spans.length ? start : 0, end: spans.length ? end : 0, services, errors: spans.filter((s) => s.error).length };
}

/** The rows of a row's children. */
export function* childrenOf(rows: Row[], at: number): Generator<number> {
  const end = rows[at]?.end ?? 0;
  for (let i = at + 1; i < end; i = rows[i]?.end ?? end) yield i;
}

/** The span's time less the union of its children's within it. */
function selfTime(rows: Row[], at: number): number {
  const span = rows[at]?.span;
  if (!span) return 0;
  let covered = 0;
  let until = span.start;
  for (const i of childrenOf(rows, at)) {
    const child = rows[i]?.span;
    if (!child) continue;
    const [from, to] = [Math.max(child.start, until), Math.min(child.end, span.end)];
    if (to > from) {
      covered += to - from;
      until = to;
    }
  }
  return Math.max(0, span.end - span.start - covered);
}

/**
 * Marks what the trace waited for: from the end of a span backwards, always into the child that ended last before the
 * point that was reached.
 */
function markCritical(rows: Row[]) {
  if (rows.length === 0) return;
  let root = 0;
  for (const [i, r] of rows.entries()) {
    const best = rows[root];
    if (r.parent === -1 && best && r.span.end - r.span.start > best.span.end - best.span.start) root = i;
  }
  const stack: { at: number; until: number }[] = [{ at: root, until: rows[root]?.span.end ?? 0 }];
  for (let next = stack.pop(); next; next = stack.pop()) {
    const row = rows[next.at];
    if (!row) continue;
    row.critical = true;
    let point = Math.min(next.until, row.span.end);
    const kids = [...childrenOf(rows, next.at)].sort((a, b) => (rows[b]?.span.end ?? 0) - (rows[a]?.span.end ?? 0));
    for (const i of kids) {
      const child = rows[i]?.span;
      // A child that ends after its parent (a message sent off) was not waited for.
      if (!child || child.end > point || child.start < row.span.start) continue;
      stack.push({ at: i, until: point });
      point = child.start;
    }
  }
}

/** `12.3 ms`, `4.5 s`, `870 µs`. */
export function duration(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  const a = Math.abs(ms);
  const digits = (n: number) => (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2));
  if (a === 0) return "0 ms";
  if (a < 0.001) return `${digits(ms * 1e6)} ns`;
  if (a < 1) return `${digits(ms * 1e3)} µs`;
  if (a < 1000) return `${digits(ms)} ms`;
  if (a < 60e3) return `${digits(ms / 1e3)} s`;
  if (a < 3600e3) return `${Math.floor(ms / 60e3)} m ${Math.round((ms % 60e3) / 1e3)} s`;
  return `${Math.floor(ms / 3600e3)} h ${Math.round((ms % 3600e3) / 60e3)} m`;
}

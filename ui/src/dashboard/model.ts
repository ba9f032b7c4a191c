// Grafana's dashboard files, read: panels in their places, queries with variables filled in.
// https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/

export interface Target {
  expr: string;
  language: "promql" | "logql" | "traceql" | "servicemap" | "correlations" | "none";
  legend: string;
  instant: boolean;
  limit: number;
}

export type PanelType = "timeseries" | "stat" | "gauge" | "bargauge" | "table" | "logs" | "traces" | "nodeGraph" | "row" | "text" | "unknown";

export interface Threshold {
  at: number;
  colour: string;
}

export interface DashboardPanel {
  id: number;
  type: PanelType;
  /** As the file calls it. */
  kind: string;
  title: string;
  x: number;
  y: number;
  w: number;
  h: number;
  targets: Target[];
  unit: string;
  decimals: number | undefined;
  min: number | undefined;
  max: number | undefined;
  thresholds: Threshold[];
  text: string;
  calc: string;
}

export interface Variable {
  name: string;
  label: string;
  /** query, custom, textbox, constant, interval; others are kept with the value that the file has. */
  type: string;
  query: string;
  language: "promql" | "logql";
  options: string[];
  multi: boolean;
  all: boolean;
  allValue: string;
  current: string;
  hidden: boolean;
}

export interface Dashboard {
  uid: string;
  title: string;
  description: string;
  tags: string[];
  refresh: string;
  from: string;
  to: string;
  panels: DashboardPanel[];
  variables: Variable[];
}

type Json = { [key: string]: unknown };
const object = (v: unknown): Json => (v !== null && typeof v === "object" && !Array.isArray(v) ? (v as Json) : {});
const list = (v: unknown): Json[] => (Array.isArray(v) ? v.map(object) : []);
const text = (v: unknown, fallback = ""): string => (typeof v === "string" ? v : typeof v === "number" || typeof v === "boolean" ? String(v) : fallback);
const number = (v: unknown): number | undefined => (typeof v === "number" && Number.isFinite(v) ? v : undefined);

const TYPES: Record<string, PanelType> = {
  timeseries: "timeseries", graph: "timeseries", barchart: "timeseries", stat: "stat", singlestat: "stat", gauge: "gauge", bargauge: "bargauge",
  table: "table", "table-old": "table", logs: "logs", traces: "traces", nodeGraph: "nodeGraph", row: "row", text: "text",
};

/** Reads a dashboard's JSON, also in the shape of Grafana's API (`{"dashboard": …}`). Throws with a reason. */
export function read(source: string): Dashboard {
  let parsed: unknown;
  try {
    parsed = JSON.parse(source);
  } catch (e) {
    throw new Error(`This is not JSON: ${e instanceof Error ? e.message : String(e)}`);
  }
  const outer = object(parsed);
  const d = "dashboard" in outer ? object(outer.dashboard) : outer;
  if (!Array.isArray(d.panels) && !Array.isArray(d.rows)) throw new Error("This is no dashboard: it has no panels.");
  const raw = Array.isArray(d.panels) ? list(d.panels) : list(d.rows).flatMap((r) => list(r.panels));
  // A collapsed row carries its panels.
  const flat = raw.flatMap((p) => (p.type === "row" ? [p, ...list(p.panels)] : [p]));
  const time = object(d.time);
  return {
    uid: text(d.uid, text(d.title)),
    title: text(d.title, "Dashboard"),
    description: text(d.description),
    tags: Array.isArray(d.tags) ? d.tags.map((t) => text(t)) : [],
    refresh: text(d.refresh),
    from: text(time.from, "now-1h"),
    to: text(time.to, "now"),
    panels: flat.map(panel),
    variables: list(object(d.templating).list).map(variable),
  };
}

function panel(p: Json, index: number): DashboardPanel {
  const grid = object(p.gridPos);
  const kind = text(p.type, "unknown");
  const defaults = object(object(p.fieldConfig).defaults);
  const options = object(p.options);
  const steps = list(object(defaults.thresholds).steps);
  const own = object(p.datasource);
  return {
    id: number(p.id) ?? index + 1,
    type: TYPES[kind] ?? "unknown",
    kind,
    title: text(p.title),
    x: number(grid.x) ?? (index % 2) * 12,
    y: number(grid.y) ?? Math.floor(index / 2) * 8,
    w: number(grid.w) ?? 12,
    h: number(grid.h) ?? (kind === "row" ? 1 : 8),
    targets: list(p.targets).filter((t) => t.hide !== true).map((t) => target(t, own, kind)),
    unit: text(defaults.unit),
    decimals: number(defaults.decimals),
    min: number(defaults.min),
    max: number(defaults.max),
    thresholds: steps.map((s) => ({ at: number(s.value) ?? -Infinity, colour: text(s.color) })),
    text: text(options.content, text(p.content)),
    calc: Array.isArray(object(options.reduceOptions).calcs) ? text((object(options.reduceOptions).calcs as unknown[])[0], "lastNotNull") : "lastNotNull",
  };
}

function target(t: Json, panelSource: Json, kind: string): Target {
  const source = text(object(t.datasource).type, text(panelSource.type));
  const expr = text(t.expr, text(t.query));
  const queryType = text(t.queryType);
  let language: Target["language"] = "promql";
  if (queryType === "serviceMap") language = "servicemap";
  else if (source === "tempo" || (queryType.startsWith("traceql") && source !== "loki")) language = "traceql";
  else if (source === "loki" || kind === "logs") language = "logql";
  else if (text(t.url).includes("/api/correlations")) language = "correlations";
  else if (kind === "nodeGraph") language = "servicemap";
  else if (!expr) language = "none";
  return { expr, language, legend: text(t.legendFormat), instant: t.instant === true || text(t.format) === "table", limit: number(t.limit) ?? number(t.maxLines) ?? 100 };
}

function variable(v: Json): Variable {
  const asked = object(v.query);
  // Loki's editor keeps a label and a selector in place of a text.
  const labels = text(asked.label) && `label_values(${[text(asked.stream), text(asked.label)].filter(Boolean).join(", ")})`;
  const query = typeof v.query === "string" ? v.query : text(asked.query, labels || text(v.definition));
  const current = object(v.current);
  const value = Array.isArray(current.value) ? (current.value as unknown[]).map((x) => text(x)).join("|") : text(current.value);
  const type = text(v.type);
  const given = list(v.options).map((o) => text(o.value)).filter((o) => o !== "$__all");
  return {
    name: text(v.name),
    label: text(v.label) || text(v.name),
    type,
    query,
    language: text(object(v.datasource).type) === "loki" ? "logql" : "promql",
    options: type === "custom" || type === "interval" ? query.split(",").map((o) => o.trim().replace(/^.* : /, "")).filter(Boolean) : given,
    multi: v.multi === true,
    all: v.includeAll === true,
    allValue: text(v.allValue, ".*"),
    current: value === "$__all" ? "$__all" : value,
    hidden: v.hide === 2,
  };
}

/** What a variable's query asks: `label_values(metric, label)` and `label_values(label)`; names of metrics. */
export function asks(query: string): { label: string; matcher: string } | undefined {
  const values = /^\s*label_values\(\s*(?:(.+)\s*,\s*)?([\w.]+)\s*\)\s*$/s.exec(query);
  if (values) return { label: values[2] ?? "", matcher: (values[1] ?? "").trim() };
  const metrics = /^\s*metrics\((.*)\)\s*$/.exec(query);
  return metrics ? { label: "__name__", matcher: "" } : undefined;
}

const escapeRegex = (s: string) => s.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** Fills `$name`, `${name}`, `${name:regex}`, `[[name]]` and Grafana's own variables in. */
export function fill(source: string, values: Record<string, string>, variables: Variable[], builtin: { step: number; range: number }): string {
  const rate = Math.max(builtin.step * 4, 60);
  const own: Record<string, string> = {
    __interval: `${builtin.step}s`, __rate_interval: `${rate}s`, __range: `${Math.round(builtin.range)}s`, __range_s: String(Math.round(builtin.range)),
    __interval_ms: String(builtin.step * 1000), __auto: `${builtin.step}s`, __range_ms: String(Math.round(builtin.range * 1000)),
  };
  const one = (whole: string, name: string, format: string) => {
    if (name in own) return own[name] ?? "";
    const v = variables.find((x) => x.name === name);
    if (!v) return whole;
    const value = values[name] ?? v.current;
    if (value === "$__all" || (value === "" && v.all)) return v.allValue;
    const parts = v.multi ? value.split("|") : [value];
    if (format === "raw" || format === "text") return parts.join(",");
    if (format === "pipe") return parts.join("|");
    if (parts.length > 1 || format === "regex") return parts.length > 1 ? `(${parts.map(escapeRegex).join("|")})` : escapeRegex(parts[0] ?? "");
    // Inside a quoted matcher: as text.
    return (parts[0] ?? "").replace(/["\\]/g, "\\$&");
  };
  return source
    .replace(/\$\{(\w+)(?::(\w+))?\}/g, (w, n: string, f: string | undefined) => one(w, n, f ?? ""))
    .replace(/\[\[(\w+)\]\]/g, (w, n: string) => one(w, n, ""))
    .replace(/\$(\w+)/g, (w, n: string) => one(w, n, ""));
}

const WORDS = new Set(["by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "offset", "bool", "inf", "nan", "atan2"]);

/** The metrics that a PromQL query names, as far as plain reading tells. */
export function metricNames(expr: string): string[] {
  const bare = expr
    .replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`/g, '""')
    .replace(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/gi, " ")
    .replace(/\{[^}]*\}|\[[^\]]*\]/g, " ");
  const names = [...bare.matchAll(/(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])/g)].map((m) => m[1] ?? "");
  return [...new Set(names.filter((n) => !WORDS.has(n.toLowerCase())))];
}

/** One number of many, as `calc` says. */
export function reduce(points: [number, number][], calc: string): number {
  const values = points.map(([, v]) => v).filter(Number.isFinite);
  if (values.length === 0) return NaN;
  switch (calc) {
    case "mean": return values.reduce((a, b) => a + b, 0) / values.length;
    case "max": return values.reduce((a, b) => Math.max(a, b));
    case "min": return values.reduce((a, b) => Math.min(a, b));
    case "sum": case "total": return values.reduce((a, b) => a + b, 0);
    case "first": case "firstNotNull": return values[0] ?? NaN;
    case "count": return values.length;
    default: return values.at(-1) ?? NaN;
  }
}

/** The theme's colour for a value under thresholds. */
export function colourAt(value: number, thresholds: Threshold[]): string {
  let colour = "";
  for (const t of [...thresholds].sort((a, b) => a.at - b.at)) if (value >= t.at) colour = t.colour;
  if (/red/.test(colour)) return "error";
  if (/yellow|orange/.test(colour)) return "warn";
  if (/green/.test(colour)) return "ok";
  return "accent";
}

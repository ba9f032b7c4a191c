// Times as the address bar has them: "now-1h", "now", or milliseconds since the epoch.

const UNITS: Record<string, number> = { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3, w: 604800e3 };

/** A span of time, milliseconds since the epoch. */
export interface Range {
  from: number;
  to: number;
}

/** The time that `text` names, or `fallback`, milliseconds. */
export function parseTime(text: string | undefined, now: number, fallback: number): number {
  if (!text) return fallback;
  const relative = /^now(?:([+-])(\d+)([smhdw]))?$/.exec(text);
  if (relative) {
    const [, sign, count, unit] = relative;
    return sign ? now + (sign === "-" ? -1 : 1) * Number(count) * (UNITS[unit ?? "s"] ?? 1e3) : now;
  }
  if (/^\d{12,14}$/.test(text)) return Number(text);
  const date = Date.parse(text);
  return Number.isFinite(date) ? date : fallback;
}

/** A duration such as "15s" or "1h30m", milliseconds; NaN where it is none. */
export function parseDuration(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdwy])/g)];
  if (parts.length === 0 || parts.map((p) => p[0]).join("") !== text) return NaN;
  return parts.reduce((sum, [, n, u]) => sum + Number(n) * (u === "ms" ? 1 : u === "y" ? 365 * 86400e3 : (UNITS[u ?? ""] ?? 0)), 0);
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

/** The step, seconds, that divides `range` into about `points`. */
export function stepFor(range: Range, points = 120): number {
  const wanted = (range.to - range.from) / 1000 / points;
  return STEPS.find((s) => s >= wanted) ?? 86400;
}

const two = (n: number) => String(n).padStart(2, "0");

/** `14:03:07.120`, in the reader's own zone. */
export function clockTime(ms: number, millis = false): string {
  const d = new Date(ms);
  const base = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return millis ? `${base}.${String(d.getMilliseconds()).padStart(3, "0")}` : base;
}

/** `2026-11-27 14:03:07`. */
export function fullTime(ms: number, millis = false): string {
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clockTime(ms, millis)}`;
}

/** The time of day alone where the range is within a day. */
export const shortTime = (ms: number, { from, to }: Range) => (to - from <= 86400e3 && new Date(from).getDate() === new Date(to).getDate() ? clockTime(ms, true) : fullTime(ms, true));

/** What the button says: "Last 1 hour", or both ends. */
export function rangeText(from: string, to: string): string {
  const relative = /^now-(\d+)([smhdw])$/.exec(from);
  if (relative && to === "now") {
    const names: Record<string, string> = { s: "second", m: "minute", h: "hour", d: "day", w: "week" };
    const n = Number(relative[1]);
    return `Last ${n} ${names[relative[2] ?? "h"]}${n === 1 ? "" : "s"}`;
  }
  const now = Date.now();
  return `${fullTime(parseTime(from, now, now)).slice(5)} – ${fullTime(parseTime(to, now, now)).slice(5)}`;
}

// From what a person picks to what TraceQL reads.
import { quoted } from "../api/tempo.ts";

export interface Picked {
  service?: string | undefined;
  name?: string | undefined;
  status?: string | undefined;
  min?: string | undefined;
  q?: string | undefined;
}

/** The spanset filter of a selection; one that a person wrote goes first. */
export function selection(p: Picked): string {
  const parts: string[] = [];
  if (p.service) parts.push(`resource.service.name = ${quoted(p.service)}`);
  if (p.name) parts.push(`name = ${quoted(p.name)}`);
  if (p.status) parts.push(`status = ${p.status}`);
  if (p.min && /^\d+(\.\d+)?(ns|us|µs|ms|s|m|h)$/.test(p.min)) parts.push(`duration >= ${p.min}`);
  const own = p.q?.trim();
  if (own) return parts.length ? narrowed(own, parts.join(" && ")) : own;
  return `{ ${parts.join(" && ")} }`.replace("{  }", "{}");
}

/** `query` with one more condition in its first braces. */
export function narrowed(query: string, condition: string): string {
  const inside = /^\s*\{(.*)\}\s*$/s.exec(query);
  if (!inside || /[{}]/.test((inside[1] ?? "").replace(/"(?:[^"\\]|\\.)*"/g, ""))) return `${query} && { ${condition} }`;
  const old = (inside[1] ?? "").trim();
  if (!old || old === "true") return `{ ${condition} }`;
  return `{ ${old.includes("||") ? `(${old})` : old} && ${condition} }`;
}

/** Whether metrics, the heatmap and the comparison can be made of it: one filter, no pipeline. */
export const simple = (query: string) => /^\s*\{[^{}|]*(?:\|\|[^{}|]*)*\}\s*$/s.test(query.replace(/"(?:[^"\\]|\\.)*"/g, '""'));

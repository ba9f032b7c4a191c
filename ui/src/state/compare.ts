// From what a comparison found to the query that narrows to it, in the language of what was compared.
import type { Compared, Subject } from "../api/braid.ts";
import { attribute, quoted } from "../api/tempo.ts";
import { narrowed } from "./selector.ts";

type Entry = Compared["attributes"][number];
type Answer = Pick<Compared, "of" | "measure"> | undefined;

/** An attribute as its language names it. */
export function named(kind: Subject["kind"], a: Pick<Entry, "scope" | "key">): string {
  if (kind !== "traces") return a.key;
  return a.scope === "intrinsic" ? a.key : attribute(a.scope, a.key);
}

/** A label as PromQL writes it. */
const label = (key: string) => (/^[a-zA-Z_]\w*$/.test(key) ? key : JSON.stringify(key));

/** The selector of a metric with one more matcher. */
function matched(of: string, matcher: string): string {
  const inside = of.slice(0, of.lastIndexOf("}"));
  return `${inside}${inside.endsWith("{") ? "" : ","}${matcher}}`;
}

/** What is drawn of a selector: growth a second, or the values. `step` in seconds. */
const drawn = (of: string, measure: string | undefined, step: number, by: string) =>
  measure === "increase" ? `sum${by}(rate(${of}[${Math.max(step * 4, 60)}s]))` : by ? `avg${by}(${of})` : of;

/** The query that keeps, or drops, what has a value. */
export function filtered(kind: Subject["kind"], answer: Answer, a: Pick<Entry, "scope" | "key" | "numeric">, value: string, op: "=" | "!=", step: number): string {
  const of = answer?.of ?? "";
  if (kind === "logs") return `${of} | ${a.key} ${op} ${JSON.stringify(value)}`;
  if (kind === "metrics") return drawn(matched(of, `${label(a.key)}${op}${JSON.stringify(value)}`), answer?.measure, step, "");
  const word = (a.scope === "intrinsic" && a.key !== "name") || a.numeric || value === "true" || value === "false";
  return narrowed(of || "{}", `${named(kind, a)} ${op} ${word ? value : quoted(value)}`);
}

/** The query that draws a label's values over time; `step` in seconds. */
export function brokenDown(kind: "logs" | "metrics", answer: Answer, a: Pick<Entry, "key">, step: number): string {
  const of = answer?.of ?? "";
  if (kind === "logs") return `sum by (${a.key}) (count_over_time(${of} [${step}s]))`;
  return drawn(of, answer?.measure, step, ` by (${label(a.key)}) `);
}

// The range that is drawn on a chart and compared with the rest: in the address, so that a link shows it too.
import type { Box, Subject } from "../api/braid.ts";
import { route, set } from "./route.svelte.ts";
import type { Range } from "./time.ts";

const KINDS = ["traces", "logs", "metrics"] as const;

/** What is marked and of what, if anything is. */
export function marked(): { subject: Subject; box: Box } | undefined {
  const m = /^(\w+):(\d+)-(\d+)$/.exec(route.params.mark ?? "");
  const kind = KINDS.find((k) => k === m?.[1]);
  return m && kind ? { subject: { kind, query: route.params.markq ?? "" }, box: { from: Number(m[2]), to: Number(m[3]) } } : undefined;
}

export function mark(subject: Subject, { from, to }: Range) {
  set({ mark: `${subject.kind}:${Math.floor(from)}-${Math.ceil(to)}`, markq: subject.query });
}

export function unmark() {
  set({ mark: "", markq: "" }, true);
}

/** Charts of the page that `c` can compare something of; the first that has something to compare takes the key. */
export const comparable = new Set<() => boolean>();

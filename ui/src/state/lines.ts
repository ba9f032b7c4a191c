// A log line as the address names it: by its time, and by its place among those of that time.
import { byTime, type Line } from "../api/loki.ts";

/** The name of a line; of none where there is none. */
export function lineName(lines: Pick<Line, "ns">[], at: number): string {
  const ns = lines[at]?.ns;
  if (ns === undefined) return "";
  let before = 0;
  while (lines[at - before - 1]?.ns === ns) before++;
  return before ? `${ns}.${before}` : ns;
}

/** Where the line of a name is, -1 where it is not among them. */
export function lineAt(lines: Pick<Line, "ns">[], name: string | undefined): number {
  if (!name) return -1;
  const [ns, before] = name.split(".");
  const first = lines.findIndex((l) => l.ns === ns);
  const at = first + Number(before ?? 0);
  return first >= 0 && lines[at]?.ns === ns ? at : -1;
}

/** Lines with more of them, both oldest first: those that come late go to their place among the last. */
export function inOrder<L extends Pick<Line, "ns">>(lines: L[], more: L[]): L[] {
  const [last, first] = [lines.at(-1), more[0]];
  if (!last || !first || byTime(first, last) >= 0) return [...lines, ...more];
  const from = lines.findLastIndex((line) => byTime(line, first) <= 0) + 1;
  return [...lines.slice(0, from), ...[...lines.slice(from), ...more].sort(byTime)];
}

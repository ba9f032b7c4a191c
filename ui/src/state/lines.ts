// A log line as the address names it: by its time, and by its place among those of that time.
import type { Line } from "../api/loki.ts";

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

// Log lines that are read on as one scrolls: the newest first, then page by page what is older.
import { type Line, lines as ask } from "../api/loki.ts";
import type { Range } from "./time.ts";

/** Lines of the first answer, and of each further one: small enough that reading one does not hold up a frame for long. */
const FIRST = 1000;
const PAGE = 2000;
/** More are not held in the browser. */
const MOST = 1_000_000;

const same = (a: Line, b: Line) => a.ns === b.ns && a.text === b.text && JSON.stringify(a.stream) === JSON.stringify(b.stream);

/** What of a page is new behind lines that end with `known`: the time where they meet was asked for once more. */
export function fresh(known: Line[], page: Line[]): Line[] {
  const edge = known.at(-1)?.ns;
  const before: Line[] = [];
  for (let i = known.length - 1; i >= 0 && known[i]?.ns === edge; i--) before.push(known[i] as Line);
  return page.filter((line) => {
    if (line.ns !== edge) return true;
    // Equal lines of one time are as many as there are.
    const at = before.findIndex((b) => same(b, line));
    if (at < 0) return true;
    before.splice(at, 1);
    return false;
  });
}

export class Feed {
  lines = $state.raw<Line[]>([]);
  /** Those of the first answer: what fields are counted of. */
  head = $state.raw<Line[] | undefined>(undefined);
  error = $state.raw<Error | undefined>(undefined);
  loading = $state(false);
  /** Whether the range has no older lines, or no more are held. */
  ended = $state(false);
  #last: AbortController | undefined;
  #query = "";
  #from = 0;

  run(query: string, range: Range) {
    this.#query = query;
    this.#from = range.from;
    this.#ask(range.to, FIRST, (page) => {
      this.head = page;
      this.lines = page;
      this.ended = page.length < FIRST;
    });
  }

  /** Reads on behind the oldest line, unless that is under way. */
  more() {
    const oldest = this.lines.at(-1);
    if (!oldest || this.loading || this.ended || this.error) return;
    // The end is exclusive: the oldest line's own time is asked for again, for others of that time.
    this.#ask(BigInt(oldest.ns) + 1n, PAGE, (page) => {
      const added = fresh(this.lines, page);
      this.lines = this.lines.concat(added);
      this.ended = page.length < PAGE || added.length === 0 || this.lines.length >= MOST;
    });
  }

  /** Asks once more for what failed. */
  retry() {
    this.error = undefined;
    this.more();
  }

  clear() {
    this.#last?.abort();
    this.lines = [];
    this.head = undefined;
    this.error = undefined;
    this.loading = false;
    this.ended = true;
  }

  #ask(to: number | bigint, limit: number, take: (page: Line[]) => void) {
    this.#last?.abort();
    const mine = new AbortController();
    this.#last = mine;
    this.loading = true;
    ask(this.#query, { from: this.#from, to }, limit, mine.signal).then(
      (page) => {
        if (this.#last !== mine) return;
        this.loading = false;
        this.error = undefined;
        take(page);
      },
      (error: unknown) => {
        if (this.#last !== mine) return;
        this.loading = false;
        this.error = error instanceof Error ? error : new Error(String(error));
      },
    );
  }
}

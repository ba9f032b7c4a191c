// The list of log lines: as many elements as are seen, filled anew while scrolling, so that a million lines scroll as fifty
// do. Elements, not canvas: text can be selected and read aloud. Everything of a line is text, never markup.
import type { Line } from "../api/loki.ts";
import { clockTime } from "../state/time.ts";
import { scheduler } from "./canvas.ts";

export const LINE = 22;
/** Browsers stop at about 33 million pixels; beyond this the scroll bar stands for more than one line a step. */
const TALLEST = 30_000_000;

/** So many lines before the end more are asked for. */
const NEAR = 500;

interface Slot {
  root: HTMLDivElement;
  time: HTMLSpanElement;
  level: HTMLSpanElement;
  source: HTMLSpanElement;
  joined: HTMLSpanElement;
  body: HTMLSpanElement;
  at: number;
}

export class LogList {
  #scroller: HTMLElement;
  #space = document.createElement("div");
  #pane = document.createElement("div");
  #slots: Slot[] = [];
  #lines: Line[] = [];
  #selected = -1;
  #select: (at: number) => void;
  #more: () => void;
  #frame = scheduler(() => this.#draw());
  #watch: ResizeObserver;

  /** `more` is called where the end is near. */
  constructor(scroller: HTMLElement, select: (at: number) => void, more: () => void = () => {}) {
    this.#scroller = scroller;
    this.#select = select;
    this.#more = more;
    this.#space.className = "space";
    this.#pane.className = "pane";
    this.#pane.setAttribute("role", "presentation");
    scroller.replaceChildren(this.#space, this.#pane);
    scroller.addEventListener("scroll", this.#frame.ask, { passive: true });
    this.#pane.addEventListener("click", (e) => {
      const root = (e.target as Element).closest<HTMLDivElement>(".line");
      const slot = this.#slots.find((s) => s.root === root);
      if (slot && !getSelection()?.toString()) this.#select(slot.at);
    });
    this.#watch = new ResizeObserver(this.#frame.ask);
    this.#watch.observe(scroller);
  }

  update(lines: Line[], selected: number) {
    this.#lines = lines;
    this.#selected = selected;
    this.#space.style.height = `${Math.min(lines.length * LINE, TALLEST)}px`;
    for (const slot of this.#slots) slot.at = -1;
    this.#frame.ask();
  }

  reveal(at: number) {
    const { clientHeight } = this.#scroller;
    const first = this.#first();
    if (at < first) this.#to(at);
    else if ((at + 1 - first) * LINE > clientHeight) this.#to(at + 1 - Math.floor(clientHeight / LINE));
  }

  toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  destroy() {
    this.#frame.stop();
    this.#watch.disconnect();
    this.#scroller.removeEventListener("scroll", this.#frame.ask);
  }

  /** Rows a pixel of the scroll bar, 1/22 unless the list is too tall for the browser. */
  #scale() {
    const { clientHeight } = this.#scroller;
    const tall = Math.min(this.#lines.length * LINE, TALLEST) - clientHeight;
    const rows = this.#lines.length - clientHeight / LINE;
    return tall > 0 ? rows / tall : 1 / LINE;
  }

  #first() {
    return Math.max(0, this.#scroller.scrollTop * this.#scale());
  }

  #to(row: number) {
    this.#scroller.scrollTop = row / this.#scale();
  }

  #slot(): Slot {
    const make = (name: string) => {
      const e = document.createElement("span");
      e.className = name;
      return e;
    };
    const root = document.createElement("div");
    root.className = "line";
    root.setAttribute("role", "option");
    const slot = { root, time: make("time"), level: make("level"), source: make("source"), joined: make("joined"), body: make("body"), at: -1 };
    root.append(slot.level, slot.time, slot.source, slot.joined, slot.body);
    this.#pane.append(root);
    return slot;
  }

  #draw() {
    const { clientHeight, scrollTop } = this.#scroller;
    const exact = this.#first();
    const first = Math.floor(exact);
    if (this.#lines.length > 0 && first + NEAR > this.#lines.length) this.#more();
    const count = Math.min(Math.ceil(clientHeight / LINE) + 2, this.#lines.length - first);
    while (this.#slots.length < count) this.#slots.push(this.#slot());
    this.#pane.style.transform = `translateY(${scrollTop - (exact - first) * LINE}px)`;
    for (const [i, slot] of this.#slots.entries()) {
      const at = first + i;
      const line = i < count ? this.#lines[at] : undefined;
      slot.root.hidden = !line;
      if (!line) continue;
      if (slot.at !== at) {
        slot.at = at;
        slot.root.id = `line-${at}`;
        slot.time.textContent = clockTime(line.ms, true);
        slot.source.textContent = line.stream.service_name ?? line.stream.job ?? "";
        slot.body.textContent = message(line.text);
        slot.level.textContent = SHORT[line.level];
        slot.root.dataset.level = line.level;
        const evidence = line.joined?.evidence;
        slot.joined.hidden = !line.joined;
        slot.joined.textContent = line.joined ? `${line.joined.certain ? "" : "? "}${evidence?.key ?? "by key"}` : "";
        slot.joined.title = evidence ? `${evidence.key} = ${evidence.value}: ${evidence.notes}` : "";
        slot.joined.dataset.certain = String(line.joined?.certain ?? false);
      }
      slot.root.setAttribute("aria-selected", String(at === this.#selected));
    }
  }
}

const SHORT = { error: "ERR", warn: "WRN", info: "INF", debug: "DBG", unknown: "" };

/** What a person wrote into a line: the message of a JSON line with the rest behind it, any other line as it is. */
export function message(text: string): string {
  if (!text.startsWith("{")) return text;
  try {
    const parsed = JSON.parse(text) as Record<string, unknown>;
    const said = parsed.message ?? parsed.msg ?? parsed.body;
    if (typeof said !== "string") return text;
    const SKIP = ["message", "msg", "body", "asctime", "time", "timestamp", "ts", "level", "levelname", "severity", "name", "logger", "trace_id", "span_id", "traceid", "spanid"];
    const rest = Object.entries(parsed).filter(([k]) => !SKIP.includes(k));
    return `${said}${rest.length ? `   ${rest.map(([k, v]) => `${k}=${typeof v === "string" ? v : JSON.stringify(v)}`).join(" ")}` : ""}`;
  } catch {
    return text;
  }
}

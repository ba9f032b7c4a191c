// The flame graph of a trace: spans of one path (service and name, from the root down) are one box, as wide as their time.
import { duration, type Row, type Tree } from "../trace/model.ts";
import { colourOf, colours, cut, fit, FONT, scheduler } from "./canvas.ts";

export interface Frame {
  name: string;
  service: string;
  /** Milliseconds of its spans together, and of those the part in which no child ran. */
  total: number;
  self: number;
  count: number;
  errors: number;
  depth: number;
  /** Left and right edge, 0 to 1. */
  left: number;
  right: number;
  /** A row of the tree that is in it. */
  row: number;
  /** Whether one of its spans is among those that are looked for. */
  bright: boolean;
}

interface Node extends Frame {
  children: Map<string, Node>;
}

/** Adds up the spans of each path; those that are `bright` stand out. */
export function frames(tree: Tree, bright: (row: Row) => boolean = () => true): Frame[] {
  const empty = (): Node => ({ name: "", service: "", total: 0, self: 0, count: 0, errors: 0, depth: -1, left: 0, right: 1, row: 0, bright: false, children: new Map() });
  const top = empty();
  const places: Node[] = [];
  for (const [at, row] of tree.rows.entries()) {
    const parent = row.parent >= 0 ? (places[row.parent] ?? top) : top;
    const key = `${row.span.service}\0${row.span.name}`;
    let node = parent.children.get(key);
    if (!node) {
      node = { ...empty(), name: row.span.name, service: row.span.service, depth: parent.depth + 1, row: at, children: new Map() };
      parent.children.set(key, node);
    }
    node.total += row.span.end - row.span.start;
    node.self += row.self;
    node.count++;
    node.errors += Number(row.span.error);
    node.bright ||= bright(row);
    places[at] = node;
  }
  // Children that ran beside each other may add up to more than their parent: then they share its width.
  const out: Frame[] = [];
  const stack: Node[] = [top];
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (node !== top) out.push(node);
    const kids = [...node.children.values()].sort((a, b) => b.total - a.total);
    const sum = kids.reduce((n, k) => n + k.total, 0);
    const whole = node === top ? sum : Math.max(sum, node.total);
    let left = node.left;
    for (const kid of kids) {
      kid.left = left;
      kid.right = left + (whole > 0 ? (kid.total / whole) * (node.right - node.left) : 0);
      left = kid.right;
      stack.push(kid);
    }
  }
  return out.sort((a, b) => a.depth - b.depth || a.left - b.left);
}

const HEIGHT = 22;
/** How opaque a box is, so that its words can be read on it; and that under the mouse. Its edge has the whole colour. */
export const FILL = 0.24;
export const OVER = 0.36;

export class Flame {
  #canvas: HTMLCanvasElement;
  #frames: Frame[] = [];
  #focus: Frame | undefined;
  #over: Frame | undefined;
  #select: (frame: Frame) => void;
  #title: (text: string) => void;
  #frame = scheduler(() => this.#draw());
  #watch: ResizeObserver;

  constructor(canvas: HTMLCanvasElement, all: Frame[], select: (frame: Frame) => void, title: (text: string) => void) {
    this.#canvas = canvas;
    this.#select = select;
    this.#title = title;
    canvas.addEventListener("click", (e) => {
      const hit = this.#at(e);
      this.#focus = hit === this.#focus ? undefined : hit;
      if (hit) this.#select(hit);
      this.#frame.ask();
    });
    canvas.addEventListener("mousemove", (e) => {
      const hit = this.#at(e);
      if (hit === this.#over) return;
      this.#over = hit;
      this.#title(hit ? `${hit.service}: ${hit.name}, ${hit.count} span${hit.count === 1 ? "" : "s"}, ${duration(hit.total)}, self ${duration(hit.self)}` : "");
      this.#frame.ask();
    });
    this.#watch = new ResizeObserver(this.#frame.ask);
    if (canvas.parentElement) this.#watch.observe(canvas.parentElement);
    this.update(all);
  }

  update(all: Frame[]) {
    this.#frames = all;
    this.#focus = undefined;
    this.#frame.ask();
  }

  destroy() {
    this.#frame.stop();
    this.#watch.disconnect();
  }

  #x(share: number, width: number) {
    const { left, right } = this.#focus ?? { left: 0, right: 1 };
    return ((share - left) / Math.max(right - left, 1e-9)) * width;
  }

  #at(e: MouseEvent): Frame | undefined {
    const width = this.#canvas.clientWidth;
    const depth = Math.floor(e.offsetY / HEIGHT);
    return this.#frames.find((f) => f.depth === depth && this.#x(f.left, width) <= e.offsetX && this.#x(f.right, width) > e.offsetX);
  }

  #draw() {
    const width = this.#canvas.parentElement?.clientWidth ?? 600;
    const deepest = this.#frames.reduce((n, f) => Math.max(n, f.depth), 0);
    const g = fit(this.#canvas, width, Math.min(deepest + 1, 200) * HEIGHT);
    if (!g) return;
    const c = colours();
    g.font = FONT;
    g.textBaseline = "middle";
    for (const f of this.#frames) {
      const x = Math.max(this.#x(f.left, width), 0);
      const w = Math.min(this.#x(f.right, width), width) - x;
      if (w < 0.5) continue;
      const y = f.depth * HEIGHT;
      g.fillStyle = g.strokeStyle = colourOf(f.service, c.palette);
      g.globalAlpha = f === this.#over ? OVER : f.bright ? FILL : FILL / 4;
      g.fillRect(x + 0.5, y + 0.5, Math.max(w - 1, 0.5), HEIGHT - 2);
      g.globalAlpha = 1;
      if (w > 4 && f.bright) g.strokeRect(x + 1, y + 1, w - 2, HEIGHT - 3);
      if (f.errors) {
        g.fillStyle = c.error;
        g.fillRect(x + 0.5, y + HEIGHT - 4, Math.max(w - 1, 0.5), 2.5);
      }
      if (w > 24) {
        g.fillStyle = c.text;
        g.fillText(cut(`${f.name}  ${duration(f.total)}`, w - 8), x + 5, y + HEIGHT / 2);
      }
    }
  }
}

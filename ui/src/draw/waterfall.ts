// The waterfall: rows of a trace on a canvas as large as what is seen, so that 100,000 spans scroll as 100 do.
import { duration, type Row, type Tree } from "../trace/model.ts";
import { colourOf, colours, cut, fit, FONT, scheduler } from "./canvas.ts";

export const ROW = 24;
const HEAD = 26;

export interface WaterfallOptions {
  /** Which rows are shown, as indexes into the tree's. */
  visible: number[];
  selected: number;
  critical: boolean;
  /** Names that a search found. */
  marked: (row: Row) => boolean;
  collapsed: Set<number>;
}

export interface WaterfallEvents {
  select: (at: number) => void;
  toggle: (at: number) => void;
}

export class Waterfall {
  #canvas = document.createElement("canvas");
  #space = document.createElement("div");
  #scroller: HTMLElement;
  #tree: Tree;
  #options: WaterfallOptions;
  #events: WaterfallEvents;
  #frame = scheduler(() => this.#draw());
  #watch: ResizeObserver;

  constructor(scroller: HTMLElement, tree: Tree, options: WaterfallOptions, events: WaterfallEvents) {
    this.#scroller = scroller;
    this.#tree = tree;
    this.#options = options;
    this.#events = events;
    this.#canvas.className = "stuck";
    this.#space.className = "space";
    this.#canvas.setAttribute("aria-hidden", "true");
    scroller.replaceChildren(this.#canvas, this.#space);
    scroller.addEventListener("scroll", this.#frame.ask, { passive: true });
    this.#canvas.addEventListener("click", this.#click);
    this.#watch = new ResizeObserver(this.#frame.ask);
    this.#watch.observe(scroller);
    this.update(tree, options);
  }

  update(tree: Tree, options: WaterfallOptions) {
    this.#tree = tree;
    this.#options = options;
    this.#space.style.height = `${options.visible.length * ROW + HEAD}px`;
    this.#frame.ask();
  }

  /** Scrolls so far that a row is seen. */
  reveal(at: number) {
    const index = this.#options.visible.indexOf(at);
    if (index < 0) return;
    const top = index * ROW;
    const { scrollTop, clientHeight } = this.#scroller;
    if (top < scrollTop) this.#scroller.scrollTop = top;
    else if (top + ROW + HEAD > scrollTop + clientHeight) this.#scroller.scrollTop = top + ROW + HEAD - clientHeight;
  }

  destroy() {
    this.#frame.stop();
    this.#watch.disconnect();
    this.#scroller.removeEventListener("scroll", this.#frame.ask);
  }

  /** How wide the names are, CSS pixels. */
  #names() {
    return Math.min(380, Math.max(160, this.#scroller.clientWidth * 0.34));
  }

  #click = (event: MouseEvent) => {
    const y = event.offsetY - HEAD + this.#scroller.scrollTop;
    const at = this.#options.visible[Math.floor(y / ROW)];
    const row = at === undefined ? undefined : this.#tree.rows[at];
    if (at === undefined || !row || event.offsetY < HEAD) return;
    const arrow = 10 + Math.min(row.depth, 16) * 12;
    if (row.end > at + 1 && Math.abs(event.offsetX - arrow) < 10) this.#events.toggle(at);
    else this.#events.select(at);
  };

  #draw() {
    const { clientWidth: width, clientHeight: height, scrollTop } = this.#scroller;
    const g = fit(this.#canvas, width, height);
    if (!g) return;
    const c = colours();
    const { rows, start, end } = this.#tree;
    const { visible, selected, critical, marked, collapsed } = this.#options;
    const names = this.#names();
    const plot = width - names - 16;
    const scale = plot / Math.max(end - start, 1e-6);
    g.font = FONT;
    g.textBaseline = "middle";

    g.strokeStyle = c.line;
    g.lineWidth = 1;
    g.beginPath();
    for (let i = 0; i <= 4; i++) {
      const x = Math.round(names + (plot * i) / 4) + 0.5;
      g.moveTo(x, HEAD);
      g.lineTo(x, height);
    }
    g.stroke();
    const first = Math.floor(scrollTop / ROW);
    const last = Math.min(visible.length, Math.ceil((scrollTop + height) / ROW) + 1);
    for (let i = first; i < last; i++) {
      const at = visible[i] ?? 0;
      const row = rows[at];
      if (!row) continue;
      const { span, depth } = row;
      const y = HEAD + i * ROW - scrollTop;
      if (at === selected) {
        g.fillStyle = c.raised;
        g.fillRect(0, y, width, ROW);
        g.fillStyle = c.accent;
        g.fillRect(0, y, 3, ROW);
      }
      const x = 10 + Math.min(depth, 16) * 12;
      if (row.end > at + 1) {
        g.fillStyle = c.muted;
        g.beginPath();
        if (collapsed.has(at)) {
          g.moveTo(x - 3, y + 8);
          g.lineTo(x + 3, y + 12);
          g.lineTo(x - 3, y + 16);
        } else {
          g.moveTo(x - 4, y + 9);
          g.lineTo(x + 4, y + 9);
          g.lineTo(x, y + 15);
        }
        g.fill();
      }
      const colour = colourOf(span.service, c.palette);
      g.fillStyle = colour;
      g.fillRect(x + 9, y + 7, 3, 10);
      const room = names - x - 24;
      g.fillStyle = marked(row) ? c.accent : c.text;
      const name = cut(span.name || "(no name)", room);
      g.fillText(name, x + 17, y + ROW / 2);
      const left = room - name.length * 6.6 - 8;
      if (left > 30) {
        g.fillStyle = c.muted;
        g.fillText(cut(span.service, left), x + 17 + name.length * 6.6 + 8, y + ROW / 2);
      }
      const bx = names + (span.start - start) * scale;
      const bw = Math.max(2, (span.end - span.start) * scale);
      g.globalAlpha = critical && !row.critical ? 0.3 : 1;
      g.fillStyle = colour;
      g.fillRect(bx, y + 6, bw, 12);
      if (span.error) {
        g.fillStyle = c.error;
        g.fillRect(bx, y + 16, bw, 3);
      }
      for (const e of span.events) {
        g.fillStyle = c.text;
        g.fillRect(names + (e.ns - start) * scale - 1, y + 4, 2, 16);
      }
      g.globalAlpha = 1;
      const text = duration(span.end - span.start);
      const tw = text.length * 6.6;
      g.fillStyle = span.error ? c.error : c.muted;
      const after = bx + bw + 6 + tw < width;
      // Where there is no room beside a bar, its time stands on it.
      if (!after && bx - tw - 6 < names) g.fillStyle = c.surface;
      g.fillText(text, after ? bx + bw + 6 : bx - tw - 6 >= names ? bx - tw - 6 : Math.max(bx, names) + 6, y + ROW / 2);
    }

    g.fillStyle = c.surface;
    g.fillRect(0, 0, width, HEAD);
    g.strokeStyle = c.line;
    g.lineWidth = 1;
    g.fillStyle = c.muted;
    const marks = plot > 280 ? [0, 1, 2, 3] : [0, 2];
    for (const i of marks) g.fillText(duration(((end - start) * i) / 4), Math.round(names + (plot * i) / 4) + 4.5, HEAD / 2);
    g.beginPath();
    g.moveTo(0, HEAD + 0.5);
    g.lineTo(width, HEAD + 0.5);
    g.stroke();
  }
}

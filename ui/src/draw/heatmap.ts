// Duration over time: how many spans fell into each cell. A box that is drawn on it (mouse or keyboard) is a selection.
import { duration } from "../trace/model.ts";
import { clockTime } from "../state/time.ts";
import { colours, fit, FONT, scheduler } from "./canvas.ts";

export interface Cells {
  /** Ends of the steps, milliseconds since the epoch. */
  times: number[];
  step: number;
  /** Upper ends of the buckets, milliseconds, ascending; each is twice the one below. */
  bounds: number[];
  /** counts[bucket][time]. */
  counts: number[][];
}

export interface Selection {
  from: number;
  to: number;
  low: number;
  high: number;
}

/** Series of a `histogram_over_time` as cells; buckets between the lowest and the highest that hold something. */
export function cells(series: { labels: Record<string, string>; points: [number, number][] }[], step: number): Cells {
  const filled = series
    .map((s) => ({ bound: Number(s.labels.__bucket) * 1000, points: s.points }))
    .filter((s) => s.bound > 0 && s.points.some(([, n]) => n > 0))
    .sort((a, b) => a.bound - b.bound);
  const times = [...new Set(series.flatMap((s) => s.points.map(([t]) => t)))].sort((a, b) => a - b);
  const low = filled[0]?.bound;
  const high = filled.at(-1)?.bound;
  if (low === undefined || high === undefined) return { times, step: step * 1000, bounds: [], counts: [] };
  const bounds: number[] = [];
  for (let b = low; b <= high * 1.01 && bounds.length < 64; b *= 2) bounds.push(b);
  const counts = bounds.map(() => times.map(() => 0));
  const at = new Map(times.map((t, i) => [t, i]));
  for (const s of filled) {
    const row = counts[Math.round(Math.log2(s.bound / low))];
    if (row) for (const [t, n] of s.points) row[at.get(t) ?? 0] = (row[at.get(t) ?? 0] ?? 0) + n;
  }
  return { times, step: step * 1000, bounds, counts };
}

const LEFT = 64;
const BOTTOM = 22;

export class Heatmap {
  #canvas: HTMLCanvasElement;
  #cells: Cells;
  #selection: Selection | undefined;
  #drag: { x: number; y: number; x2: number; y2: number } | undefined;
  #select: (s: Selection | undefined) => void;
  #frame = scheduler(() => this.#draw());
  #watch: ResizeObserver;
  readonly height = 240;

  constructor(canvas: HTMLCanvasElement, data: Cells, select: (s: Selection | undefined) => void) {
    this.#canvas = canvas;
    this.#cells = data;
    this.#select = select;
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      this.#drag = { x: e.offsetX, y: e.offsetY, x2: e.offsetX, y2: e.offsetY };
    });
    canvas.addEventListener("pointermove", (e) => {
      if (!this.#drag) return;
      this.#drag = { ...this.#drag, x2: e.offsetX, y2: e.offsetY };
      this.#frame.ask();
    });
    canvas.addEventListener("pointerup", () => {
      const d = this.#drag;
      this.#drag = undefined;
      if (!d) return;
      const click = Math.abs(d.x - d.x2) < 4 && Math.abs(d.y - d.y2) < 4;
      this.#select(click ? undefined : this.#box(d));
      this.#frame.ask();
    });
    this.#watch = new ResizeObserver(this.#frame.ask);
    if (canvas.parentElement) this.#watch.observe(canvas.parentElement);
    this.update(data, undefined);
  }

  update(data: Cells, selection: Selection | undefined) {
    this.#cells = data;
    this.#selection = selection;
    this.#frame.ask();
  }

  destroy() {
    this.#frame.stop();
    this.#watch.disconnect();
  }

  #size() {
    const width = this.#canvas.parentElement?.clientWidth ?? 600;
    const { times, bounds } = this.#cells;
    return { width, w: (width - LEFT) / Math.max(times.length, 1), h: (this.height - BOTTOM) / Math.max(bounds.length, 1) };
  }

  #box(d: { x: number; y: number; x2: number; y2: number }): Selection {
    const { width } = this.#size();
    const { times, step, bounds } = this.#cells;
    const start = (times[0] ?? 0) - step;
    const span = (times.at(-1) ?? 0) - start;
    const t = (x: number) => start + (Math.min(Math.max(x - LEFT, 0), width - LEFT) / (width - LEFT)) * span;
    const plot = this.height - BOTTOM;
    const lowest = (bounds[0] ?? 1) / 2;
    const value = (y: number) => lowest * 2 ** (((plot - Math.min(Math.max(y, 0), plot)) / plot) * bounds.length);
    const top = Math.min(d.y, d.y2);
    return {
      from: t(Math.min(d.x, d.x2)),
      to: t(Math.max(d.x, d.x2)),
      low: Math.max(d.y, d.y2) >= plot ? 0 : value(Math.max(d.y, d.y2)),
      high: top <= 2 ? Infinity : value(top),
    };
  }

  #draw() {
    const { width, w, h } = this.#size();
    const g = fit(this.#canvas, width, this.height);
    if (!g) return;
    const c = colours();
    const { times, bounds, counts, step } = this.#cells;
    const plot = this.height - BOTTOM;
    const most = Math.max(1, ...counts.map((row) => Math.max(...row)));
    g.fillStyle = c.accent;
    for (const [b, row] of counts.entries()) {
      for (const [t, n] of row.entries()) {
        if (n <= 0) continue;
        g.globalAlpha = c.faint + (1 - c.faint) * (Math.log1p(n) / Math.log1p(most));
        g.fillRect(LEFT + t * w + 0.5, plot - (b + 1) * h + 0.5, Math.max(w - 1, 1), Math.max(h - 1, 1));
      }
    }
    g.globalAlpha = 1;
    g.font = FONT;
    g.fillStyle = c.muted;
    g.textBaseline = "middle";
    g.textAlign = "right";
    const every = Math.max(1, Math.ceil(bounds.length / 8));
    for (let b = 0; b <= bounds.length; b += every) {
      const value = b === 0 ? (bounds[0] ?? 0) / 2 : (bounds[b - 1] ?? 0);
      g.fillText(duration(value), LEFT - 6, Math.max(7, plot - b * h - (b === 0 ? 5 : 0)));
    }
    g.textAlign = "left";
    const label = Math.max(1, Math.ceil(times.length / Math.max(1, Math.floor((width - LEFT) / 110))));
    for (let t = 0; t < times.length; t += label) {
      const x = LEFT + t * w;
      if (x + 54 <= width) g.fillText(clockTime((times[t] ?? 0) - step), x, this.height - 8);
    }
    const d = this.#drag;
    const s = this.#selection;
    let box: [number, number, number, number] | undefined;
    if (d) box = [Math.min(d.x, d.x2), Math.min(d.y, d.y2), Math.abs(d.x - d.x2), Math.abs(d.y - d.y2)];
    else if (s && bounds.length) {
      const start = (times[0] ?? 0) - step;
      const total = Math.max((times.at(-1) ?? 0) - start, 1);
      const x = (t: number) => LEFT + ((t - start) / total) * (width - LEFT);
      const lowest = (bounds[0] ?? 1) / 2;
      const y = (v: number) => plot - Math.min(Math.max((Math.log2(Math.max(v, lowest) / lowest) / bounds.length) * plot, 0), plot);
      const top = Number.isFinite(s.high) ? y(s.high) : 0;
      box = [x(s.from), top, x(s.to) - x(s.from), (s.low > 0 ? y(s.low) : plot) - top];
    }
    if (box) {
      g.strokeStyle = c.text;
      g.lineWidth = 1.5;
      g.strokeRect(...box);
      g.fillStyle = c.text;
      g.globalAlpha = 0.08;
      g.fillRect(...box);
      g.globalAlpha = 1;
    }
  }
}

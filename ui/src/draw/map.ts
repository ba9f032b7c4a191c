// The service graph as a picture: nodes where the server put them, arrows as thick as their traffic.
import type { Graph, GraphEdge, GraphNode } from "../api/braid.ts";
import { cut, type Colours, colours, fit, FONT, scheduler } from "./canvas.ts";
import { format, short } from "./units.ts";

/** Nodes within `hops` of one, over arrows in both directions; all where none is named. */
export function near(graph: Graph, focus: string, hops: number): Graph {
  if (!focus || !graph.nodes.some((n) => n.id === focus)) return graph;
  let ring = new Set([focus]);
  for (let i = 0; i < hops; i++) {
    const wider = new Set(ring);
    for (const e of graph.edges) {
      if (ring.has(e.source)) wider.add(e.target);
      if (ring.has(e.target)) wider.add(e.source);
    }
    ring = wider;
  }
  return { ...graph, nodes: graph.nodes.filter((n) => ring.has(n.id)), edges: graph.edges.filter((e) => ring.has(e.source) && ring.has(e.target)) };
}

/** Only edges that fail more often than one in a hundred, and what they join. */
export function unhealthy(graph: Graph): Graph {
  const edges = graph.edges.filter((e) => e.error_ratio > 0.01);
  const kept = new Set(edges.flatMap((e) => [e.source, e.target]));
  return { ...graph, edges, nodes: graph.nodes.filter((n) => kept.has(n.id) || n.error_ratio > 0.01) };
}

const known = (seconds: number | null | undefined) => (Number.isFinite(seconds) ? format(seconds as number, "s") : "");

const W = 168;
const H = 52;
/** The server gives centres, 60 from the left at the least; a node is wider than that. */
const LEFT = W / 2 - 60 + 6;

export class ServiceMap {
  #canvas: HTMLCanvasElement;
  #graph: Graph = { width: 0, height: 0, nodes: [], edges: [] };
  #selected = "";
  #scale = 1;
  #most = Infinity;
  /** What is written already: centres and sizes. */
  #words: { x: number; y: number; w: number; h: number }[] = [];
  #frame = scheduler(() => this.#draw());
  #watch: ResizeObserver;

  constructor(canvas: HTMLCanvasElement, select: (node: string) => void) {
    this.#canvas = canvas;
    canvas.addEventListener("click", (e) => {
      const [x, y] = [e.offsetX / this.#scale - LEFT, e.offsetY / this.#scale];
      const hit = this.#graph.nodes.find((n) => Math.abs(n.x - x) < W / 2 && Math.abs(n.y - y) < H / 2);
      select(hit?.id ?? "");
    });
    this.#watch = new ResizeObserver(this.#frame.ask);
    if (canvas.parentElement) this.#watch.observe(canvas.parentElement);
  }

  /** `most` is the height to fit into, where there is one. */
  update(graph: Graph, selected: string, most = Infinity) {
    this.#graph = graph;
    this.#most = most;
    this.#selected = selected;
    this.#frame.ask();
  }

  destroy() {
    this.#frame.stop();
    this.#watch.disconnect();
  }

  #draw() {
    const room = this.#canvas.parentElement?.clientWidth ?? 800;
    const { nodes, edges, width, height } = this.#graph;
    // Small graphs stay as they are; wide ones shrink down to what can still be read, then scroll.
    this.#scale = Math.min(1.15, Math.max(0.55, Math.min(room / Math.max(width + W, 1), Math.max(0.8, this.#most / Math.max(height + 20, 1)))));
    const g = fit(this.#canvas, Math.max(room, (width + W / 2) * this.#scale), Math.max(Math.min(200, this.#most), (height + 20) * this.#scale));
    if (!g) return;
    g.scale(this.#scale, this.#scale);
    g.translate(LEFT, 0);
    g.font = FONT;
    g.textBaseline = "middle";
    const c = colours();
    const at = new Map(nodes.map((n) => [n.id, n]));
    const most = edges.reduce((m, e) => Math.max(m, e.rate), 0) || 1;
    for (const e of edges) this.#edge(g, c, at.get(e.source), at.get(e.target), e, most);
    for (const n of nodes) this.#node(g, c, n);
    // Of what is selected the arrows say it all; of a few arrows, too, wherever they have the room.
    this.#words = nodes.map((n) => ({ x: n.x, y: n.y, w: W, h: H }));
    for (const e of [...edges].sort((a, b) => b.rate - a.rate)) if (edges.length <= 40 || e.source === this.#selected || e.target === this.#selected) this.#said(g, c, at.get(e.source), at.get(e.target), e);
  }

  #edge(g: CanvasRenderingContext2D, c: Colours, from: GraphNode | undefined, to: GraphNode | undefined, e: GraphEdge, most: number) {
    if (!from || !to || from === to) return;
    const forward = to.x >= from.x;
    const [x1, x2] = [from.x + (forward ? W / 2 : -W / 2), to.x - (forward ? W / 2 + 6 : -W / 2 - 6)];
    const bend = Math.max(30, Math.abs(x2 - x1) / 2) * (forward ? 1 : -1);
    const touched = !this.#selected || e.source === this.#selected || e.target === this.#selected;
    g.globalAlpha = touched ? 1 : 0.25;
    g.strokeStyle = g.fillStyle = e.error_ratio > 0.01 ? c.error : c.muted;
    g.lineWidth = 1 + 3 * Math.sqrt(e.rate / most);
    g.setLineDash(e.type === "messaging_system" ? [5, 4] : []);
    g.beginPath();
    g.moveTo(x1, from.y);
    g.bezierCurveTo(x1 + bend, from.y, x2 - bend, to.y, x2, to.y);
    g.stroke();
    g.setLineDash([]);
    g.beginPath();
    const d = forward ? 1 : -1;
    g.moveTo(x2 + 7 * d, to.y);
    g.lineTo(x2 - 2 * d, to.y - 5);
    g.lineTo(x2 - 2 * d, to.y + 5);
    g.fill();
    g.globalAlpha = 1;
  }

  /** Rate, errors and duration in the middle of an arrow. */
  #said(g: CanvasRenderingContext2D, c: Colours, from: GraphNode | undefined, to: GraphNode | undefined, e: GraphEdge) {
    if (!from || !to || from === to || (this.#selected && e.source !== this.#selected && e.target !== this.#selected)) return;
    const lines = [`${short(e.rate)} /s`, e.error_ratio > 0 ? `${short(e.error_ratio * 100)} %` : "", known(e.server_latency?.p95 ?? e.client_latency?.p95)].filter(Boolean);
    const gap = Math.abs(to.x - from.x) - W;
    if (gap < 50) return;
    const [x, y] = [(from.x + to.x) / 2, (from.y + to.y) / 2];
    g.save();
    g.font = FONT.replace("12px", "10.5px");
    g.textAlign = "center";
    const width = Math.max(...lines.map((l) => g.measureText(l).width)) + 6;
    // Never over a node or other numbers: the table has those of such an arrow.
    const free = this.#words.every((o) => Math.abs(o.x - x) >= (o.w + width) / 2 - 4 || Math.abs(o.y - y) >= o.h / 2 + 7 * lines.length);
    if (free && width <= gap + 4) {
      this.#words.push({ x, y, w: width, h: 14 * lines.length });
      g.fillStyle = c.surface;
      g.globalAlpha = 0.85;
      g.fillRect(x - width / 2, y - 7 * lines.length, width, 14 * lines.length);
      g.globalAlpha = 1;
      g.fillStyle = e.error_ratio > 0.01 ? c.error : c.muted;
      lines.forEach((l, i) => g.fillText(l, x, y + (i - (lines.length - 1) / 2) * 13));
    }
    g.restore();
  }

  #node(g: CanvasRenderingContext2D, c: Colours, n: GraphNode) {
    const [x, y] = [n.x - W / 2, n.y - H / 2];
    g.fillStyle = c.raised;
    g.strokeStyle = n.id === this.#selected ? c.accent : n.error_ratio > 0.01 ? c.error : c.line;
    g.lineWidth = n.id === this.#selected ? 2.5 : 1.5;
    g.beginPath();
    g.roundRect(x, y, W, H, n.type === "service" ? 9 : n.type === "database" ? 2 : 26);
    g.fill();
    g.stroke();
    g.textAlign = "center";
    g.fillStyle = c.text;
    g.fillText(cut(n.name, W - 16, 6.8), n.x, n.y - 9);
    g.fillStyle = n.error_ratio > 0.01 ? c.error : c.muted;
    // Nobody asks it: it only asks others.
    const asked = n.rate > 0;
    const facts = n.type === "user" ? "where traces begin" : asked ? [`${short(n.rate)} /s`, n.error_ratio > 0 ? `${short(n.error_ratio * 100)} %` : "", known(n.latency?.p95)].filter(Boolean).join("  ") : "asks others only";
    g.fillText(facts, n.x, n.y + 11);
    g.textAlign = "left";
  }
}

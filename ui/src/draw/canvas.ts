// What the canvas modules share: sharp pixels, the theme's colours, a colour a name.

/** Fits a canvas to its place and the screen's pixels; gives the context in CSS pixels. */
export function fit(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const ratio = devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context?.setTransform(ratio, 0, 0, ratio, 0, 0);
  context?.clearRect(0, 0, width, height);
  return context;
}

export interface Colours {
  text: string;
  muted: string;
  line: string;
  surface: string;
  raised: string;
  accent: string;
  error: string;
  warn: string;
  ok: string;
  palette: string[];
  /** How opaque the least of a scale is. */
  faint: number;
}

/** Resolves names of colours that only style sheets know, such as the system's own. */
let probe: HTMLElement | undefined;
function resolved(colour: string): string {
  if (!/^[A-Z]/.test(colour)) return colour;
  if (!probe) {
    probe = document.createElement("i");
    probe.hidden = true;
    probe.style.setProperty("forced-color-adjust", "none");
    document.documentElement.append(probe);
  }
  probe.style.color = colour;
  return getComputedStyle(probe).color;
}

/** The theme's colours, as the style sheet has them now. */
export function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const get = (name: string) => resolved(style.getPropertyValue(`--${name}`).trim());
  return {
    text: get("text"),
    muted: get("muted"),
    line: get("line"),
    surface: get("surface"),
    raised: get("raised"),
    accent: get("accent"),
    error: get("error"),
    warn: get("warn"),
    ok: get("ok"),
    palette: Array.from({ length: 10 }, (_, i) => get(`c${i}`)),
    faint: Number(style.getPropertyValue("--faint")) || 0.3,
  };
}

/** The same number for the same name, everywhere and always. */
export function hash(name: string): number {
  let h = 2166136261;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 16777619);
  // Mixed once more: names that differ in their last letter only shall not be neighbours.
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Services that have a colour, and which. */
const taken = new Map<string, number>();

/** A service's colour, 0 to 9: that of its name, or the next that no other service has yet. */
export function slot(name: string): number {
  const known = taken.get(name);
  if (known !== undefined) return known;
  const used = new Set(taken.values());
  let wanted = hash(name) % 10;
  while (used.has(wanted) && used.size < 10) wanted = (wanted + 3) % 10;
  // Thousands of names (an endless trace) need no memory each: past the colours their hash does.
  if (taken.size < 500) taken.set(name, wanted);
  return wanted;
}

export const colourOf = (name: string, palette: string[]) => palette[slot(name)] ?? "#888";

/** Text cut to a width, with an ellipsis; measures by guess, since `measureText` a row is what makes scrolling slow. */
export function cut(text: string, width: number, perCharacter = 6.6): string {
  const room = Math.floor(width / perCharacter);
  if (text.length <= room) return text;
  return room <= 1 ? "" : `${text.slice(0, room - 1)}…`;
}

export const FONT = '12px system-ui, "Segoe UI", sans-serif';

/** Calls `draw` once a frame at most. */
export function scheduler(draw: () => void): { ask: () => void; stop: () => void } {
  let frame = 0;
  return {
    ask: () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        draw();
      });
    },
    stop: () => cancelAnimationFrame(frame),
  };
}

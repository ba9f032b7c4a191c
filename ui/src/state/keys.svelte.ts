// The keyboard: what holds on every page, and what a page adds.
import { comparable } from "./marked.svelte.ts";
import { PAGES } from "./pages.ts";
import { go, refresh, shift, zoomOut } from "./route.svelte.ts";

/** Which of the layers over the page is open. */
export const layer = $state({ palette: false, help: false });

/** Keys of the page that is shown; each says whether it took the key. */
const handlers = new Set<(key: string) => boolean>();

/** Adds a page's keys, for as long as the effect that calls it lives. */
export function onKeys(handler: (key: string) => boolean): () => void {
  handlers.add(handler);
  return () => handlers.delete(handler);
}

function typing(target: EventTarget | null): boolean {
  const e = target as HTMLElement | null;
  return !!e && (e.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(e.tagName) || e.classList.contains("cm-host"));
}

/** Listens; gives what ends it. */
export function keyboard(): () => void {
  let pending = false;
  const listen = (event: KeyboardEvent) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      layer.palette = !layer.palette;
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || layer.palette || layer.help) return;
    if (typing(event.target)) {
      if (event.key === "Escape") (event.target as HTMLElement).blur();
      return;
    }
    // Space and Enter belong to a button or link that has the focus.
    if (["Enter", " "].includes(event.key) && (event.target as Element | null)?.closest("a, button, summary")) return;
    const { key } = event;
    if (pending) {
      pending = false;
      const page = PAGES.find((p) => p.key === key);
      if (page) {
        event.preventDefault();
        go(page.id);
        return;
      }
    }
    for (const handler of handlers) {
      if (handler(key)) {
        event.preventDefault();
        return;
      }
    }
    if (key === "g") pending = true;
    else if (key === "/") {
      const input = document.querySelector<HTMLElement>("[data-search] input, [data-search] .cm-host, input[data-search]");
      if (input) {
        event.preventDefault();
        input.focus();
      } else {
        // A page without a field of its own: the field for all of them.
        event.preventDefault();
        layer.palette = true;
      }
    } else if (key === "[") shift(-0.5);
    else if (key === "]") shift(0.5);
    else if (key === "z") zoomOut();
    else if (key === "r") refresh();
    else if (key === "?") layer.help = true;
    else if (key === "c") [...comparable].some((compare) => compare());
  };
  addEventListener("keydown", listen);
  return () => removeEventListener("keydown", listen);
}

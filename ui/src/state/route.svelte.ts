// Where we are: all of it is in the address, `#/page/argument?parameters`. Behind the hash, so that no path of an API can
// ever be mistaken for a page, and no query of a person's lands in a proxy's log.
import { parseTime, type Range } from "./time.ts";

export type Params = Record<string, string>;

/** The page that is shown. */
export const route = $state({ page: "home", arg: "", params: {} as Params });

/** What "now" means; moves with every refresh. */
export const clock = $state({ now: Date.now() });

/** What goes along from page to page. */
const CONTEXT = ["from", "to", "refresh"];

/** What only changes how a page shows what it has: nothing is asked anew for it, and "now" stays. */
const VIEW = ["at", "box", "critical", "errors", "find", "fold", "hide", "joined", "line", "mark", "markq", "panel", "sort", "span", "table", "view"];

/** Reads the address; says whether more than the view has changed. Parameters change one by one, so that only what reads one hears of it. */
function read(): boolean {
  const hash = location.hash.replace(/^#\/?/, "");
  const [path = "", query = ""] = hash.split(/\?(.*)/s);
  const [page = "", ...rest] = path.split("/");
  const [wanted, arg] = [page || "home", decode(rest.join("/"))];
  let moved = wanted !== route.page || arg !== route.arg;
  route.page = wanted;
  route.arg = arg;
  const params = Object.fromEntries(new URLSearchParams(query));
  for (const key of new Set([...Object.keys(route.params), ...Object.keys(params)])) {
    const value = params[key];
    if (value === route.params[key]) continue;
    moved ||= !VIEW.includes(key);
    if (value === undefined) delete route.params[key];
    else route.params[key] = value;
  }
  return moved;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a page, with the context (time, refresh) carried along. */
export function href(page: string, arg = "", params: Params = {}): string {
  const carried = Object.fromEntries(CONTEXT.flatMap((k) => (route.params[k] ? [[k, route.params[k]]] : [])));
  const query = new URLSearchParams(Object.entries({ ...carried, ...params }).filter(([, v]) => v !== "")).toString();
  return `#/${page === "home" ? "" : page}${arg ? `/${encodeURIComponent(arg)}` : ""}${query ? `?${query}` : ""}`;
}

/** Goes to a page. */
export function go(page: string, arg = "", params: Params = {}) {
  location.hash = href(page, arg, params);
}

/** Changes parameters of this page; an empty value removes one. A `replace`d address leaves no step to go back to. */
export function set(changes: Params, replace = false) {
  const params = { ...route.params, ...changes };
  const query = new URLSearchParams(Object.entries(params).filter(([, v]) => v !== "")).toString();
  const hash = `#/${route.page === "home" ? "" : route.page}${route.arg ? `/${encodeURIComponent(route.arg)}` : ""}${query ? `?${query}` : ""}`;
  if (hash === location.hash) return;
  if (replace) {
    history.replaceState(null, "", hash);
    read();
  } else {
    location.hash = hash;
  }
}

/** The range of time that is shown, milliseconds. */
export function range(): Range {
  const to = parseTime(route.params.to, clock.now, clock.now);
  const from = parseTime(route.params.from, clock.now, to - 3600e3);
  return from < to ? { from, to } : { from: to - 60e3, to };
}

/** This address with absolute times: what is shared shows the same to whoever opens it, from a panel on if it is one's link. */
export function shareable(panel = ""): string {
  const { from, to } = range();
  const params = new URLSearchParams({ ...route.params, from: String(from), to: String(to), panel });
  params.delete("refresh");
  if (!panel) params.delete("panel");
  return `${location.origin}${location.pathname}#/${route.page === "home" ? "" : route.page}${route.arg ? `/${encodeURIComponent(route.arg)}` : ""}?${params}`;
}

/** Moves (by a share of its length) or widens the range. */
export function shift(by: number) {
  const { from, to } = range();
  const d = (to - from) * by;
  set({ from: String(Math.round(from + d)), to: String(Math.round(to + d)) });
}

/** Doubles the range around its middle, not past now. */
export function zoomOut() {
  const { from, to } = range();
  const half = (to - from) / 2;
  const end = Math.min(to + half, Date.now());
  set({ from: String(Math.round(end - 4 * half)), to: String(Math.round(end)) });
}

/** Shows a range. */
export function zoomTo({ from, to }: Range) {
  if (to - from >= 1) set({ from: String(Math.floor(from)), to: String(Math.ceil(to)) });
}

/** Asks everything again, up to now. */
export function refresh() {
  clock.now = Date.now();
}

addEventListener("hashchange", () => {
  if (read()) clock.now = Date.now();
});
read();

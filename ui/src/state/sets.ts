// Small sets of things that a page keeps in the address, one parameter each: panels shown as tables, spans and rows that are folded,
// series that are hidden.
import { route, set } from "./route.svelte.ts";

/** More than this are not kept: an address has its length. */
const MOST = 200;

/** The members of a parameter, in the order in which they came. */
export const members = (param: string) => (route.params[param] ?? "").split(",").filter(Boolean);

/** Takes a member out, or puts it in. */
export function flip(param: string, member: string) {
  const now = members(param);
  set({ [param]: (now.includes(member) ? now.filter((n) => n !== member) : [...now, member].slice(-MOST)).join(",") }, true);
}

/** Whether a panel is shown as its table. */
export const tabled = (panel: string) => members("table").includes(panel);

/** Shows a panel as its table, or as its chart again. */
export const turn = (panel: string) => flip("table", panel);

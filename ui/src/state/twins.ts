// Which panels are shown as tables: in the address, as everything is.
import { route, set } from "./route.svelte.ts";

const named = () => (route.params.table ?? "").split(",").filter(Boolean);

/** Whether a panel is shown as its table. */
export const tabled = (panel: string) => named().includes(panel);

/** Shows a panel as its table, or as its chart again. */
export function turn(panel: string) {
  const now = named();
  set({ table: (now.includes(panel) ? now.filter((n) => n !== panel) : [...now, panel]).join(",") }, true);
}

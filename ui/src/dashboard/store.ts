// Where dashboards come from: files that ship with Braid, and files that a person opened, which stay in the browser.
import { json, text } from "../api/http.ts";
import { type Dashboard, read } from "./model.ts";

export interface Entry {
  id: string;
  title: string;
  description: string;
  source: "shipped" | "mine";
}

const MINE = "braid.dashboards";

function mine(): Record<string, string> {
  try {
    return JSON.parse(localStorage.getItem(MINE) ?? "{}") as Record<string, string>;
  } catch {
    return {};
  }
}

export async function entries(signal?: AbortSignal): Promise<Entry[]> {
  const shipped = await json<{ id: string; title: string; description: string }[]>("./dashboards/index.json", {}, signal);
  const own = Object.entries(mine()).map(([id, source]): Entry => {
    try {
      const d = read(source);
      return { id, title: d.title, description: d.description, source: "mine" };
    } catch {
      return { id, title: id, description: "cannot be read any more", source: "mine" };
    }
  });
  return [...shipped.map((s): Entry => ({ ...s, source: "shipped" })), ...own];
}

/** A dashboard and its file, word for word. */
export async function load(id: string, signal?: AbortSignal): Promise<{ dashboard: Dashboard; file: string }> {
  const own = mine()[id];
  const file = own ?? (await text(`./dashboards/${encodeURIComponent(id)}.json`, {}, signal));
  return { dashboard: read(file), file };
}

/** Keeps a file in this browser; gives its id. */
export function keep(source: string): string {
  const dashboard = read(source);
  const id = `mine-${(dashboard.uid || dashboard.title).replace(/[^\w-]+/g, "-")}`;
  localStorage.setItem(MINE, JSON.stringify({ ...mine(), [id]: source }));
  return id;
}

export function forget(id: string) {
  const { [id]: _, ...rest } = mine();
  localStorage.setItem(MINE, JSON.stringify(rest));
}

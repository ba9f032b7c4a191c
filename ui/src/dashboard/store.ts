// Where dashboards come from: files that ship with Braid, files of the directory that its configuration names, and files that a person
// opened, which stay in the browser. Of equal ids the browser's file counts, then the directory's.
import { json, text } from "../api/http.ts";
import { type Dashboard, read } from "./model.ts";

export interface Entry {
  id: string;
  title: string;
  description: string;
  source: "shipped" | "provisioned" | "mine";
  folder?: string;
}

/** A file of the directory that is no dashboard. */
export interface Problem {
  file: string;
  error: string;
}

const MINE = "braid.dashboards";

function mine(): Record<string, string> {
  try {
    return JSON.parse(localStorage.getItem(MINE) ?? "{}") as Record<string, string>;
  } catch {
    return {};
  }
}

type Listed = { id: string; title: string; description: string; folder?: string };
const provisioned = (signal?: AbortSignal) => json<{ dashboards: Listed[]; errors: Problem[] }>("/api/dashboards", {}, signal);

export async function entries(signal?: AbortSignal): Promise<{ entries: Entry[]; problems: Problem[] }> {
  const [shipped, files] = await Promise.all([json<Listed[]>("./dashboards/index.json", {}, signal), provisioned(signal)]);
  const own = Object.entries(mine()).map(([id, source]): Entry => {
    try {
      const d = read(source);
      return { id, title: d.title, description: d.description, source: "mine" };
    } catch {
      return { id, title: id, description: "cannot be read any more", source: "mine" };
    }
  });
  const taken = new Set(files.dashboards.map((d) => d.id));
  const entries = [
    ...files.dashboards.map((d): Entry => ({ ...d, source: "provisioned" })),
    ...shipped.filter((s) => !taken.has(s.id)).map((s): Entry => ({ ...s, source: "shipped" })),
    ...own,
  ];
  return { entries, problems: files.errors };
}

/** A dashboard and its file, word for word. */
export async function load(id: string, signal?: AbortSignal): Promise<{ dashboard: Dashboard; file: string }> {
  const own = mine()[id];
  const name = encodeURIComponent(id);
  const listed = !own && (await provisioned(signal)).dashboards.some((d) => d.id === id);
  const file = own ?? (await text(listed ? `/api/dashboards/${name}` : `./dashboards/${name}.json`, {}, signal));
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

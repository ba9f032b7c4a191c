/** The pages: what they are called, the letter after `g`, and their sign (paths of a 16 by 16 picture). */
export interface PageEntry {
  id: string;
  title: string;
  key: string;
  icon: string;
  about: string;
}

export const PAGES: PageEntry[] = [
  { id: "home", title: "Home", key: "h", icon: "M2 8l6-5 6 5M4 7v6h8V7", about: "services, what changed, what arrives" },
  { id: "map", title: "Map", key: "a", icon: "M3 4h3v3H3zM10 9h3v3h-3zM10 3h3v3h-3zM6 5.5h4M5 7l5 4", about: "who calls whom" },
  { id: "traces", title: "Traces", key: "t", icon: "M2 4h8M4 8h9M7 12h6", about: "search, heatmap, compare" },
  { id: "logs", title: "Logs", key: "l", icon: "M3 3h10M3 6.3h7M3 9.6h10M3 13h5", about: "search, live tail, patterns" },
  { id: "metrics", title: "Metrics", key: "m", icon: "M2 13h12M3 10l3-4 3 3 4-6", about: "by name or with PromQL" },
  { id: "correlations", title: "Correlations", key: "c", icon: "M2 5c5 0 7 6 12 6M2 11c5 0 7-6 12-6", about: "traces, logs and metrics that belong together" },
  { id: "dashboards", title: "Dashboards", key: "d", icon: "M2 3h5v5H2zM9 3h5v3H9zM9 8h5v5H9zM2 10h5v3H2z", about: "Grafana's files, rendered" },
  { id: "ingest", title: "Ingest", key: "i", icon: "M8 2v8M5 7l3 3 3-3M3 13h10", about: "what arrives, what is refused and why" },
  { id: "system", title: "System", key: "s", icon: "M8 5.5a2.5 2.5 0 100 5 2.5 2.5 0 000-5zM8 1.5v2M8 12.5v2M1.5 8h2M12.5 8h2", about: "Braid itself" },
];

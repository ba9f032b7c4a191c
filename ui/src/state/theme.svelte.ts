// Dark, light, high contrast, or as the system has it. The one thing that is kept in the browser besides dashboards.

export type Theme = "system" | "dark" | "light" | "contrast";
export const THEMES: Theme[] = ["system", "dark", "light", "contrast"];

const LIGHT = "(prefers-color-scheme: light)";
const CONTRAST = "(prefers-contrast: more)";
const FORCED = "(forced-colors: active)";

export const theme = $state({ chosen: stored(), version: 0 });

function stored(): Theme {
  try {
    const value = localStorage.getItem("braid.theme") as Theme | null;
    return value && THEMES.includes(value) ? value : "system";
  } catch {
    return "system";
  }
}

/** Puts the theme onto the document. */
export function applyTheme() {
  const light = matchMedia(LIGHT).matches;
  const system = matchMedia(CONTRAST).matches ? "contrast" : light ? "light" : "dark";
  // Where the system forces its colours upon every page, the lines of charts have to suit its background.
  const forced = matchMedia(FORCED).matches ? (light ? "light" : "contrast") : undefined;
  document.documentElement.dataset.theme = forced ?? (theme.chosen === "system" ? system : theme.chosen);
  // What is drawn on canvas reads the colours anew.
  theme.version++;
}

export function choose(next: Theme) {
  theme.chosen = next;
  try {
    localStorage.setItem("braid.theme", next);
  } catch {
    // Private windows keep nothing; the choice holds until the page is closed.
  }
  applyTheme();
}

for (const query of [LIGHT, CONTRAST, FORCED]) matchMedia(query).addEventListener("change", applyTheme);

// Dark, light, high contrast, or as the system has it. The one thing that is kept in the browser besides dashboards.

export type Theme = "system" | "dark" | "light" | "contrast";
export const THEMES: Theme[] = ["system", "dark", "light", "contrast"];

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
  const system = matchMedia("(prefers-contrast: more)").matches
    ? "contrast"
    : matchMedia("(prefers-color-scheme: light)").matches
      ? "light"
      : "dark";
  document.documentElement.dataset.theme = theme.chosen === "system" ? system : theme.chosen;
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

matchMedia("(prefers-color-scheme: light)").addEventListener("change", applyTheme);
matchMedia("(prefers-contrast: more)").addEventListener("change", applyTheme);

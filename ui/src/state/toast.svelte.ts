/** A short message at the edge, read aloud. */
export const toast = $state({ text: "" });
let timer: ReturnType<typeof setTimeout> | undefined;

export function say(text: string) {
  toast.text = text;
  clearTimeout(timer);
  timer = setTimeout(() => (toast.text = ""), 2500);
}

/** Puts text into the clipboard and says so. */
export async function copy(what: string, text: string) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch {
    // Without TLS a browser may refuse the clipboard to a host that is not local.
    prompt(`${what}:`, text);
  }
}

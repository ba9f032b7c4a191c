// Who is logged in, where Braid asks for that. The cookie is out of the page's reach; what it knows is what `/api/session` says.
import { PAGE, refusals } from "../api/http.ts";

interface Said {
  authentication: boolean;
  name?: string;
  scopes?: string[];
  tenant?: string | null;
  csrf?: string;
  error?: string;
}

export const session = $state({
  /** Whether it is known yet where the page stands. */
  known: false,
  /** Whether somebody must log in before anything can be shown. */
  needed: false,
  name: "",
  scopes: [] as string[],
  tenant: "",
  /** What became of a login link. */
  note: "",
});
/** What requests that change something repeat. */
let word = "";

const LINK = "#login=";

/** The token of a login link, taken out of the address and of the history: at once, before the page reads where it is. */
function tokenOfLink(): string {
  if (!location.hash.startsWith(LINK)) return "";
  const token = location.hash.slice(LINK.length);
  history.replaceState(null, "", `${location.pathname}#/`);
  return token;
}
let token = tokenOfLink();

function take(said: Said) {
  session.known = true;
  session.needed = said.authentication && said.name === undefined;
  session.name = said.name ?? "";
  session.scopes = said.scopes ?? [];
  session.tenant = said.tenant ?? "";
  word = said.csrf ?? "";
}

async function ask(method: string, body?: Record<string, string>): Promise<Said> {
  const headers: Record<string, string> = { ...PAGE };
  if (body) headers["content-type"] = "application/json";
  if (method === "DELETE") headers["x-braid-csrf"] = word;
  let response: Response;
  try {
    response = await fetch("/api/session", { method, headers, body: body ? JSON.stringify(body) : null });
  } catch {
    throw new Error("Braid does not answer. Is it running?");
  }
  const said = (await response.json().catch(() => ({}))) as Said;
  if (!response.ok) throw new Error(said.error ?? `${response.status} ${response.statusText}`);
  return said;
}

/** Finds out where the page stands; a login link is used. */
export async function begin() {
  refusals.heard = () => {
    if (session.known && !session.needed) void find();
  };
  // Somebody pastes a link where the page is open.
  addEventListener("hashchange", () => {
    token = tokenOfLink();
    if (token) void open();
  });
  await open();
}

async function open() {
  if (token) {
    try {
      take(await ask("POST", { token }));
      return;
    } catch {
      session.note = "This login link is not good, or no longer: each opens once, within ten minutes.";
    }
  }
  await find();
}

async function find() {
  try {
    take(await ask("GET"));
  } catch {
    // Not Braid's answer: whatever is shown then says what is wrong.
    session.known = true;
  }
}

/** Logs in with a user and a password, or with an API key. */
export async function logIn(what: Record<string, string>) {
  take(await ask("POST", what));
  session.note = "";
}

export async function logOut() {
  take(await ask("DELETE"));
}

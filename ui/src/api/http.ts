// Requests to Braid's public APIs: nothing in this page asks anything that a person could not ask with curl.

/** Why there is no answer. */
export class ApiError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** What one can do where there is no answer. */
export function advice(error: Error): string {
  const status = error instanceof ApiError ? error.status : -1;
  switch (status) {
    case 0: return "Start it, or wait until it is back; r asks again.";
    case 400: return "Correct the query or the filter, and run it again.";
    case 401: return "Log in.";
    case 403: return "What you are logged in with may not ask this: it takes a key or a user with more scopes.";
    case 404: return "";
    case 413: case 422: return "Ask for less: a shorter range of time, fewer series, a narrower filter.";
    case 408: case 504: return "It took too long: ask for a shorter range of time, or a narrower filter.";
    case 429: case 503: return "Braid is busy just now; r asks again.";
    default: return status >= 500 ? "Braid's own log says more; r asks again." : "";
  }
}

/** Says that the page asks: a browser that is refused does not open a window of its own then. */
export const PAGE = { "x-braid-page": "1" };

/** Who is told that a request was refused for want of a login. */
export const refusals = { heard: () => {} };

export type Query = Record<string, string | number | boolean | string[] | undefined>;

export function search(query: Query): string {
  const out = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (Array.isArray(value)) for (const v of value) out.append(key, v);
    else if (value !== undefined && value !== "") out.set(key, String(value));
  }
  return out.toString();
}

/** The text of an answer. */
export async function text(path: string, query: Query = {}, signal?: AbortSignal, headers?: Record<string, string>): Promise<string> {
  const q = search(query);
  let response: Response;
  try {
    response = await fetch(`${path}${q ? `?${q}` : ""}`, { signal: signal ?? null, headers: { ...PAGE, ...headers } });
  } catch (e) {
    if (signal?.aborted) throw e;
    throw new ApiError(0, "Braid does not answer. Is it running?");
  }
  if (response.status === 401) refusals.heard();
  const body = await response.text();
  if (response.status === 404 && reason(body).startsWith("404 page not found")) throw new ApiError(404, `This Braid does not answer ${path}.`);
  if (!response.ok) throw new ApiError(response.status, reason(body) || `${response.status} ${response.statusText}`);
  return body;
}

export async function json<T>(path: string, query: Query = {}, signal?: AbortSignal, headers?: Record<string, string>): Promise<T> {
  return JSON.parse(await text(path, query, signal, headers)) as T;
}

/** Prometheus says why in an envelope, Loki and Tempo in plain text. */
function reason(body: string): string {
  try {
    const parsed = JSON.parse(body) as { error?: string; message?: string };
    return parsed.error ?? parsed.message ?? body;
  } catch {
    return body.slice(0, 2000);
  }
}

/** The same request as a command line. */
export function curl(path: string, query: Query = {}): string {
  const quote = (s: string) => `'${s.replaceAll("'", `'\\''`)}'`;
  const parts = Object.entries(query).flatMap(([k, v]) =>
    v === undefined || v === "" ? [] : (Array.isArray(v) ? v : [String(v)]).map((one) => `--data-urlencode ${quote(`${k}=${one}`)}`),
  );
  return `curl -sG ${quote(location.origin + path)} ${parts.join(" ")}`.trim();
}

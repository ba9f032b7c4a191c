// Requests to Braid's public APIs: nothing in this page asks anything that a person could not ask with curl.

/** Why there is no answer. */
export class ApiError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
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

/** The service, as the page asks it; the window hears of `unauthorised` when it does not know who asks. */

const ROOT = "/api/v1";
/** Where a session begins and ends. */
export const SESSION = "/session";

/** What the service refused, or that it did not answer: `status` 0. */
export class ApiError extends Error {
  constructor(status, problem = {}, retryAfter = null) {
    super(problem.detail || problem.title || (status ? `The service answered ${status}.` : "The service does not answer."));
    this.status = status;
    this.problem = problem;
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
    this.retryAfter = retryAfter;
  }
}

/** Return the path of a search, or of something of it. */
export const searchPath = (id, rest = "") => `/searches/${encodeURIComponent(id)}${rest}`;

/** Return a path with a query; null and empty values are left out. */
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/** Return the address of a path of the API. */
export const address = (path) => ROOT + path;

/** Return `ask()`: a signal for one question, aborted by the next one or by `signal`: a late answer never replaces a newer one. */
export function newest(signal) {
  let last = new AbortController();
  return () => {
    last.abort();
    last = new AbortController();
    return AbortSignal.any([signal, last.signal]);
  };
}

export const get = (path, signal) => ask("GET", path, { signal });
export const remove = (path) => ask("DELETE", path);

/** POST JSON; `headers` go with it. */
export function post(path, body = {}, { signal, headers = {} } = {}) {
  return ask("POST", path, { signal, body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers } });
}

/** Send a file and return what the service made of it. */
export function upload(file) {
  const form = new FormData();
  form.append("file", file);
  return ask("POST", "/uploads", { body: form });
}

/** Return a file that the service makes: its name and content. */
export async function download(path) {
  const response = await send("GET", path);
  const named = /filename="?([^";]+)"?/.exec(response.headers.get("Content-Disposition") ?? "");
  return { name: named ? named[1] : "autopeft", content: await response.blob() };
}

async function ask(method, path, options) {
  const response = await send(method, path, options);
  return response.status === 204 ? null : response.json();
}

async function send(method, path, options = {}) {
  let response;
  try {
    response = await fetch(ROOT + path, { method, credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0);
  }
  // A token that is refused where one signs in is told there.
  if (response.status === 401 && path !== SESSION) window.dispatchEvent(new Event("unauthorised"));
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  try {
    return new ApiError(response.status, await response.json(), retryAfter);
  } catch {
    return new ApiError(response.status, {}, retryAfter);
  }
}

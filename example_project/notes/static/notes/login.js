/**
 * One login, shared by all tabs of this origin.
 *
 * The access token is in memory only. A tab that gets a new one tells the others over a BroadcastChannel.
 *
 * The refresh token has to be where every tab finds it, also one that is opened tomorrow: localStorage. The price is
 * that a script which somebody smuggles into any page of this origin can read it and use it elsewhere. What stands
 * against that is the Content-Security-Policy of the page, and that a stolen refresh token betrays itself: as soon as
 * thief and owner have both used it, the session ends. A cookie with HttpOnly cannot be read by scripts, but needs a
 * server on the same site that keeps the token there, and protection against forged requests; a smuggled script could
 * still use it, from within the page.
 *
 * Refreshing is done by one tab at a time, under a lock of the browser, and in each tab by one request for all that
 * wait for it. Another process may see localStorage a moment late, lock or not. The token that it then presents is
 * the one before, and the server forgives that for ten seconds.
 */

export const REFRESH_TOKEN = "notes.refresh-token";

const LOCK = "notes.login";
const TIMEOUT = 15_000;
/** Milliseconds for which a request waits by itself when the server asks to come back later, and how often. */
const PATIENCE = 30_000;
const TRIES = 3;

export class ApiError extends Error {
  constructor(response, body) {
    super(body?.detail ?? (Object.values(body ?? {}).flat().join(" ") || `The server answered ${response.status}.`));
    this.status = response.status;
    this.code = body?.code;
    this.wait = secondsToWait(response);
  }
}

/**
 * Sends "change" when the login or the access token is another one (`detail` says why a login ended), "answer" for
 * every answer, and "wait" when the server asked to come back later.
 */
export class Login extends EventTarget {
  #access = null;
  #refreshing = null;
  #channel = new BroadcastChannel("notes.login");

  constructor() {
    super();
    this.#channel.onmessage = ({ data }) => this.#learn(data.access, data.why);
    // Where the message came before localStorage had changed, this comes after.
    addEventListener("storage", ({ key }) => key === REFRESH_TOKEN && this.#learn(this.exists ? this.#access : null));
  }

  get exists() {
    return localStorage.getItem(REFRESH_TOKEN) !== null;
  }

  /** `{token, lifetime, expiresAt}` in milliseconds, or null. */
  get access() {
    return this.#access;
  }

  /** Log in; throws an ApiError where that is refused. */
  start(username, password) {
    return navigator.locks.request(LOCK, async () => {
      this.#take(await this.#ask("/auth/token/", { username, password }));
    });
  }

  /** Log out, everywhere. What this browser holds is forgotten even if the server does not answer. */
  end() {
    return navigator.locks.request(LOCK, async () => {
      const token = localStorage.getItem(REFRESH_TOKEN);
      try {
        if (token) await this.#ask("/auth/token/revoke/", { token });
      } finally {
        this.#forget();
      }
    });
  }

  /** Like `fetch`, with the access token. A 401 leads to one refresh and one more try, and never to a second. */
  async fetch(path, options = {}) {
    if (!isFresh(this.#access)) await this.refresh();
    const token = this.#access.token;
    const response = await this.#send(path, withToken(options, token));
    if (response.status !== 401) return response;
    await this.refresh(token);
    return this.#send(path, withToken(options, this.#access.token));
  }

  /** Get another access token than this one. All who ask meanwhile wait for the same answer. */
  refresh(old = this.#access?.token) {
    this.#refreshing ??= navigator.locks
      .request(LOCK, () => this.#refresh(old))
      .finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  /** Throw the access token of this tab away. */
  dropAccess() {
    this.#learn(null);
  }

  async #refresh(old) {
    // Another tab, or an earlier request of this one, was faster.
    if (isFresh(this.#access) && this.#access.token !== old) return;
    const token = localStorage.getItem(REFRESH_TOKEN);
    try {
      this.#take(await this.#ask("/auth/token/refresh/", { refresh_token: token ?? "" }));
    } catch (error) {
      // Anything else (503, 429, no connection) says nothing about the token, so it is kept.
      if (error.status === 401 || error.status === 400) this.#forget(error.code ?? "logged_out");
      throw error;
    }
  }

  #take(pair) {
    const lifetime = pair.expires_in * 1000;
    localStorage.setItem(REFRESH_TOKEN, pair.refresh_token);
    // By our own clock, however wrong it is: `exp` is by the server's.
    this.#tell({ token: pair.access_token, lifetime, expiresAt: Date.now() + lifetime });
  }

  #forget(why) {
    localStorage.removeItem(REFRESH_TOKEN);
    this.#tell(null, why);
  }

  #tell(access, why) {
    this.#channel.postMessage({ access, why });
    this.#learn(access, why);
  }

  #learn(access, why) {
    this.#access = access;
    this.dispatchEvent(new CustomEvent("change", { detail: why }));
  }

  async #ask(path, data) {
    const response = await this.#send(path, post(data));
    const body = await response.json().catch(() => null);
    if (!response.ok) throw new ApiError(response, body);
    return body;
  }

  async #send(path, options) {
    const method = options.method ?? "GET";
    for (let attempt = 1; ; attempt++) {
      const begun = performance.now();
      const response = await fetch(path, { ...options, signal: AbortSignal.timeout(TIMEOUT) });
      const { status } = response;
      this.dispatchEvent(
        new CustomEvent("answer", { detail: { method, path, status, took: performance.now() - begun } }),
      );
      const wait = secondsToWait(response);
      if (wait === null || wait * 1000 > PATIENCE || attempt === TRIES) return response;
      this.dispatchEvent(new CustomEvent("wait", { detail: { path, status, seconds: wait } }));
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    }
  }
}

/** The options of a request with a JSON body. */
export function post(data) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(data) };
}

function withToken(options, token) {
  return { ...options, headers: { ...options.headers, Authorization: `Bearer ${token}` } };
}

function isFresh(access) {
  return access !== null && Date.now() < access.expiresAt;
}

/** What Retry-After asks of a client that is too fast (429) or too early (503), or null. */
function secondsToWait(response) {
  if (response.status !== 429 && response.status !== 503) return null;
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : null;
}

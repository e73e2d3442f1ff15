import { ApiError, Login, post, REFRESH_TOKEN } from "./login.js";

const LOGGED = 50;
const LEEWAY = 10_000;
const ENDED = {
  logged_out: "You were logged out.",
  token_expired: "The session has expired. Log in again.",
  token_invalid: "The server does not know this login any more. Log in again.",
  token_reused: "A used refresh token came back, so the session was ended. Log in again.",
  token_revoked: "The session was ended. Log in again.",
};

const login = new Login();
const $ = (id) => document.getElementById(id);

/** The refresh tokens that were used up while this page was open, the latest first. */
let used = [];
let latest = localStorage.getItem(REFRESH_TOKEN);
let shownFor = null;
let waiting = false;

// --- What is shown

/** Make an element. Text goes in as text: nothing that a server or a user says is ever read as HTML. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function say(message, bad = false) {
  waiting = false;
  $("banner").textContent = message;
  $("banner").classList.toggle("bad", bad);
  $("banner").hidden = !message;
}

function decode(part) {
  const binary = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(binary, (character) => character.charCodeAt(0))));
}

function readable(data) {
  return JSON.stringify(data, null, 2);
}

function showToken() {
  if (!login.access) return;
  const parts = login.access.token.split(".");
  const [header, claims] = parts.slice(0, 2).map(decode);
  $("token-header").textContent = readable(header);
  $("token-claims").textContent = readable(claims);
  $("token-signature").textContent = `${header.alg}, ${Math.floor((parts[2].length * 3) / 4)} bytes.`;
  const time = (seconds) => new Date(seconds * 1000).toLocaleTimeString();
  $("token-times").textContent = `Issued (iat) at ${time(claims.iat)}, good until (exp) ${time(claims.exp)}.`;
  const spans = parts.map((part, index) =>
    make("span", { className: `part ${["header", "claims", "signature"][index]}`, textContent: part }),
  );
  $("raw").replaceChildren(spans[0], ".", spans[1], ".", spans[2]);
}

function showTimeLeft() {
  const left = login.access ? Math.max(0, login.access.expiresAt - Date.now()) : 0;
  const seconds = Math.ceil(left / 1000);
  $("left").value = login.access ? left / login.access.lifetime : 0;
  $("left-text").textContent = left
    ? `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} left`
    : login.access
      ? "has run out"
      : "there is none";
}

function showUsed() {
  const rows = used.map(({ token, at }, index) => {
    const forgiven = index === 0 && Date.now() - at < LEEWAY;
    // They all begin with the id of the session.
    const name = `…${token.slice(-8)}`;
    const text = make("span", {}, make("code", { textContent: name }), forgiven ? " just used, forgiven" : "");
    const button = make("button", { textContent: "Replay", ariaLabel: `Replay the refresh token ${name}` });
    button.onclick = () => doing(button, () => replay(token));
    return make("li", {}, text, button);
  });
  $("used").replaceChildren(...(rows.length ? rows : [make("li", { textContent: "None yet: refresh once or twice." })]));
}

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];

function ago(iso) {
  const seconds = (new Date(iso) - Date.now()) / 1000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS.at(-1);
  const at = new Date(iso).toLocaleString();
  return make("time", { dateTime: iso, title: at, textContent: RELATIVE.format(Math.round(seconds / size), unit) });
}

function showSessions(sessions) {
  const rows = sessions.map(({ id, current, user_agent, ip_address, refreshed_at, expires_at }) => {
    const where = [user_agent, ip_address].filter(Boolean).join(", ") || "An unknown client";
    const text = make("span", {}, `${where}, refreshed `, ago(refreshed_at), ", ends ", ago(expires_at));
    if (current) text.append(" ", make("span", { className: "pill", textContent: "this one" }));
    const end = make("button", { textContent: "End", ariaLabel: `End the session of ${where}` });
    end.onclick = () => doing(end, () => endSessions(`/auth/sessions/${id}/`));
    return make("li", {}, text, end);
  });
  $("sessions").replaceChildren(...rows);
}

function showNotes(notes) {
  const rows = notes.map(({ id, title }) => {
    const remove = make("button", { textContent: "Delete", ariaLabel: `Delete ${title}` });
    remove.onclick = () => doing(remove, async () => {
      await call(`/api/notes/${id}/`, { method: "DELETE" });
      await loadNotes();
    });
    return make("li", {}, make("span", { textContent: title }), remove);
  });
  $("notes").replaceChildren(...(rows.length ? rows : [make("li", { textContent: "None yet." })]));
}

function showAnswer(path, status, body) {
  $("answer").textContent = `${status} ${path}\n${body === null ? "" : readable(body)}`;
}

function addToLog(text, className) {
  $("log").prepend(make("li", { className }, make("time", { textContent: new Date().toLocaleTimeString() }), ` ${text}`));
  while ($("log").childElementCount > LOGGED) $("log").lastElementChild.remove();
}

// --- What is done

/** Call the API and return what it answers; throws an ApiError where it refuses. */
async function call(path, options) {
  const response = await login.fetch(path, options);
  const body = await response.json().catch(() => null);
  showAnswer(path, response.status, body);
  if (!response.ok) throw new ApiError(response, body);
  return body;
}

const loadNotes = async () => showNotes(await call("/api/notes/"));
const loadSessions = async () => showSessions(await call("/auth/sessions/"));

async function endSessions(path) {
  await call(path, { method: "DELETE" });
  // If it was our own, this is refused, and so is the refresh that follows: that is how a client finds out.
  await loadSessions();
}

async function callTenAtOnce() {
  login.dropAccess();
  await Promise.all(Array.from({ length: 10 }, () => call("/api/ping/")));
}

/** Do what a thief would do who has copied a refresh token, past this page's own login. */
async function replay(token) {
  const path = "/auth/token/refresh/";
  const response = await fetch(path, post({ refresh_token: token }));
  const body = await response.json();
  addToLog(`POST ${path} answered ${response.status} ${body.code ?? ""} to the replay`, response.ok ? "good" : "bad");
  if (response.ok) {
    const same = body.refresh_token === localStorage.getItem(REFRESH_TOKEN);
    say(same ? "Forgiven: it got the same successor that you have." : "It got another successor.");
    return;
  }
  // Our own access token has most of its time left; does it still work?
  await call("/api/ping/");
}

/** Run an action with its button off, and tell what went wrong. */
async function doing(button, action) {
  button.disabled = true;
  say("");
  try {
    await action();
    if (waiting) say("");
  } catch (error) {
    tellError(error);
  } finally {
    button.disabled = false;
  }
}

function tellError(error) {
  // Why the login is over is told by the event that says so.
  if (!login.exists && error.status === 401 && error.code !== "invalid_credentials") return;
  if (!(error instanceof ApiError)) say(`The server could not be reached: ${error.message}`, true);
  else if (error.wait) say(`${error.message} Come back in ${Math.ceil(error.wait)} seconds.`, true);
  else say(error.message, true);
}

// --- What happens

login.addEventListener("change", ({ detail: why }) => {
  const current = localStorage.getItem(REFRESH_TOKEN);
  if (latest && !current) say(ENDED[why] ?? ENDED.logged_out, Boolean(why));
  if (latest && current && current !== latest) {
    used.unshift({ token: latest, at: Date.now() });
    setTimeout(showUsed, LEEWAY);
  }
  latest = current;
  show();
});
login.addEventListener("answer", ({ detail: { method, path, status, took } }) => {
  addToLog(`${method} ${path} answered ${status} in ${Math.round(took)} ms`, status < 400 ? "good" : "bad");
});
login.addEventListener("wait", ({ detail: { path, status, seconds } }) => {
  addToLog(`${path} asks to come back in ${seconds} s`, "bad");
  say(`${status === 429 ? "Too many requests" : "The server is not ready"}: trying again in ${seconds} s.`);
  waiting = true;
});

/** Show the login, or the form for one; what belongs to a session is loaded when it is another one. */
function show() {
  $("inside").hidden = !login.exists;
  $("outside").hidden = login.exists;
  if (!login.exists) {
    used = [];
    shownFor = null;
    return;
  }
  showToken();
  showTimeLeft();
  showUsed();
  const session = login.access && decode(login.access.token.split(".")[1]).sid;
  if (session && session !== shownFor) {
    shownFor = session;
    used = [];
    showUsed();
    load();
  }
}

async function load() {
  try {
    await Promise.all([loadNotes(), loadSessions()]);
    $("who").textContent = `Logged in as ${(await call("/api/me/")).username}`;
  } catch (error) {
    tellError(error);
  }
}

const onClick = (id, action) => ($(id).onclick = () => doing($(id), action));

onClick("logout", () => login.end());
onClick("refresh", async () => {
  await login.refresh();
  await loadSessions();
});
onClick("forget", () => login.dropAccess());
onClick("ten", callTenAtOnce);
onClick("end-others", () => endSessions("/auth/sessions/?others=true"));
onClick("end-all", () => endSessions("/auth/sessions/"));
for (const button of document.querySelectorAll("[data-get]")) {
  button.onclick = () => doing(button, () => call(button.dataset.get));
}
$("login-form").onsubmit = (event) => {
  event.preventDefault();
  doing(event.submitter, async () => {
    await login.start($("username").value, $("password").value);
    $("password").value = "";
    $("who").focus();
  });
};
$("note-form").onsubmit = (event) => {
  event.preventDefault();
  doing(event.submitter, async () => {
    await call("/api/notes/", post({ title: $("note").value }));
    $("note").value = "";
    await loadNotes();
  });
};

setInterval(() => {
  if (login.exists) showTimeLeft();
}, 500);

show();
if (login.exists) login.refresh().catch(tellError);

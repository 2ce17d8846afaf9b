/** Routes, the session, and what every view has in common. */

import { SESSION, get, remove } from "./api.js";
import { h, replace } from "./dom.js";
import { closeDialogs } from "./parts/dialogs.js";
import { failure, loading } from "./parts/notices.js";
import { signIn } from "./views/sign_in.js";

const VIEWS = {
  searches: { module: "./views/searches.js", title: "Searches" },
  search: { module: "./views/search.js", title: "Search" },
  new: { module: "./views/new.js", title: "New search" },
  compare: { module: "./views/compare.js", title: "Compare" },
};
const SCOPES = ["read", "submit", "admin"];
const main = document.getElementById("main");
const announcer = document.getElementById("announcer");
let leaving = new AbortController();
let me = null;
let opened = false;

/** Read `#/searches/ID?x=y` as a view, an id and a query. */
function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [first = "", id = ""] = path.split("/");
  const name = first === "searches" && id ? "search" : first || "searches";
  return { name, id: decoded(id), query: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Say something to people who do not see it. */
function announce(text) {
  announcer.textContent = text;
}

/** End what the view that is there does, close what it has opened, and return the signal of what comes in its place. */
function leave() {
  leaving.abort();
  leaving = new AbortController();
  closeDialogs();
  return leaving.signal;
}

/** Show the view that the address names. */
async function show() {
  const signal = leave();
  const route = parseRoute(location.hash);
  markCurrent(route.name);
  document.title = `${(VIEWS[route.name] ?? { title: "Not found" }).title} · AutoPEFT`;
  replace(main, loading("Loading"));
  try {
    await open(route, signal);
    if (!signal.aborted) focusHeading();
  } catch (error) {
    if (!signal.aborted) fail(error, signal);
  }
}

async function open(route, signal) {
  me ??= await get("/me", signal);
  showSession();
  const view = VIEWS[route.name];
  if (!view) throw Object.assign(new Error("There is no such page."), { status: 404 });
  const { render } = await import(view.module);
  await render({ ...route, main, signal, announce, fail: (error) => fail(error, signal), may, me });
}

/** Say in the place of a view that it failed; of one that was left nothing is said. */
function fail(error, signal) {
  if (signal.aborted || error.name === "AbortError") return;
  const left = leave();
  replace(main, failure(error, show));
  focusHeading();
  if (error.status === 0 || error.status === 503) {
    const timer = setTimeout(show, 1000 * (error.retryAfter ?? 5));
    left.addEventListener("abort", () => clearTimeout(timer));
  }
}

function askForToken() {
  // Several requests may be refused at once; what is being typed stays.
  if (main.querySelector("#token")) return;
  leave();
  me = null;
  showSession();
  document.title = "Sign in · AutoPEFT";
  replace(main, signIn(show));
  main.querySelector("input").focus();
}

/** Whether whoever is signed in may do what a scope names; each scope holds those before it. */
function may(scope) {
  return (me?.scopes ?? []).some((mine) => SCOPES.indexOf(mine) >= SCOPES.indexOf(scope));
}

function showSession() {
  const place = document.getElementById("session");
  if (!me) return replace(place);
  const leave = h("button", { type: "button", class: "quiet", on: { click: signOut } }, "Sign out");
  return replace(place, h("a", { href: "/dashboard" }, "Optuna dashboard"), me.open ? null : [h("span", {}, me.owner), leave]);
}

async function signOut() {
  try {
    await remove(SESSION);
    askForToken();
  } catch (error) {
    fail(error, leaving.signal);
  }
}

function markCurrent(name) {
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.getAttribute("href") === `#/${name === "search" ? "searches" : name}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** After a change of view, though not when the page opens, the keyboard goes on at the heading, and it is read out. */
function focusHeading() {
  const heading = opened ? main.querySelector("h1") : null;
  opened = true;
  heading?.setAttribute("tabindex", "-1");
  heading?.focus();
  scrollTo(0, 0);
}

document.getElementById("skip").addEventListener("click", () => main.focus());
window.addEventListener("hashchange", show);
window.addEventListener("unauthorised", askForToken);
show();

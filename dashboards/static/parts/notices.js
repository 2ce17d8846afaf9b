/** What is shown in place of content, or beside it: loading, empty, failed, and the state of a search. */

import { h } from "../dom.js";

const ADVICE = {
  0: ["The service does not answer", "It may be restarting. This page tries again by itself."],
  403: ["That is not allowed", "The token that you signed in with lacks the scope for it."],
  404: ["Not found", "It may have been removed, or the address may hold a mistake."],
  429: ["Too many requests", "Wait a little, then try again."],
  503: ["The service is busy or its database is away", "Nothing is lost. This page tries again by itself."],
};

const STATES = {
  queued: ["○", "waits for a controller"],
  running: ["▶", "at work"],
  interrupted: ["❚❚", "waits for a controller to go on"],
  cancelled: ["⊘", "stopped on request"],
  failed: ["✕", "ended without an answer"],
  done: ["✓", "finished"],
  complete: ["✓", "trained to its end"],
  pruned: ["↓", "stopped early"],
};
export const FINAL = ["done", "failed", "cancelled"];

/** A state in a word, a sign and a colour; the pointer is told what it means. */
export function badge(state, meaning = STATES[state]?.[1] ?? state) {
  const [sign] = STATES[state] ?? ["?"];
  return h("span", { class: `badge ${STATES[state] ? state : "other"}`, title: meaning }, h("span", { "aria-hidden": "true" }, sign), state);
}

/** Return how a search goes on that was interrupted: controllers take only those that were left to them; else null. */
export function wayOn({ id, name, served, state }) {
  if (state !== "interrupted") return null;
  return served ? STATES.interrupted[1] : `stopped; go on with autopeft resume ${/^[\w.-]+$/.test(name) ? name : id}`;
}

/** The state of a search. */
export const badgeOf = (search) => badge(search.state, wayOn(search) ?? undefined);

export const loading = (text) => h("div", { class: "notice", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), `${text} …`);

/** A whole view that could not be shown, with a way to try again. */
export function failure(error, again) {
  const [title, advice] = ADVICE[error.status] ?? ["That did not work", ""];
  return h(
    "section",
    { class: "notice failure", role: "alert" },
    h("h1", {}, title),
    h("p", {}, error.message),
    advice && advice !== error.message ? h("p", { class: "muted" }, advice) : null,
    h("p", { class: "actions" }, h("button", { type: "button", class: "primary", on: { click: again } }, "Try again"), h("a", { href: "#/searches" }, "All searches")),
  );
}

/** A place where there is nothing yet. */
export const empty = (title, ...rest) => h("div", { class: "notice empty" }, h("p", { class: "title" }, title), ...rest);

/** A problem beside the content that it is about. */
export function alertBox(error) {
  const list = (error.errors ?? []).map((one) => h("li", {}, `${one.field}: ${one.remedy}`));
  return h("div", { class: "alert", role: "alert" }, h("p", {}, error.message), list.length ? h("ul", {}, list) : null);
}

/** A section of a view under a heading of its own. */
export function section(title, ...children) {
  return h("section", { class: "card" }, h("h2", {}, title), ...children);
}

/** Pairs of terms and what they come to. */
export function facts(pairs, cls = "facts") {
  return h("dl", { class: cls }, pairs.filter(Boolean).map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
}

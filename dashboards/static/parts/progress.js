/** How far a search is. */

import { h } from "../dom.js";
import { budget, count, duration, score } from "../format.js";
import { FINAL, facts, wayOn } from "./notices.js";

const PHASES = { search: "Searching", confirm: "Confirming the front" };

/** Return the share of a budget that is used, from 0 to 1, or null where it is not known. */
export function share(search) {
  if (search.state === "done") return 1;
  const { progress } = search;
  if (!progress) return search.state === "queued" || FINAL.includes(search.state) ? 0 : null;
  if (progress.total) return Math.min(1, progress.done / progress.total);
  if (progress.seconds_left !== null && progress.seconds) return progress.seconds / (progress.seconds + progress.seconds_left);
  return null;
}

/** Return a bar; without a known share it only says that there is work. */
export function bar(search, label) {
  const value = share(search);
  return h("progress", { max: 1, value: value === null ? null : value.toFixed(4), "aria-label": label });
}

/** Return how far a search is, in a few words. */
export function brief(search) {
  const { progress } = search;
  if (!progress) return search.state === "queued" ? "not started" : "";
  const runs = progress.total ? `${count(progress.done)} of ${count(progress.total)}` : `${count(progress.done)} runs`;
  return progress.phase === "confirm" ? `confirming ${runs}` : runs;
}

/** Return the sentence that a screen reader hears now and then. */
export function sentence({ name, progress }) {
  const best = progress.best === null ? "" : `, best score ${score(progress.best)}`;
  return `${name}: ${PHASES[progress.phase] ?? progress.phase}, ${brief({ progress })}${best}.`;
}

/** Return what is shown of a search at work. */
export function progressPanel(search) {
  const { progress } = search;
  if (!progress) return h("p", { class: "muted" }, waiting(search));
  const way = wayOn(search);
  return h(
    "div",
    { class: "progress" },
    h("p", { class: "phase" }, h("strong", {}, PHASES[progress.phase] ?? progress.phase), h("span", { class: "muted" }, brief(search))),
    bar(search, `Budget used of ${budget(search.budget)}`),
    facts([
      ["Running now", count(progress.running)],
      ["Best score", score(progress.best)],
      ["Hypervolume", score(progress.hypervolume)],
      ["Time spent", duration(progress.seconds)],
      ["Time left, about", duration(progress.seconds_left)],
    ]),
    way ? h("p", { class: "muted" }, `Interrupted: ${way}.`) : null,
    progress.event ? h("p", { class: "event" }, progress.event) : null,
  );
}

function waiting(search) {
  if (search.state === "queued") return "Waiting for a controller that is free. One is started with `autopeft controller`, or by `autopeft serve`.";
  if (search.state === "interrupted") return `Interrupted: ${wayOn(search)}.`;
  return "Reading the model and the data …";
}

/** One trial: its drawing, its scores, and why it ended. */

import { get, searchPath } from "../api.js";
import { h, replace } from "../dom.js";
import { count, duration, measure, params, score, words } from "../format.js";
import { openDialog } from "./dialogs.js";
import { alertBox, badge, facts, loading } from "./notices.js";
import { table } from "./tables.js";
import { reason } from "./trials.js";

/** Open a trial of a search; `onExport` is told when it is to be exported. */
export async function openTrial(search, number, onExport = null) {
  const place = h("div", {}, loading("Loading"));
  const dialog = openDialog(`Trial ${number}`, place);
  try {
    const trial = await get(searchPath(search.id, `/trials/${number}`));
    const choose = () => {
      dialog.close();
      onExport(number);
    };
    const button = onExport && trial.score !== null ? h("p", { class: "actions" }, h("button", { type: "button", class: "primary", on: { click: choose } }, "Export this one")) : null;
    replace(place, content(search, trial), button);
  } catch (error) {
    replace(place, alertBox(error));
  }
}

function content(search, trial) {
  const why = reason(trial);
  return [
    h("p", { class: "lead" }, trial.name, " ", badge(trial.state)),
    why ? h("p", { class: trial.state === "failed" ? "alert" : "muted" }, why) : null,
    facts([
      ["Parameters", params(trial.params, search.base_parameters)],
      [`Score (${search.metric})`, score(trial.score)],
      ["Time", duration(trial.seconds)],
      ...Object.entries(trial.measures).map(([name, value]) => [words(name), measure(name, value)]),
      ["Fingerprint", h("code", {}, trial.fingerprint)],
      trial.source ? ["Trained by search", trial.source] : null,
    ]),
    h("h3", {}, "Layers by modules"),
    h("pre", { tabindex: "0", role: "region", "aria-label": "Drawing" }, trial.drawing || "No modules: the task head alone is trained."),
    training(trial),
    curve(trial),
  ];
}

function training({ architecture }) {
  const chosen = Object.entries(architecture.training ?? {});
  return chosen.length ? [h("h3", {}, "Trained with"), facts(chosen.map(([name, value]) => [words(name), String(value)]))] : null;
}

function curve({ curve: points, steps }) {
  if (!points.length) return null;
  const columns = [
    { title: "step", header: true, cell: ([step]) => `${count(step)} of ${count(steps)}` },
    { title: "held-out score", number: true, cell: ([, value]) => score(value) },
  ];
  return [h("h3", {}, "Scores while it trained"), table({ caption: "Scores while it trained", columns, rows: points, captionClass: "unseen" })];
}

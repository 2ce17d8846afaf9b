/** Two searches side by side: both fronts in one plot, and what differs. */

import { get, searchPath, withQuery } from "../api.js";
import { h, replace } from "../dom.js";
import { count, duration, params, score, scoreOf, words } from "../format.js";
import { depthOf, drawing } from "../parts/drawing.js";
import { badgeOf, empty, facts, section } from "../parts/notices.js";
import { Scatter } from "../parts/scatter.js";
import { table } from "../parts/tables.js";
import { openTrial } from "../parts/trial_dialog.js";

const MOST_OFFERED = 100;

/** Show two searches, or what there is to choose from. */
export async function render(context) {
  const { signal, main, query } = context;
  const chosen = ["a", "b"].map((side) => query.get(side) ?? "");
  const [newest, ...given] = await Promise.all([get(withQuery("/searches", { limit: MOST_OFFERED }), signal), ...chosen.filter(Boolean).map((id) => get(searchPath(id), signal))]);
  // A link may name searches that are older than those.
  const searches = [...new Map([...newest.searches, ...given].map((search) => [search.id, search])).values()];
  const place = h("div", {});
  replace(main, h("h1", {}, "Compare"), chooser(searches, chosen), place);
  if (searches.length < 2) return replace(place, empty("There are not two searches to compare yet."));
  if (!chosen.every(Boolean)) return replace(place, empty("Choose two searches."));
  const sides = await Promise.all(given.map(async (search) => ({ search, front: await get(searchPath(search.id, "/front"), signal) })));
  replace(place, warnings(sides), plot(sides, signal), results(sides), requests(sides));
  return undefined;
}

function chooser(searches, chosen) {
  const selects = ["a", "b"].map((side, index) => {
    const options = searches.map((search) => h("option", { value: search.id, selected: [search.id, search.name].includes(chosen[index]) }, `${search.name} (${search.state})`));
    return h("div", { class: "field" }, h("label", { for: `side-${side}` }, index ? "Second search" : "First search"), h("select", { id: `side-${side}` }, h("option", { value: "" }, "Choose …"), options));
  });
  const go = () => {
    const [a, b] = selects.map((field) => field.querySelector("select").value);
    location.hash = withQuery("#/compare", { a, b });
  };
  return h("div", { class: "filters wide" }, selects, h("button", { type: "button", class: "primary", on: { click: go } }, "Compare"));
}

function warnings([a, b]) {
  const doubts = [
    a.front.metric === b.front.metric ? null : `They maximise different metrics: ${a.front.metric} and ${b.front.metric}.`,
    a.search.task === b.search.task ? null : "They are of different tasks, so that their scores do not compare.",
    a.search.model === b.search.model ? null : "They are of different base models, so that equal parameters are different shares.",
    isConfirmed(a) === isConfirmed(b) ? null : "One front is confirmed over seeds and the other is not, so that their scores do not compare.",
  ].filter(Boolean);
  return doubts.length ? h("div", { class: "note" }, doubts.map((doubt) => h("p", {}, doubt))) : null;
}

const isConfirmed = ({ front }) => front.front.some((row) => row.confirmed);

function plot(sides, signal) {
  const names = { first: sides[0].search.name, second: sides[1].search.name };
  const rows = sides.map(({ search, front }) => front.front.map((row) => ({ ...row, search: search.id })));
  const details = h("div", { class: "details" }, h("p", { class: "muted" }, "Point at a mark, or go to it with the keyboard, and its architecture shows up here."));
  const look = (row) => {
    const { search, front } = sides.find((side) => side.search.id === row.search);
    replace(details, h("h3", {}, row.name), facts([["Search", search.name], ["Parameters", params(row.params, search.base_parameters)], ["Score", scoreOf(row)]]), drawing(row.architecture, depthOf(search, [...front.front, ...front.baselines])));
  };
  const open = (row) => openTrial(sides.find((side) => side.search.id === row.search).search, row.trial);
  const scatter = new Scatter({ label: "Plot of both fronts: trainable parameters against score", names, onLook: look, onOpen: open, signal });
  const series = [{ kind: "first", rows: rows[0] }, { kind: "second", rows: rows[1] }];
  scatter.set({ metric: sides[0].front.metric, series, lines: series });
  return section("Both fronts", h("div", { class: "split" }, scatter.element, details));
}

function results(sides) {
  const picked = ({ search, front }, name) => {
    const row = front.front.find((one) => one.trial === front.pick?.[name]);
    return row ? `${scoreOf(row)} with ${params(row.params, search.base_parameters)}` : "–";
  };
  const lines = [
    ["State", ({ search }) => badgeOf(search)],
    ["Best score", (side) => picked(side, "best")],
    ["Knee", (side) => picked(side, "knee")],
    ["Smallest", (side) => picked(side, "smallest")],
    ["Points on the front", ({ front }) => count(front.front.length)],
    ["Hypervolume", ({ front }) => score(front.hypervolume)],
    ["Hypervolume of the baselines", ({ front }) => score(front.baseline_hypervolume)],
    ["Trials complete", ({ search }) => count(search.trials.complete)],
    ["Trials stopped early", ({ search }) => count(search.trials.pruned)],
    ["Trials failed", ({ search }) => count(search.trials.failed)],
    ["Time spent", ({ search }) => duration(search.seconds)],
  ];
  return section("Results", sideBySide("Results", sides, lines.map(([name, cell]) => ({ name, cells: sides.map(cell) }))));
}

function requests(sides) {
  const [a, b] = sides.map(({ search }) => flatten(search.spec));
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((name) => name !== "name" && a[name] !== b[name]);
  const rows = names.map((name) => ({ name: words(name), cells: [a[name] ?? "–", b[name] ?? "–"] }));
  return section("What differs in the request", rows.length ? sideBySide("What differs in the request", sides, rows) : h("p", { class: "muted" }, "Nothing: both were asked for the same."));
}

function sideBySide(caption, sides, rows) {
  const columns = [
    { title: "What", header: true, cell: (row) => row.name },
    ...sides.map(({ search }, index) => ({ title: search.name, cell: (row) => row.cells[index] })),
  ];
  return table({ caption, columns, rows, captionClass: "unseen" });
}

/** A nested document as names with dots and texts. */
function flatten(document, prefix = "") {
  return Object.entries(document).reduce((flat, [name, value]) => {
    const nested = value !== null && typeof value === "object" && !Array.isArray(value);
    return { ...flat, ...(nested ? flatten(value, `${prefix}${name}.`) : { [prefix + name]: value === null ? "–" : String(value) }) };
  }, {});
}

/** The front of a search: the plot, the architecture that is looked at, and the same as a table. */

import { h, refill } from "../dom.js";
import { count, measure, params, percent, scoreOf, words } from "../format.js";
import { depthOf, drawing } from "./drawing.js";
import { facts } from "./notices.js";
import { Scatter } from "./scatter.js";
import { table } from "./tables.js";

const PICKS = ["best", "knee", "smallest"];

/** The panel; `onOpen` and `onExport` are told the number of a trial. */
export class FrontPanel {
  constructor({ search, signal, onOpen, onExport }) {
    Object.assign(this, { search, onOpen, onExport, front: null, others: [] });
    this.scatter = new Scatter({
      label: "Plot of the front: trainable parameters against score",
      onLook: (row) => this.look(row),
      onOpen: (row) => onOpen(row.trial),
      signal,
    });
    this.details = h("div", { class: "details" });
    this.note = h("p", { class: "muted small" });
    this.rows = h("div", {});
    this.element = h("div", {}, h("div", { class: "split" }, h("div", {}, this.scatter.element, this.note), this.details));
  }

  /** Show a front, and other trials with a score, of which there are `more` that are not drawn. */
  set(front, others, more = 0) {
    Object.assign(this, { front, others });
    const numbers = new Set([...front.front, ...front.baselines].map((row) => row.trial));
    const baselines = new Set(front.baselines.map((row) => row.trial));
    const onFront = new Set(front.front.map((row) => row.trial));
    this.depth = depthOf(this.search, this.everyRow());
    this.scatter.set({
      metric: front.metric,
      series: [
        { kind: "front", rows: front.front.filter((row) => !baselines.has(row.trial)) },
        { kind: "frontBaseline", rows: front.front.filter((row) => baselines.has(row.trial)) },
        { kind: "baseline", rows: front.baselines.filter((row) => !onFront.has(row.trial)) },
        { kind: "other", rows: others.filter((row) => !numbers.has(row.trial)) },
      ],
      lines: [{ kind: "front", rows: front.front }],
    });
    this.note.textContent = this.sayKind(front, more);
    refill(this.rows, this.table());
    this.look(this.current() ?? this.picked());
  }

  sayKind(front, more) {
    const confirmed = front.front.some((row) => row.confirmed);
    const kind = confirmed ? "Front and baselines: means over seeds on rows that the search never scored; bars are one standard deviation. Other trials: scores of short proxy runs." : "Scores of short proxy runs on held-out rows; the front is confirmed over seeds at the end.";
    return more ? `${kind} ${count(more)} trials with lower scores are not drawn.` : kind;
  }

  current() {
    return this.everyRow().find((row) => row.trial === this.scatter.looked?.trial);
  }

  picked() {
    const number = this.front.pick?.knee ?? this.front.pick?.best;
    return this.everyRow().find((row) => row.trial === number) ?? this.front.front[0] ?? null;
  }

  everyRow() {
    return [...this.front.front, ...this.front.baselines, ...this.others];
  }

  look(row) {
    this.scatter.look(row);
    refill(this.details, row ? this.describe(row) : h("p", { class: "muted" }, "The first trial with a score shows up here."));
  }

  describe(row) {
    const base = this.front.base_parameters ?? this.search.base_parameters;
    const buttons = h(
      "p",
      { class: "actions" },
      h("button", { type: "button", "data-about": row.trial, on: { click: () => this.onOpen(row.trial) } }, "All about it"),
      h("button", { type: "button", "data-export": row.trial, on: { click: () => this.onExport(row.trial) } }, "Export"),
    );
    return [
      h("h3", {}, row.name),
      facts([
        ["Trial", `${count(row.trial)}${this.picksOf(row)}`],
        ["Parameters", params(row.params, base)],
        [row.confirmed ? `Score over ${count(row.seeds)} seeds` : "Proxy score", scoreOf(row)],
        ...Object.entries(row.measures ?? {}).map(([name, value]) => [words(name), measure(name, value)]),
      ]),
      drawing(row.architecture, this.depth),
      buttons,
    ];
  }

  picksOf(row) {
    const names = PICKS.filter((name) => this.front.pick?.[name] === row.trial);
    return names.length ? ` · ${names.join(", ")}` : "";
  }

  table() {
    const onFront = new Set(this.front.front.map((row) => row.trial));
    const rows = [...this.front.front, ...this.front.baselines.filter((row) => !onFront.has(row.trial))];
    const further = Object.keys(rows[0]?.measures ?? {});
    const columns = [
      { title: "Architecture", header: true, wide: true, cell: (row) => h("button", { type: "button", class: "link", "data-row": row.trial, on: { click: () => this.onOpen(row.trial) } }, row.name) },
      { title: "Kind", cell: (row) => this.kind(row, onFront) },
      { title: "Parameters", number: true, cell: (row) => count(row.params) },
      { title: "of the model", number: true, cell: (row) => percent(row.params_percent) },
      { title: this.front.metric, number: true, cell: (row) => scoreOf(row) },
      { title: "Seeds", number: true, cell: (row) => (row.confirmed ? count(row.seeds) : "proxy") },
      ...further.map((name) => ({ title: words(name), number: true, cell: (row) => measure(name, row.measures?.[name]) })),
      { title: "Take away", cell: (row) => h("button", { type: "button", "aria-label": `Export trial ${row.trial}`, on: { click: () => this.onExport(row.trial) } }, "Export") },
    ];
    return table({ caption: "Front by parameters, then the other baselines", columns, rows, captionClass: "unseen" });
  }

  kind(row, onFront) {
    const baseline = this.front.baselines.some((one) => one.trial === row.trial);
    const place = onFront.has(row.trial) ? "front" : "below the front";
    return (baseline ? `${place}, baseline` : place) + this.picksOf(row);
  }
}

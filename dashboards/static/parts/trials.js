/** A search's trials: sorted, filtered and paged by the service. */

import { get, newest, searchPath, withQuery } from "../api.js";
import { h, refill } from "../dom.js";
import { count, duration, percent, plural, score } from "../format.js";
import { alertBox, badge } from "./notices.js";
import { table } from "./tables.js";

const PAGE = 25;
const STATES = ["", "complete", "running", "pruned", "failed"];

/** The table; `onOpen` is told the number of the trial to look into. */
export class Trials {
  constructor({ search, onOpen, signal }) {
    Object.assign(this, { search, onOpen, asking: newest(signal), order: ["number", "asc"], state: "", cursors: [null], next: null });
    this.place = h("div", {});
    this.status = h("span", { class: "muted", role: "status" });
    const filter = h("select", { id: "trial-state", on: { change: (event) => this.restart({ state: event.target.value }) } }, STATES.map((state) => h("option", { value: state }, state || "all")));
    this.back = h("button", { type: "button", disabled: true, on: { click: () => this.turn(-1) } }, "Previous");
    this.forth = h("button", { type: "button", disabled: true, on: { click: () => this.turn(1) } }, "Next");
    this.element = h(
      "div",
      {},
      h("div", { class: "filters" }, h("label", { for: "trial-state" }, "State"), filter, this.status),
      this.place,
      h("div", { class: "pager", role: "group", "aria-label": "Pages of trials" }, this.back, this.forth),
    );
  }

  restart(change) {
    Object.assign(this, change, { cursors: [null] });
    return this.load();
  }

  turn(direction) {
    if (direction > 0) this.cursors.push(this.next);
    else this.cursors.pop();
    return this.load();
  }

  async load() {
    const [sort, order] = this.order;
    const query = { limit: PAGE, cursor: this.cursors.at(-1), sort, order, state: this.state };
    try {
      this.show(await get(withQuery(searchPath(this.search.id, "/trials"), query), this.asking()));
    } catch (error) {
      if (error.name !== "AbortError") refill(this.place, alertBox(error));
    }
  }

  show({ trials, next, total }) {
    this.next = next;
    this.back.disabled = this.cursors.length < 2;
    this.forth.disabled = !next;
    const from = (this.cursors.length - 1) * PAGE;
    this.status.textContent = trials.length ? `${count(from + 1)}–${count(from + trials.length)} of ${plural(total, "trial")}` : "No trials.";
    refill(this.place, table({ caption: "Trials", columns: this.columns(), rows: trials, order: this.order, onSort: (...order) => this.restart({ order }), captionClass: "unseen" }));
  }

  columns() {
    const { base_parameters: base } = this.search;
    return [
      { title: "Trial", sort: "number", number: true, cell: (trial) => count(trial.trial) },
      { title: "Architecture", header: true, wide: true, cell: (trial) => h("button", { type: "button", class: "link", "data-open": trial.trial, on: { click: () => this.onOpen(trial.trial) } }, trial.name) },
      { title: "State", cell: (trial) => badge(trial.state) },
      { title: "Parameters", sort: "params", number: true, cell: (trial) => count(trial.params) },
      { title: "of the model", number: true, cell: (trial) => percent((100 * trial.params) / base) },
      { title: "Score", sort: "score", number: true, cell: (trial) => score(trial.score) },
      { title: "Time", sort: "seconds", number: true, cell: (trial) => duration(trial.seconds) },
      { title: "Reason", wide: true, cell: (trial) => reason(trial) },
    ];
  }
}

/** Why a trial has no score; empty where it has one. */
export const reason = (trial) => [trial.reason && trial.reason.replaceAll("_", " "), trial.detail].filter(Boolean).join(": ");

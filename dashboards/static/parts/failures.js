/** The trials that failed, and why. */

import { get, newest, searchPath, withQuery } from "../api.js";
import { h, refill } from "../dom.js";
import { count, plural } from "../format.js";
import { alertBox, section } from "./notices.js";
import { table } from "./tables.js";

const MOST = 50;
const REASONS = {
  diverged: "its loss was not finite",
  out_of_memory: "it did not fit into memory, even in small batches",
  worker_lost: "its worker was lost",
  controller_lost: "its controller was lost too often",
  timeout: "it took longer than a trial may",
  stopped: "the search ended before it did",
  over_cap: "it came out above a cap",
  error: "it ended in an error",
};

/** The panel; it is not there while nothing has failed. */
export class Failures {
  constructor({ search, onOpen, signal }) {
    Object.assign(this, { search, onOpen, asking: newest(signal), element: h("div", {}) });
  }

  async load() {
    try {
      this.show(await get(withQuery(searchPath(this.search.id, "/trials"), { state: "failed", limit: MOST }), this.asking()));
    } catch (error) {
      if (error.name !== "AbortError") refill(this.element, alertBox(error));
    }
  }

  show({ trials, total }) {
    refill(this.element, trials.length ? section("Failures", h("p", { class: "muted" }, this.sum(trials, total)), this.table(trials)) : null);
  }

  sum(trials, total) {
    const tally = new Map();
    for (const { reason } of trials) tally.set(reason, (tally.get(reason) ?? 0) + 1);
    const parts = [...tally].map(([reason, number]) => `${count(number)} because ${REASONS[reason] ?? String(reason).replaceAll("_", " ")}`);
    return `${plural(total, "trial")} without a score${total > trials.length ? `; of the first ${count(trials.length)}` : ""}: ${parts.join(", ")}.`;
  }

  table(trials) {
    const columns = [
      { title: "Trial", number: true, cell: (trial) => count(trial.trial) },
      { title: "Architecture", header: true, wide: true, cell: (trial) => h("button", { type: "button", class: "link", "data-failed": trial.trial, on: { click: () => this.onOpen(trial.trial) } }, trial.name) },
      { title: "Reason", cell: (trial) => String(trial.reason ?? "").replaceAll("_", " ") },
      { title: "Detail", wide: true, cell: (trial) => trial.detail },
    ];
    return table({ caption: "Failed trials", columns, rows: trials, captionClass: "unseen" });
  }
}

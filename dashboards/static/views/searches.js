/** All searches, newest first, with how far each is. */

import { get, newest, withQuery } from "../api.js";
import { h, refill, replace } from "../dom.js";
import { budget, count, when } from "../format.js";
import { badgeOf, empty } from "../parts/notices.js";
import { bar, brief } from "../parts/progress.js";
import { table } from "../parts/tables.js";

const REFRESH_MILLISECONDS = 3000;
const PAGE = 50;
const STATES = ["", "queued", "running", "interrupted", "done", "failed", "cancelled"];

/** Show the list and keep it up to date. */
export async function render(context) {
  const view = new Searches(context);
  await view.load();
  view.lay();
  view.refresh();
}

class Searches {
  constructor(context) {
    Object.assign(this, { context, state: context.query.get("state") ?? "", searches: [], next: null, limit: PAGE, marked: new Set(), asking: newest(context.signal) });
    this.list = h("div", {});
    this.note = h("p", { class: "muted small", role: "status" });
  }

  async load() {
    const found = await get(withQuery("/searches", { limit: PAGE, state: this.state }), this.asking());
    let { searches, next } = found;
    while (next && searches.length < this.limit) {
      const page = await get(withQuery("/searches", { limit: PAGE, state: this.state, cursor: next }), this.asking());
      searches = searches.concat(page.searches);
      next = page.next;
    }
    Object.assign(this, { searches, next });
  }

  lay() {
    const submit = this.context.may("submit") ? h("a", { href: "#/new", class: "button primary" }, "New search") : null;
    const filter = h("select", { id: "state-filter", on: { change: (event) => this.filter(event.target.value) } }, STATES.map((state) => h("option", { value: state, selected: state === this.state }, state || "all states")));
    this.compare = h("button", { type: "button", disabled: true, on: { click: () => this.goCompare() } }, "Compare two");
    replace(
      this.context.main,
      h("div", { class: "title-row" }, h("h1", {}, "Searches"), h("div", { class: "actions" }, this.compare, submit)),
      h("div", { class: "filters" }, h("label", { for: "state-filter" }, "State"), filter, this.note),
      this.list,
    );
    this.show();
  }

  show() {
    const more = this.next ? h("p", {}, h("button", { type: "button", id: "more-searches", on: { click: () => this.more() } }, "Show more")) : null;
    refill(this.list, this.searches.length ? this.table() : this.nothing(), more);
    this.compare.disabled = this.marked.size !== 2;
  }

  nothing() {
    if (this.state) return empty(`No search is ${this.state}.`);
    return empty(
      "No searches yet",
      h("p", { class: "muted" }, "A search takes a base model, a task and a budget, and finds which PEFT configurations are worth training."),
      this.context.may("submit") ? h("p", {}, h("a", { href: "#/new", class: "button primary" }, "Start the first one")) : null,
    );
  }

  table() {
    const columns = [
      { title: "Compare", cell: (search) => this.mark(search) },
      { title: "Name", header: true, cell: (search) => h("a", { id: `link-${search.id}`, href: `#/searches/${encodeURIComponent(search.id)}` }, search.name) },
      { title: "State", cell: badgeOf },
      { title: "Progress", cell: (search) => h("div", { class: "bar-cell" }, bar(search, `Progress of ${search.name}`), h("span", { class: "small muted" }, brief(search))) },
      { title: "Budget", cell: (search) => budget(search.budget) },
      { title: "Failed", number: true, cell: (search) => count(search.trials.failed) },
      { title: "Model", cell: (search) => search.model },
      { title: "Task", cell: (search) => search.task },
      { title: "Space", cell: (search) => search.space },
      { title: "Created", cell: (search) => when(search.created) },
    ];
    return table({ caption: "Searches, newest first", columns, rows: this.searches, captionClass: "unseen" });
  }

  mark(search) {
    const change = (event) => {
      if (event.target.checked) this.marked.add(search.id);
      else this.marked.delete(search.id);
      this.compare.disabled = this.marked.size !== 2;
    };
    return h("input", { type: "checkbox", id: `mark-${search.id}`, "aria-label": `Compare ${search.name}`, checked: this.marked.has(search.id), on: { change } });
  }

  goCompare() {
    const [a, b] = this.marked;
    location.hash = withQuery("#/compare", { a, b });
  }

  filter(state) {
    this.state = state;
    this.again();
  }

  more() {
    this.limit += PAGE;
    this.again();
  }

  async again() {
    try {
      await this.load();
      this.note.textContent = "";
      this.show();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.note.textContent = `${error.message} What is shown may be old.`;
    }
  }

  refresh() {
    const { signal } = this.context;
    const timer = setInterval(() => document.hidden || this.again(), REFRESH_MILLISECONDS);
    signal.addEventListener("abort", () => clearInterval(timer));
  }
}

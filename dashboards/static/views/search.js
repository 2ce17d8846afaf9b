/** One search: how far it is, its front, its trials, and what can be done with it. */

import { get, post, searchPath, withQuery } from "../api.js";
import { h, replace } from "../dom.js";
import { budget, count, params, plural, score, when, words } from "../format.js";
import { atMostEvery, follow } from "../live.js";
import { ask } from "../parts/dialogs.js";
import { Exports } from "../parts/exports.js";
import { Failures } from "../parts/failures.js";
import { FrontPanel } from "../parts/front.js";
import { LinePlot } from "../parts/lines.js";
import { FINAL, badgeOf, facts, section } from "../parts/notices.js";
import { progressPanel, sentence } from "../parts/progress.js";
import { openTrial } from "../parts/trial_dialog.js";
import { Trials } from "../parts/trials.js";

const SHOW_MILLISECONDS = 300;
const REFRESH_MILLISECONDS = 2500;
const ANNOUNCE_MILLISECONDS = 15_000;
// In case the events do not come through, as where a proxy holds them back.
const LOOK_MILLISECONDS = 10_000;
// Trials beside the front that are drawn; those with the best scores.
const MOST_DRAWN = 400;
const PAGE = 100;

/** Show a search and keep it up to date. */
export async function render(context) {
  const search = await get(searchPath(context.id), context.signal);
  const view = new SearchView(context, search);
  view.lay();
  await view.load();
  view.follow();
}

class SearchView {
  constructor(context, search) {
    const { signal, announce } = context;
    Object.assign(this, { context, search, signal, hasFront: false });
    this.path = (rest) => searchPath(search.id, rest);
    const open = (number) => openTrial(this.search, number, (one) => this.exportTrial(one));
    this.head = h("div", {});
    this.trouble = h("div", {});
    this.lost = h("p", { class: "alert", role: "alert" });
    this.status = h("div", {});
    this.tiles = h("div", {});
    this.front = new FrontPanel({ search, signal, onOpen: open, onExport: (number) => this.exportTrial(number) });
    this.hypervolume = new LinePlot({ title: "hypervolume", text: score, signal });
    this.runs = new LinePlot({ title: "runs finished", text: count, signal });
    this.failures = new Failures({ search, onOpen: open, signal });
    this.trials = new Trials({ search, onOpen: open, signal });
    this.exports = new Exports({ search, signal, announce });
    this.say = atMostEvery(ANNOUNCE_MILLISECONDS, () => this.isOver() || announce(sentence(this.search)), signal);
    this.showSoon = atMostEvery(SHOW_MILLISECONDS, () => this.showState(), signal);
    this.reload = atMostEvery(REFRESH_MILLISECONDS, () => this.again(), signal);
  }

  isOver() {
    return FINAL.includes(this.search.state);
  }

  lay() {
    document.title = `${this.search.name} · AutoPEFT`;
    this.exportSection = section("Export", this.exports.element);
    replace(
      this.context.main,
      this.head,
      this.trouble,
      this.status,
      this.tiles,
      section("Front", this.front.element),
      section("Front and baselines as a table", this.front.rows),
      this.exportSection,
      section("The search over time", h("div", { class: "pair" }, this.hypervolume.element, this.runs.element)),
      this.failures.element,
      section("Trials", this.trials.element),
      this.request(),
    );
    this.showState();
  }

  // -- what is shown ------------------------------------------------------------------------------------------------

  showState() {
    const { search } = this;
    const line = [search.model, search.task, `space ${search.space}`, search.sampler, budget(search.budget)].join(" · ");
    if (!this.head.firstChild) replace(this.head, h("p", { class: "crumbs" }, h("a", { href: "#/searches" }, "Searches"), " / ", search.id), h("div", { class: "title-row" }, h("h1", {}, search.name), (this.actions = h("div", { class: "actions" }))), (this.line = h("p", { class: "lead" })));
    replace(this.line, badgeOf(search), " ", h("span", { class: "muted" }, line));
    this.showActions();
    replace(this.status, search.detail ? h("p", { class: search.state === "failed" ? "alert" : "note", role: search.state === "failed" ? "alert" : null }, search.detail) : null, this.isOver() ? null : h("section", { class: "card", "aria-label": "Progress" }, progressPanel(search)));
  }

  /** Rebuilt only where another button is due, so that the keyboard does not lose the one it is on. */
  showActions() {
    const { search } = this;
    const due = `${search.state} ${Object.values(search.trials).some(Boolean)}`;
    if (this.shownActions === due) return;
    this.shownActions = due;
    const may = this.mayChange();
    const cancel = may && !FINAL.includes(search.state) ? h("button", { type: "button", class: "danger", on: { click: () => this.askCancel() } }, "Cancel") : null;
    const resume = may && [...FINAL, "interrupted"].includes(search.state) ? h("button", { type: "button", on: { click: () => this.askResume() } }, "Resume") : null;
    replace(this.actions, cancel, resume, h("a", { class: "button", href: `#/compare?a=${encodeURIComponent(search.id)}` }, "Compare"), Object.values(search.trials).some(Boolean) ? h("a", { class: "button", href: search.links.dashboard }, "Optuna dashboard") : null);
  }

  /** What somebody else has submitted takes an admin. */
  mayChange() {
    const { may, me } = this.context;
    return may("admin") || (may("submit") && this.search.submitter === me.owner);
  }

  showTiles() {
    const { data, search } = this;
    const { complete = 0, pruned = 0, failed = 0, running = 0 } = search.trials;
    const row = (name) => data.front.find((one) => one.trial === data.pick?.[name]);
    const [best, knee] = [row("best"), row("knee")];
    const gain = data.baseline_hypervolume ? `${(data.hypervolume / data.baseline_hypervolume).toFixed(2)} × the baselines` : "no baselines";
    const tiles = [
      [`Best ${data.metric}`, best ? score(best.score) : "–", best ? params(best.params, search.base_parameters) : "no score yet"],
      ["At the knee", knee ? score(knee.score) : "–", knee ? params(knee.params, search.base_parameters) : "no score yet"],
      ["Hypervolume", data.front.length ? score(data.hypervolume) : "–", data.front.length ? gain : "no front yet"],
      ["Trials", count(complete + pruned + failed + running), [`${count(complete)} complete`, pruned && `${count(pruned)} stopped early`, failed && `${count(failed)} failed`].filter(Boolean).join(", ")],
    ];
    replace(this.tiles, h("dl", { class: "tiles" }, tiles.map(([name, value, more]) => h("div", {}, h("dt", {}, name), h("dd", {}, h("strong", {}, value), h("span", { class: "muted small" }, more))))));
  }

  request() {
    const { search } = this;
    const { spec } = search;
    const more = [
      ["Created", when(search.created)],
      ["Submitted by", search.submitter],
      ["Model", `${search.model}, ${count(search.base_parameters)} parameters`],
      ["Most parameters", search.max_params ? String(search.max_params) : "no cap"],
      ["Objectives", search.objectives.map(words).join(", ")],
      Object.keys(search.caps).length ? ["Caps", Object.entries(search.caps).map(([name, value]) => `${words(name)} ${value}`).join(", ")] : null,
      ["Sampler and policy", [spec.sampler, spec.policy ?? "default policy"].join(", ")],
      ["Confirmation", spec.confirm ? `over ${plural(spec.confirm, "seed")}` : "none"],
      ["Executor", `${spec.executor}, ${plural(spec.workers, "worker")}, seed ${spec.seed}`],
    ].filter((pair) => pair && pair[1]);
    return section("What was asked", facts(more), h("details", {}, h("summary", {}, "The whole request"), h("pre", { tabindex: "0", role: "region", "aria-label": "The whole request" }, JSON.stringify(spec, null, 2))));
  }

  // -- where it comes from ------------------------------------------------------------------------------------------

  async load() {
    const [front, others, history] = await Promise.all([get(this.path("/front"), this.signal), this.others(), get(this.path("/history"), this.signal), this.trials.load(), this.failures.load()]);
    this.data = front;
    this.front.set(front, others.rows, others.more);
    this.showTiles();
    // Confirmed scores are of other rows, and their front begins anew with the first of them.
    const searched = history.points.filter(({ phase }) => phase === "search");
    this.hypervolume.set(searched.map(({ at, hypervolume }) => ({ at, value: hypervolume })));
    const trials = /^\d+$/.test(this.search.budget) ? Number(this.search.budget) : null;
    this.runs.set(searched.map(({ at, done }) => ({ at, value: done })), trials);
    // What is exported changes while the search does; a choice that is being made is left alone.
    if (front.front.length && !this.exports.element.contains(document.activeElement)) await this.exports.load();
    if (!front.front.length) replace(this.exports.place, h("p", { class: "muted" }, "There is something to export as soon as a trial has a score."));
  }

  async others() {
    const rows = [];
    let [cursor, total] = [null, 0];
    do {
      const page = await get(withQuery(this.path("/trials"), { limit: PAGE, cursor, state: "complete", sort: "score", order: "desc" }), this.signal);
      rows.push(...page.trials);
      [cursor, total] = [page.next, page.total];
    } while (cursor && rows.length < MOST_DRAWN);
    return { rows, more: total - rows.length };
  }

  follow() {
    if (this.isOver()) return;
    const following = new AbortController();
    this.signal.addEventListener("abort", () => following.abort());
    this.following = following;
    follow(this.search.id, (kind, body) => this.hear(kind, body), following.signal);
    const timer = setInterval(() => document.hidden || this.reload(), LOOK_MILLISECONDS);
    following.signal.addEventListener("abort", () => clearInterval(timer));
  }

  hear(kind, body) {
    // A stream begins with what was long ago.
    if (kind === "progress" && body.seconds >= (this.search.progress?.seconds ?? 0)) {
      this.search = { ...this.search, progress: body };
      this.showSoon();
      this.say();
    }
    this.reload();
  }

  async again() {
    const { following } = this;
    try {
      this.search = await get(this.path(""), this.signal);
      this.showState();
      await this.load();
      replace(this.trouble);
    } catch (error) {
      if (!this.signal.aborted) this.lose(error);
      return;
    }
    // A search that was resumed meanwhile is followed anew, whatever this answer says of it.
    if (!this.isOver() || following.signal.aborted) return;
    following.abort();
    this.context.announce(`${this.search.name} is ${this.search.state}.`);
  }

  /** Said once for as long as it lasts: an alert that is put there again is read out again. */
  lose(error) {
    if (error.status === 404) return void this.context.fail(error);
    const text = `${error.message} What is shown may be old; this page tries again.`;
    if (this.lost.textContent !== text) this.lost.textContent = text;
    if (!this.lost.isConnected) this.trouble.append(this.lost);
    setTimeout(() => this.reload(), 2 * REFRESH_MILLISECONDS);
  }

  // -- what can be done ---------------------------------------------------------------------------------------------

  exportTrial(number) {
    this.exports.choose(number);
    this.exportSection.scrollIntoView({ block: "start" });
    this.exports.choice.focus();
  }

  askCancel() {
    const body = h("p", {}, "What is finished stays, and the search can be resumed.");
    ask({ title: `Cancel ${this.search.name}?`, body, confirm: "Cancel the search", danger: true, act: () => this.act("/cancel") });
  }

  askResume() {
    const { search } = this;
    const finished = search.state === "done";
    const field = h("input", { id: "more", name: "budget", value: finished ? "+20" : "", autocomplete: "off", "aria-describedby": "more-help" });
    const help = `It had ${budget(search.budget)}. +20 adds twenty trials, +30m half an hour, 80 sets a new total; empty leaves it.`;
    const body = h("div", {}, h("label", { for: "more" }, "More budget"), field, h("p", { class: "help", id: "more-help" }, help));
    ask({ title: `Resume ${search.name}?`, body, confirm: "Resume", act: ({ budget: more }) => this.act("/resume", { budget: more.trim() || null }) });
  }

  async act(rest, body = {}) {
    this.search = await post(this.path(rest), body);
    this.context.announce(`${this.search.name} is ${this.search.state}.`);
    if (this.signal.aborted) return;
    this.showState();
    this.following?.abort();
    this.follow();
    this.reload();
  }
}

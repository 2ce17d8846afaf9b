/** Taking a winner away: every format, with what it cannot hold. */

import { download, get, newest, searchPath, withQuery } from "../api.js";
import { h, replace } from "../dom.js";
import { plural } from "../format.js";
import { ask } from "./dialogs.js";
import { alertBox } from "./notices.js";

const PICKS = { best: "best score", knee: "knee: where more parameters stop paying", smallest: "fewest parameters" };

/** The formats for one pick of a search. */
export class Exports {
  constructor({ search, signal, announce }) {
    Object.assign(this, { search, announce, asking: newest(signal), pick: "best", trial: null });
    this.place = h("div", {});
    this.choice = h("select", { id: "pick", on: { change: () => this.choose(this.choice.value) } });
    this.element = h("div", {}, h("div", { class: "filters" }, h("label", { for: "pick" }, "Which"), this.choice), this.place);
  }

  /** Take a pick, or the number of a trial. */
  choose(pick) {
    if (!(pick in PICKS)) this.trial = String(pick);
    this.pick = String(pick);
    return this.load();
  }

  async load() {
    const options = { ...PICKS, ...(this.trial === null ? {} : { [this.trial]: `trial ${this.trial}` }) };
    replace(this.choice, Object.entries(options).map(([value, text]) => h("option", { value, selected: value === this.pick }, text)));
    this.choice.value = this.pick;
    try {
      this.show(await get(withQuery(searchPath(this.search.id, "/exports"), { pick: this.pick }), this.asking()));
    } catch (error) {
      if (error.name !== "AbortError") replace(this.place, error.status === 404 || error.status === 422 ? h("p", { class: "muted" }, error.message) : alertBox(error));
    }
  }

  show({ pick, formats }) {
    const fitting = [...formats].sort((a, b) => Number(b.lossless) - Number(a.lossless) || Number(b.writable) - Number(a.writable));
    const rows = fitting.map((format) => h("li", { class: "format" }, this.describe(format), this.button(format)));
    replace(this.place, h("p", { class: "muted" }, `Exports of trial ${typeof pick === "object" ? pick.trial : pick}.`), h("ul", { class: "formats" }, rows));
  }

  describe({ name, summary, losses, lossless, writable }) {
    const [sign, said] = writable ? ["⚠ ", `loses or changes ${plural(losses.length, "thing")}`] : ["✕ ", "cannot hold this one"];
    const held = lossless
      ? h("p", { class: "small kept" }, h("span", { "aria-hidden": "true" }, "✓ "), "holds everything")
      : h("details", { class: writable ? "small losses" : "small losses none" }, h("summary", {}, h("span", { "aria-hidden": "true" }, sign), said), h("ul", {}, losses.map((loss) => h("li", {}, loss))));
    return h("div", {}, h("strong", {}, name), h("p", { class: "muted" }, summary), held);
  }

  button(format) {
    if (!format.writable) return null;
    const click = () => (format.lossless ? this.fetch(format) : this.confirm(format));
    return h("button", { type: "button", "data-format": format.name, "aria-label": `Download as ${format.name}`, on: { click } }, "Download");
  }

  confirm(format) {
    const body = h("div", {}, h("p", {}, `The format ${format.name} cannot hold all of this architecture:`), h("ul", {}, format.losses.map((loss) => h("li", {}, loss))));
    ask({ title: "Download with losses?", body, confirm: "Download anyway", danger: true, act: () => this.save(format, true) });
  }

  async fetch(format) {
    try {
      await this.save(format, false);
    } catch (error) {
      this.place.prepend(alertBox(error));
    }
  }

  async save(format, lossy) {
    const query = { format: format.name, pick: this.pick, allow_lossy: lossy || null };
    const { name, content } = await download(withQuery(searchPath(this.search.id, "/recipe"), query));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    this.announce(`Downloaded ${name}.`);
  }
}

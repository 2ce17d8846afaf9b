/** The form for a new search: checked by the service while it is filled in. */

import { get, newest, post, upload } from "../api.js";
import { h, replace } from "../dom.js";
import { count, params, plural, shortCount, size } from "../format.js";
import { makeField } from "../parts/fields.js";
import { alertBox, facts } from "../parts/notices.js";
import { at, body, fieldOf, groups } from "../parts/request.js";

const CHECK_AFTER_MILLISECONDS = 450;
const FILES = ".csv,.tsv,.jsonl,.parquet";

/** Show the form. */
export async function render(context) {
  const [options, uploads] = await Promise.all([get("/options", context.signal), get("/uploads", context.signal).catch(() => ({ uploads: [] }))]);
  new NewSearch(context, options, uploads.uploads).lay();
}

class NewSearch {
  constructor(context, options, uploads) {
    Object.assign(this, { context, options, uploads, asking: newest(context.signal), fields: new Map(), sent: { text: "", key: "" } });
    this.state = h("div", { role: "status" });
    this.general = h("div", {});
    this.plan = h("div", {});
    this.go = h("button", { type: "submit", class: "primary", disabled: !context.may("submit") }, "Start the search");
  }

  lay() {
    const form = h("form", { novalidate: true, "aria-label": "New search" }, groups(this.options).map((group) => this.group(group)), this.general, h("p", { class: "actions" }, this.go, h("a", { href: "#/searches" }, "Back")));
    form.addEventListener("input", () => this.checkSoon());
    form.addEventListener("change", () => this.checkSoon());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    const side = h("aside", { class: "card plan", "aria-label": "What will happen" }, h("h2", {}, "What will happen"), this.state, this.plan);
    replace(this.context.main, h("h1", {}, "New search"), this.context.may("submit") ? null : h("p", { class: "note" }, "The token that you signed in with may not submit searches."), h("div", { class: "form-split" }, form, side));
    this.check();
  }

  group({ title, fields, folded }) {
    const made = fields.map((description) => this.field(description));
    const inner = h("div", { class: "fields" }, made);
    if (folded) return h("details", { class: "card" }, h("summary", {}, h("h2", {}, title)), inner);
    return h("section", { class: "card" }, h("h2", {}, title), inner);
  }

  field(description) {
    const field = makeField(description, this.initial(description));
    this.fields.set(description.key, field);
    if (description.kind === "task") field.element.append(this.uploader(field));
    return field.element;
  }

  /** A field of one value can be filled in by the address, as `#/new?space=lora`. */
  initial({ key, kind }) {
    const asked = ["words", "check", "choices"].includes(kind) ? null : this.context.query.get(key);
    return asked ?? at(this.options.defaults, key);
  }

  // -- files of one's own -------------------------------------------------------------------------------------------

  uploader(field) {
    const list = field.element.querySelector("datalist");
    for (const file of this.uploads) list.append(h("option", { value: file.task }, `${file.name}, ${size(file.size)}`));
    const status = h("p", { class: "help", role: "status" });
    const input = h("input", { type: "file", id: "upload", accept: FILES });
    input.addEventListener("change", () => this.upload(input, status, field));
    return h("div", { class: "uploader" }, h("label", { for: "upload", class: "minor" }, `Or upload a table (${FILES.replaceAll(",", " ")}, up to ${size(this.options.upload_limit)})`), input, status);
  }

  async upload(input, status, field) {
    const [file] = input.files;
    if (!file) return;
    status.className = "help";
    if (file.size > this.options.upload_limit) {
      this.refuse(status, `${file.name} has ${size(file.size)}, and the service takes up to ${size(this.options.upload_limit)}.`);
      return;
    }
    status.textContent = `Sending ${file.name} …`;
    try {
      const stored = await upload(file);
      field.set(stored.task);
      status.textContent = `${stored.name}, ${size(stored.size)}, is here as ${stored.task}.`;
      this.check();
    } catch (error) {
      this.refuse(status, [error.message, ...(error.errors ?? []).map((one) => one.remedy)].join(" "));
    }
  }

  refuse(status, text) {
    status.className = "wrong";
    status.textContent = text;
  }

  // -- checking -----------------------------------------------------------------------------------------------------

  read() {
    return body(Object.fromEntries([...this.fields].map(([key, field]) => [key, field.read()])), this.options.defaults);
  }

  checkSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.check(), CHECK_AFTER_MILLISECONDS);
  }

  async check() {
    clearTimeout(this.timer);
    this.state.textContent = "Checking …";
    try {
      const { errors, plan } = await post("/checks", this.read(), { signal: this.asking() });
      this.showProblems(errors);
      this.showPlan(plan);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.errors?.length) this.showProblems(error.errors);
      else this.state.textContent = `It could not be checked: ${error.message}`;
    }
  }

  showProblems(problems) {
    const keys = [...this.fields.keys()];
    const byField = new Map(keys.map((key) => [key, []]));
    const rest = [];
    for (const problem of problems) {
      const key = fieldOf(problem, keys);
      if (key) byField.get(key).push(problem.remedy);
      else rest.push(problem);
    }
    for (const [key, texts] of byField) this.mark(this.fields.get(key), texts);
    replace(this.general, rest.length ? alertBox({ message: "Something else is wrong:", errors: rest }) : null);
    this.state.textContent = problems.length ? `${plural(problems.length, "problem")} to mend first.` : "Ready to start.";
    this.state.className = problems.length ? "wrong" : "kept";
  }

  /** A problem in a group that is folded would not be seen. */
  mark(field, texts) {
    field.problems(texts);
    if (texts.length) field.element.closest("details")?.setAttribute("open", "");
  }

  showPlan(plan) {
    const { base_parameters: base, metric, rows, labels, cardinality, smallest } = plan ?? {};
    replace(
      this.plan,
      plan
        ? facts([
            ["Base model", `${count(base)} parameters`],
            ["Maximises", metric],
            ["Rows", Object.entries(rows).map(([name, number]) => `${name} ${count(number)}`).join(", ")],
            labels?.length ? ["Classes", labels.length > 8 ? `${count(labels.length)}: ${labels.slice(0, 6).join(", ")}, …` : labels.join(", ")] : null,
            ["Points of the space", cardinality === null ? "without end" : cardinality > 1e6 ? `about ${shortCount(Number(cardinality.toPrecision(3)))}` : count(cardinality)],
            ["Smallest candidate", `${params(smallest, base)} parameters`],
          ])
        : h("p", { class: "muted" }, "Mend what is marked, and the plan shows up here."),
    );
  }

  // -- submitting ---------------------------------------------------------------------------------------------------

  async submit() {
    const request = this.read();
    this.go.disabled = true;
    try {
      const search = await post("/searches", request, { headers: { "Idempotency-Key": this.keyOf(request) } });
      location.hash = `#/searches/${encodeURIComponent(search.id)}`;
    } catch (error) {
      this.fail(error);
    }
    this.go.disabled = false;
  }

  /** The same request sent again, as after a lost answer, has the same key and starts no second search. */
  keyOf(request) {
    const text = JSON.stringify(request);
    if (text !== this.sent.text) {
      const random = crypto.getRandomValues(new Uint32Array(4));
      this.sent = { text, key: Array.from(random, (part) => part.toString(16).padStart(8, "0")).join("") };
    }
    return this.sent.key;
  }

  fail(error) {
    if (error.errors?.length) this.showProblems(error.errors);
    else if (error.status === 409) this.showProblems([{ field: "name", remedy: error.message }]);
    else replace(this.general, alertBox(error));
    this.context.main.querySelector("[aria-invalid]")?.focus();
  }
}

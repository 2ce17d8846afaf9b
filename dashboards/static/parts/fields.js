/** Fields of a form: each with its label, what it says of itself, and a place for its problems. */

import { freshId, h, replace } from "../dom.js";

const UNITS = [["", "trials"], ["m", "minutes"], ["h", "hours"], ["s", "seconds"]];
const MAKERS = { text, task: text, words, number, select, check, choices, budget };

/** Return a field: `{element, read(), set(value), problems(texts), input}`. */
export function makeField(description, value) {
  const id = `field-${description.key.replaceAll(".", "-")}`;
  const [help, wrong] = [freshId("help"), freshId("wrong")];
  const made = MAKERS[description.kind](description, value, id);
  made.input.setAttribute("aria-describedby", `${help} ${wrong}`);
  const say = h("p", { class: "help", id: help }, description.help ?? made.help?.() ?? null);
  const problems = h("p", { class: "wrong", id: wrong, "aria-live": "polite" });
  made.input.addEventListener("change", () => made.help && replace(say, description.help ?? made.help()));
  const label = made.group ? h("span", { class: "label", id: `${id}-label` }, description.label) : h("label", { for: id }, description.label);
  const element = h("div", { class: `field ${description.kind}` }, description.kind === "check" ? [made.element, label] : [label, made.element], say, problems);
  return { ...made, element, problems: (texts) => showProblems(made.input, problems, texts) };
}

function showProblems(input, place, texts) {
  if (place.textContent !== texts.join(" ")) replace(place, texts.join(" "));
  if (texts.length) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

function text({ placeholder, list, key }, value, id) {
  const names = list ? h("datalist", { id: `${id}-list` }, list.map((one) => h("option", { value: one.value }, one.help))) : null;
  const input = h("input", { id, name: key, value: value ?? "", placeholder, list: list ? `${id}-list` : null, autocomplete: "off", spellcheck: "false" });
  return { input, element: h("div", {}, input, names), read: () => input.value.trim() || null, set: (next) => (input.value = next ?? "") };
}

function words(description, value, id) {
  const made = text(description, (value ?? []).join(", "), id);
  return { ...made, read: () => made.input.value.split(",").map((word) => word.trim()).filter(Boolean) };
}

function number({ min, max, step, key }, value, id) {
  const input = h("input", { id, name: key, type: "number", min, max, step: step ?? 1, value: value ?? "" });
  return { input, element: input, read: () => (input.value === "" ? null : Number(input.value)), set: (next) => (input.value = next ?? "") };
}

function select({ choices: offered, key }, value, id) {
  const input = h("select", { id, name: key }, offered.map((one) => h("option", { value: one.value, selected: one.value === (value ?? "") }, one.text)));
  const help = () => offered.find((one) => one.value === input.value)?.help ?? null;
  return { input, element: input, help, read: () => input.value || null, set: (next) => (input.value = next ?? "") };
}

function check({ key }, value, id) {
  const input = h("input", { id, name: key, type: "checkbox", checked: Boolean(value) });
  return { input, element: input, read: () => input.checked, set: (next) => (input.checked = Boolean(next)) };
}

function choices({ choices: offered, always, key }, value, id) {
  const boxes = offered.map((one) => h("input", { type: "checkbox", id: `${id}-${one.value}`, name: key, value: one.value, checked: (value ?? []).includes(one.value) }));
  const labels = boxes.map((box, index) => h("label", { class: "inline", for: box.id }, box, offered[index].text));
  const input = h("div", { id, role: "group", "aria-labelledby": `${id}-label`, class: "choices" }, labels);
  return { input, element: input, group: true, read: () => [...always, ...boxes.filter((box) => box.checked).map((box) => box.value)] };
}

function budget({ key }, value, id) {
  const [, amount = "40", unit = ""] = /^([\d.]+)(s|m|h)?$/.exec(String(value)) ?? [];
  const input = h("input", { id, name: key, type: "number", min: 0, step: "any", value: amount });
  const units = h("select", { id: `${id}-unit`, name: `${key}-unit`, "aria-label": "Unit of the budget" }, UNITS.map(([name, said]) => h("option", { value: name, selected: name === unit }, said)));
  return { input, element: h("div", { class: "joined" }, input, units), read: () => `${input.value}${units.value}` };
}

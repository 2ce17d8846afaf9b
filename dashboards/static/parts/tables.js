/** Tables that say what they hold: a caption, and a scope for every header. */

import { h } from "../dom.js";

/**
 * Return a table in a frame that scrolls sideways.
 *
 * `columns` are `{title, cell(row), number, sort, header}`; one with `sort` is a button that calls `onSort`, and `order`
 * is `[sort, "asc"|"desc"]`. The column with `header` names its row.
 */
export function table({ caption, columns, rows, order = null, onSort = null, captionClass = "" }) {
  const head = columns.map((column) => heading(column, order, onSort));
  const body = rows.map((row) => h("tr", { class: row.rowClass ?? null }, columns.map((column) => cell(column, row))));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: captionClass }, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)),
  );
}

function heading(column, order, onSort) {
  const cls = column.number ? "number" : null;
  if (!column.sort || !onSort) return h("th", { scope: "col", class: cls }, column.title);
  const mine = order && order[0] === column.sort ? order[1] : null;
  const sorted = { asc: "ascending", desc: "descending" }[mine] ?? "none";
  const sign = { asc: " ↑", desc: " ↓" }[mine] ?? " ↕";
  const click = () => onSort(column.sort, mine === "asc" ? "desc" : "asc");
  const button = h("button", { type: "button", class: "sorter", "data-sort": column.sort, on: { click } }, column.title, h("span", { "aria-hidden": "true" }, sign));
  return h("th", { scope: "col", class: cls, "aria-sort": sorted }, button);
}

function cell(column, row) {
  const cls = column.number ? "number" : column.wide ? "wide" : null;
  return h(column.header ? "th" : "td", column.header ? { scope: "row", class: cls } : { class: cls }, column.cell(row));
}

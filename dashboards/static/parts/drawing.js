/** An architecture as layers by modules: which module sits where, with its size. */

import { h } from "../dom.js";
import { words } from "../format.js";

const NAMES = { lora: "LoRA", bitfit: "BitFit", ia3: "(IA)³", layer_norm: "layer norms" };
const COLOURED = ["lora", "serial_adapter", "parallel_adapter", "prefix", "bitfit", "ia3", "layer_norm"];
const SHORT = { query: "q", key: "k", value: "v", output: "o", hidden: "hid", final: "fin" };

export const moduleName = (module) => NAMES[module] ?? words(module);

const layersOf = (architecture) => (architecture?.placements ?? []).flatMap((group) => group.layers);

/** Return the number of layers of a search's model; of one that was stored without it, as many as `rows` reach. */
export const depthOf = (search, rows) => search.layers ?? 1 + Math.max(-1, ...rows.flatMap((row) => layersOf(row.architecture)));

/**
 * Return a table of layers by modules, and what its short names of sites stand for; layers that are alike share a row.
 *
 * `depth` is the number of layers of the model.
 */
export function drawing(architecture, depth) {
  const groups = architecture?.placements ?? [];
  if (!groups.length) return h("p", { class: "muted" }, "No modules: the task head alone is trained.");
  const places = placesOf(groups);
  const rows = alikeRows(places, depth);
  return [
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Drawing: layers by modules" },
      h("table", { class: "drawing" }, h("caption", { class: "unseen" }, "Sizes of the modules in each layer"), head(places), h("tbody", {}, rows.map(({ label, cells }) => row(label, places, cells)))),
    ),
    legend(places),
  ];
}

function legend(places) {
  const names = [...new Set(places.map(({ site }) => site))].filter((site) => shortSite(site) !== site).map((site) => `${shortSite(site)}=${site}`);
  return names.length ? h("p", { class: "muted small" }, names.join(", ")) : null;
}

/** Places (module and site), each with its size by layer. */
function placesOf(groups) {
  const places = new Map();
  for (const { module, site, layers, size } of groups) {
    const key = `${module} ${site}`;
    if (!places.has(key)) places.set(key, { module, site, sizes: new Map() });
    for (const layer of layers) places.get(key).sizes.set(layer, size || "■");
  }
  return [...places.values()].sort((a, b) => a.module.localeCompare(b.module));
}

function alikeRows(places, depth) {
  const rows = [];
  for (let layer = 0; layer < depth; layer += 1) {
    const cells = places.map((place) => place.sizes.get(layer) ?? "");
    const before = rows.at(-1);
    if (before && before.cells.every((value, index) => value === cells[index])) before.end = layer;
    else rows.push({ start: layer, end: layer, cells });
  }
  return rows.map(({ start, end, cells }) => ({ label: start === end ? `${start}` : `${start}–${end}`, cells }));
}

function head(places) {
  const modules = [...new Set(places.map((place) => place.module))];
  const spans = modules.map((module) => h("th", { scope: "colgroup", colspan: places.filter((place) => place.module === module).length }, moduleName(module)));
  const sites = places.map(({ site }) => h("th", { scope: "col" }, h("abbr", { title: site }, shortSite(site))));
  return h("thead", {}, h("tr", {}, h("td", {}), spans), h("tr", {}, h("th", { scope: "col" }, "layer"), sites));
}

function row(label, places, cells) {
  const colour = (module) => (COLOURED.includes(module) ? `m-${module}` : "m-other");
  return h("tr", {}, h("th", { scope: "row" }, label), cells.map((value, index) => (value === "" ? h("td", { class: "absent" }, "·") : h("td", { class: colour(places[index].module) }, String(value)))));
}

/** `attention.query` as `q`, as the command line draws it. */
export function shortSite(site) {
  const [first, last] = site.split(".");
  if (first === "norm" && last) return `n.${shortSite(last)}`;
  if (last) return `${first.startsWith("cross_") ? "x" : ""}${SHORT[last] ?? last}`;
  return site.replace("cross_attention", "xattn").replace("attention", "attn");
}

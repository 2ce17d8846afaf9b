/** The marks of a plot: shape and colour both say what a point is. */

import { svg } from "../dom.js";

const SHAPES = {
  circle: (r) => svg("circle", { r }),
  diamond: (r) => svg("path", { d: `M0 ${-1.25 * r}L${1.25 * r} 0L0 ${1.25 * r}L${-1.25 * r} 0Z` }),
  square: (r) => svg("rect", { x: -0.9 * r, y: -0.9 * r, width: 1.8 * r, height: 1.8 * r }),
  cross: (r) => svg("path", { d: `M${-r} ${-r}L${r} ${r}M${-r} ${r}L${r} ${-r}` }),
};

/** What is drawn, by kind: its shape, radius in pixels, class, and name for people. */
export const KINDS = {
  front: { shape: "circle", radius: 6.5, cls: "front", name: "Front" },
  frontBaseline: { shape: "diamond", radius: 6.5, cls: "front-baseline", name: "Baseline on the front" },
  baseline: { shape: "diamond", radius: 6, cls: "baseline", name: "Baseline" },
  other: { shape: "cross", radius: 3, cls: "dominated", name: "Other trial" },
  first: { shape: "circle", radius: 6.5, cls: "front", name: "First search" },
  second: { shape: "square", radius: 6.5, cls: "second", name: "Second search" },
};

/** Return the mark of a kind at a place. */
export function mark(kind, x, y, attributes = {}) {
  const { shape, radius, cls } = KINDS[kind];
  return svg("g", { class: `mark ${cls}`, transform: `translate(${x} ${y})`, ...attributes }, svg("circle", { class: "halo", r: radius + 7 }), SHAPES[shape](radius));
}

/** Return the key to the kinds of a plot; `names` takes the place of the kinds' own. */
export function key(kinds, names = {}) {
  const entries = kinds.map((kind) => {
    const picture = svg("svg", { width: 20, height: 20, "aria-hidden": "true" }, mark(kind, 10, 10));
    const entry = document.createElement("li");
    entry.append(picture, names[kind] ?? KINDS[kind].name);
    return entry;
  });
  const list = document.createElement("ul");
  list.className = "key";
  list.append(...entries);
  return list;
}

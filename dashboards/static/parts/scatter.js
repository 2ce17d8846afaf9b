/** Trainable parameters against score: points that a pointer or the keyboard looks into. */

import { freshId, h, replace, svg } from "../dom.js";
import { count, scoreOf } from "../format.js";
import { drawToWidth, frame, linear, niceTicks, padded, paramsScale } from "./axes.js";
import { KINDS, key, mark } from "./marks.js";

const MARGIN = { left: 56, right: 16, top: 30, bottom: 48 };
const HINT = "Left and right arrows go along the points of a kind, up and down change the kind, Enter opens the trial.";

/**
 * A plot of rows.
 *
 * `set` takes `{metric, series, lines}`; series and lines are `{kind, rows}`, and a row needs `trial`, `params`, `score`
 * and `name`. `onLook` is told which row is looked at, `onOpen` which is opened.
 */
export class Scatter {
  constructor({ label, names = {}, onLook, onOpen, signal }) {
    Object.assign(this, { label, names, onLook, onOpen, data: { metric: "score", series: [], lines: [] }, points: [], looked: null, width: 0 });
    this.canvas = h("div", { class: "canvas" });
    this.key = h("div", {});
    const hint = freshId("hint");
    this.element = h("figure", { class: "plot", "aria-label": label, "aria-describedby": hint }, this.key, this.canvas, h("figcaption", { id: hint, class: "muted small" }, HINT));
    drawToWidth(this.canvas, (width) => this.draw((this.width = width)), signal);
  }

  set(data) {
    this.data = { ...data, series: data.series.filter((series) => series.rows.length) };
    if (this.width) this.draw(this.width);
  }

  /** Show a row as looked at, as when it is chosen elsewhere. */
  look(row) {
    this.looked = row;
    for (const { element, row: mine } of this.points) {
      const same = isSame(mine, row);
      element.classList.toggle("looked", same);
      element.setAttribute("tabindex", same ? "0" : "-1");
    }
    if (!this.points.some(({ row: mine }) => isSame(mine, row))) this.points[0]?.element.setAttribute("tabindex", "0");
  }

  draw(width) {
    const focused = this.canvas.contains(document.activeElement);
    const { series, lines, metric } = this.data;
    const rows = series.flatMap((one) => one.rows);
    replace(this.key, key(series.map((one) => one.kind), this.names));
    this.points = [];
    if (!rows.length) return void replace(this.canvas, h("p", { class: "muted" }, "No trial has a score yet."));
    const box = this.box(width);
    const scales = this.scales(rows, box);
    const picture = svg("svg", { width, height: box.bottom + MARGIN.bottom, viewBox: `0 0 ${width} ${box.bottom + MARGIN.bottom}`, role: "presentation" }, this.axes(box, scales, metric));
    for (const one of lines) if (one.rows.length) picture.append(this.line(one, scales, box));
    for (const one of [...series].reverse()) picture.append(this.marks(one, scales));
    this.points.sort((a, b) => series.indexOf(a.series) - series.indexOf(b.series) || a.row.params - b.row.params);
    replace(this.canvas, picture);
    this.look(this.looked);
    if (focused) this.points.find(({ element }) => element.getAttribute("tabindex") === "0")?.element.focus();
  }

  box(width) {
    const height = Math.max(300, Math.min(440, Math.round(0.6 * width)));
    return { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  }

  scales(rows, box) {
    const scores = rows.flatMap((row) => [row.score - (row.score_std ?? 0), row.score + (row.score_std ?? 0)]);
    const range = padded(scores);
    return { across: paramsScale(rows.map((row) => row.params), [box.left, box.right]), up: linear(range, [box.bottom, box.top]), range };
  }

  axes(box, { across, up, range }, metric) {
    const ticks = niceTicks(...range).map((value) => ({ at: up(value), text: fixed(value, range) }));
    const axes = frame(box, across.ticks, ticks, { across: "trainable parameters", up: metric });
    if (across.cut !== null) axes.append(svg("text", { class: "cut", x: across.cut, y: box.bottom + 4, "text-anchor": "middle" }, "//"));
    return axes;
  }

  /** The best score that each number of parameters reaches. */
  line({ kind, rows }, { across, up }, box) {
    const sorted = [...rows].sort((a, b) => a.params - b.params);
    const steps = sorted.map((row, index) => (index ? `H${across.place(row.params)}V${up(row.score)}` : `M${across.place(row.params)} ${up(row.score)}`));
    return svg("path", { class: `step ${KINDS[kind].cls}`, d: `${steps.join("")}H${box.right}`, "aria-hidden": "true" });
  }

  marks(series, { across, up }) {
    return svg("g", {}, series.rows.map((row) => this.point(series, row, across.place(row.params), row.score, up)));
  }

  point(series, row, x, value, up) {
    const label = `${this.names[series.kind] ?? KINDS[series.kind].name}: ${row.name}, ${count(row.params)} parameters, ${this.data.metric} ${scoreOf(row)}`;
    const element = mark(series.kind, x, up(value), { role: "button", tabindex: "-1", "aria-label": label, "data-trial": row.trial });
    if (row.score_std) element.prepend(svg("line", { class: "spread", x1: 0, x2: 0, y1: up(value + row.score_std) - up(value), y2: up(value - row.score_std) - up(value) }));
    element.addEventListener("pointerenter", () => this.show(row));
    element.addEventListener("focus", () => this.show(row));
    element.addEventListener("click", () => this.onOpen?.(row));
    element.addEventListener("keydown", (event) => this.move(event, row));
    this.points.push({ element, row, series });
    return element;
  }

  show(row) {
    this.look(row);
    this.onLook?.(row);
  }

  move(event, row) {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.onOpen?.(row);
      return;
    }
    const next = this.neighbour(event.key, row);
    if (!next) return;
    event.preventDefault();
    next.element.focus();
  }

  neighbour(pressed, row) {
    const here = this.points.findIndex((point) => isSame(point.row, row));
    const { series } = this.points[here];
    const mine = this.points.filter((point) => point.series === series);
    const at = mine.indexOf(this.points[here]);
    if (pressed === "ArrowRight") return mine[at + 1];
    if (pressed === "ArrowLeft") return mine[at - 1];
    if (pressed === "Home") return mine[0];
    if (pressed === "End") return mine.at(-1);
    if (pressed === "ArrowDown" || pressed === "ArrowUp") return this.nearest(series, pressed === "ArrowDown" ? 1 : -1, row);
    return undefined;
  }

  /** The point of the next or previous kind that has about as many parameters. */
  nearest(series, direction, row) {
    const { series: all } = this.data;
    const other = all[all.indexOf(series) + direction];
    const near = (point) => Math.abs(Math.log10(1 + point.row.params) - Math.log10(1 + row.params));
    return this.points.filter((point) => point.series === other).sort((a, b) => near(a) - near(b))[0];
  }
}

/** A tick's value, with as many digits as tell it from its neighbours. */
const fixed = (value, [low, high]) => value.toFixed(Math.max(0, Math.min(8, 1 - Math.floor(Math.log10(high - low)))));

/** Whether two rows are of one trial of one search. */
function isSame(a, b) {
  return Boolean(a && b) && a.trial === b.trial && a.search === b.search;
}

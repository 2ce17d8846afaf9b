/** Something over time, as a line, and as a table for those who do not see it. */

import { h, refill, replace, svg } from "../dom.js";
import { duration } from "../format.js";
import { drawToWidth, frame, linear, niceTicks, padded } from "./axes.js";
import { table } from "./tables.js";

const MARGIN = { left: 56, right: 12, top: 30, bottom: 46 };
const HEIGHT = 230;
const MOST_ROWS = 40;
const ROUND_SECONDS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400];

/**
 * A plot of one quantity over seconds of work.
 *
 * `set` takes points `{at, value}`, in order; `text` writes a value, and `limit` draws a dashed line at one.
 */
export class LinePlot {
  constructor({ title, text, signal }) {
    Object.assign(this, { title, text, points: [], limit: null, width: 0 });
    this.canvas = h("div", { class: "canvas" });
    this.rows = h("div", {});
    this.element = h("figure", { class: "plot small-plot", "aria-label": title }, this.canvas, h("details", {}, h("summary", {}, `${title} as a table`), this.rows));
    drawToWidth(this.canvas, (width) => this.draw((this.width = width)), signal);
  }

  set(points, limit = null) {
    this.points = points.filter(({ at, value }) => Number.isFinite(at) && Number.isFinite(value));
    this.limit = limit;
    refill(this.rows, this.table());
    if (this.width) this.draw(this.width);
  }

  draw(width) {
    if (!this.points.length) return void replace(this.canvas, h("p", { class: "muted" }, `${this.title}: nothing to show yet.`));
    const box = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: HEIGHT - MARGIN.bottom };
    const end = this.points.at(-1).at || 1;
    const range = this.range();
    const [across, up] = [linear([0, end], [box.left, box.right]), linear(range, [box.bottom, box.top])];
    const axes = frame(box, timeTicks(end, width).map((at) => ({ at: across(at), text: duration(at) })), niceTicks(...range, 4).map((value) => ({ at: up(value), text: this.text(value) })), { across: "time of work", up: this.title });
    const steps = this.points.map(({ at, value }, index) => (index ? `H${across(at)}V${up(value)}` : `M${across(at)} ${up(value)}`));
    const line = svg("path", { class: "step front", d: steps.join("") });
    const dot = svg("circle", { class: "end", r: 4, cx: across(end), cy: up(this.points.at(-1).value) });
    const limit = this.limit === null ? null : svg("line", { class: "limit", x1: box.left, x2: box.right, y1: up(this.limit), y2: up(this.limit) });
    replace(this.canvas, svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": this.sentence() }, axes, limit, line, dot));
  }

  range() {
    const values = this.points.map(({ value }) => value);
    if (this.limit === null) return padded(values);
    return [0, Math.max(this.limit, ...values) * 1.05];
  }

  sentence() {
    const [first, last] = [this.points[0], this.points.at(-1)];
    return `${this.title}: from ${this.text(first.value)} at ${duration(first.at)} to ${this.text(last.value)} at ${duration(last.at)}`;
  }

  table() {
    const every = Math.ceil(this.points.length / MOST_ROWS) || 1;
    const rows = this.points.filter((_, index) => index % every === 0 || index === this.points.length - 1);
    const columns = [
      { title: "time of work", cell: (row) => duration(row.at), header: true },
      { title: this.title, cell: (row) => this.text(row.value), number: true },
    ];
    return table({ caption: `${this.title} over time`, columns, rows, captionClass: "unseen" });
  }
}

function timeTicks(end, width) {
  const step = ROUND_SECONDS.find((one) => end / one <= Math.max(2, width / 110)) ?? Math.ceil(end / 4);
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, index) => index * step);
}

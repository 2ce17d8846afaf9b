/** Scales and ticks of the plots, drawn by hand as SVG: a few kilobytes in place of a plotting library's millions. */

import { svg } from "../dom.js";
import { shortCount } from "../format.js";

const STEPS = [1, 2, 2.5, 5, 10];

/** Return about `wanted` round numbers that cover a range. */
export function niceTicks(low, high, wanted = 7) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * STEPS.find((one) => one * power >= rough - 1e-12);
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}

/** Return a range a little wider than the values'. */
export function padded(values, share = 0.08) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || Math.abs(high) * 0.1 || 1) * share;
  return [low - room, high + room];
}

/** Return a function from a range of values to a range of pixels. */
export const linear = ([low, high], [from, to]) => (value) => from + ((value - low) / (high - low || 1)) * (to - from);

/**
 * Return the scale of trainable parameters: a logarithm, with a place of its own for none at all.
 *
 * `place` gives the pixel of a count; `ticks` are `{at, text}`; `cut` is the pixel where the axis is broken, or null.
 */
export function paramsScale(counts, [from, to]) {
  const some = counts.filter((value) => value > 0);
  const none = some.length < counts.length;
  const [least, most] = some.length ? [Math.min(...some), Math.max(...some)] : [1, 10];
  const low = Math.log10(least) - 0.15;
  const high = Math.max(Math.log10(most) + 0.15, low + 0.5);
  const start = none ? from + 34 : from;
  const log = linear([low, high], [start, to]);
  const ticks = none ? [{ at: from + 8, text: "0" }] : [];
  for (const value of logTicks(low, high)) ticks.push({ at: log(Math.log10(value)), text: shortCount(value) });
  return { place: (value) => (value > 0 ? log(Math.log10(value)) : from + 8), ticks, cut: none ? from + 24 : null };
}

function logTicks(low, high) {
  const factors = high - low > 2.5 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const factor of factors) {
      const at = power + Math.log10(factor);
      if (at >= low && at <= high) ticks.push(Math.round(factor * 10 ** power));
    }
  }
  return ticks;
}

/**
 * Draw the frame of a plot.
 *
 * `box` is `{left, right, top, bottom}` in pixels; `across` and `up` are ticks `{at, text}`.
 */
export function frame(box, across, up, titles) {
  const { left, right, top, bottom } = box;
  return svg(
    "g",
    { class: "axes", "aria-hidden": "true" },
    up.map(({ at, text }) => [svg("line", { class: "grid", x1: left, x2: right, y1: at, y2: at }), svg("text", { x: left - 8, y: at + 4, "text-anchor": "end" }, text)]),
    svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
    across.map(({ at, text }) => [svg("line", { class: "axis", x1: at, x2: at, y1: bottom, y2: bottom + 5 }), svg("text", { x: at, y: bottom + 19, "text-anchor": "middle" }, text)]),
    svg("text", { class: "title", x: (left + right) / 2, y: bottom + 39, "text-anchor": "middle" }, titles.across),
    svg("text", { class: "title", x: left - 46, y: top - 12, "text-anchor": "start" }, titles.up),
  );
}

/** Draw a plot again whenever its width changes; `draw` gets the width in pixels. */
export function drawToWidth(container, draw, signal) {
  let before = 0;
  const observer = new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width && width !== before) draw((before = width));
  });
  observer.observe(container);
  signal.addEventListener("abort", () => observer.disconnect());
}

/** Numbers, times and names as people read them. */

const LANGUAGE = "en-GB";
const whole = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 0 });
const moment = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "short" });
export const NOTHING = "–";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** 12288 as `12,288`. */
export const count = (value) => (isNumber(value) ? whole.format(value) : NOTHING);

/** 12288 as `12k`, for the ticks of an axis. */
export function shortCount(value) {
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= unit) return `${Number((value / unit).toPrecision(3))}${letter}`;
  }
  return String(value);
}

/** A score or hypervolume with four digits behind the point. */
export const score = (value) => (isNumber(value) ? value.toFixed(4) : NOTHING);

/** A score with its standard deviation where there is one. */
export const scoreOf = (row) => (isNumber(row.score_std) ? `${score(row.score)} ± ${score(row.score_std)}` : score(row.score));

/** 0.0541 as `0.05 %`. */
export function percent(value) {
  if (!isNumber(value)) return NOTHING;
  if (value > 0 && value < 0.01) return "< 0.01 %";
  return `${value.toFixed(value >= 10 ? 1 : 2)} %`;
}

/** 12288 of 22.7 million as `12,288 (0.05 %)`. */
export const params = (value, base) => (base ? `${count(value)} (${percent((100 * value) / base)})` : count(value));

/** 200 as `3 min 20 s`. */
export function duration(seconds) {
  if (!isNumber(seconds)) return NOTHING;
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  const all = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(all / 3600), Math.floor((all % 3600) / 60), all % 60];
  if (hours) return minutes ? `${count(hours)} h ${minutes} min` : `${count(hours)} h`;
  if (minutes) return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
  return `${rest} s`;
}

/** Seconds since 1970 as a date and time. */
export const when = (seconds) => (isNumber(seconds) ? moment.format(new Date(seconds * 1000)) : NOTHING);

/** 2500000 as `2.5 MB`. */
export function size(bytes) {
  if (!isNumber(bytes)) return NOTHING;
  for (const [unit, name] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (bytes >= unit) return `${Number((bytes / unit).toPrecision(3))} ${name}`;
  }
  return `${bytes} B`;
}

const MEASURES = { memory: size, bytes: size, latency: milliseconds, train_time: duration };

function milliseconds(seconds) {
  return seconds < 1 ? `${Number((1000 * seconds).toPrecision(3))} ms` : duration(seconds);
}

/** A further objective's value with its unit. */
export const measure = (name, value) => (MEASURES[name] ?? score)(value);

/** `train_time` as `train time`. */
export const words = (name) => String(name).replaceAll("_", " ");

const BUDGET_UNITS = { s: "seconds", m: "minutes", h: "hours", "gpu-h": "GPU hours" };

/** `40` as `40 trials`, `2h` as `2 hours`. */
export function budget(text) {
  const match = /^([\d.]+)(s|m|h|gpu-h)?$/.exec(String(text).trim());
  return match ? `${match[1]} ${match[2] ? BUDGET_UNITS[match[2]] : "trials"}` : String(text);
}

/** One of a thing or several. */
export const plural = (number, thing) => `${count(number)} ${number === 1 ? thing : `${thing}s`}`;

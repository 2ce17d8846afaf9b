/** Makers of DOM nodes. Data becomes text or attributes; nothing here parses HTML. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Return an element.
 *
 * `attributes` may hold `on` (listeners by event); null and false leave an attribute out, true sets it empty.
 * Children are nodes or text; null and false are left out.
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Return an SVG element; as {@link h}. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "href") setLink(element, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Set a link that stays on this host; any other is left out, wherever it came from. */
function setLink(element, href) {
  const there = new URL(String(href), location.href);
  if (there.origin === location.origin) element.setAttribute("href", href);
}

/** Put children in the place of those that are there. */
export function replace(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/**
 * As {@link replace}, for what is rebuilt while somebody is at it.
 *
 * Nothing is touched where nothing would change. Else the keyboard stays on what has the same id, label or data, or goes
 * to the table where that is gone, and a frame stays as far as it was scrolled.
 */
export function refill(element, ...children) {
  const fresh = replace(element.cloneNode(false), ...children);
  if (fresh.isEqualNode(element)) return element;
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const lefts = framesOf(element).map((frame) => frame.scrollLeft);
  element.replaceChildren(...fresh.childNodes);
  framesOf(element).forEach((frame, index) => (frame.scrollLeft = lefts[index] ?? 0));
  if (focused) (element.querySelector(selectorOf(focused)) ?? framesOf(element)[0])?.focus({ preventScroll: true });
  return element;
}

const framesOf = (element) => [...element.querySelectorAll(".scroll")];

function selectorOf(element) {
  const telling = [...element.attributes].filter(({ name }) => name === "id" || name === "aria-label" || name.startsWith("data-"));
  return telling.length ? element.localName + telling.map(({ name, value }) => `[${name}="${CSS.escape(value)}"]`).join("") : ".scroll";
}

let last = 0;

/** Return an id that no other element has. */
export function freshId(stem) {
  last += 1;
  return `${stem}-${last}`;
}

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

let last = 0;

/** Return an id that no other element has. */
export function freshId(stem) {
  last += 1;
  return `${stem}-${last}`;
}

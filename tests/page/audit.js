// What stands in the way of people who do not see the page, or see it badly; returns a sentence for each.
() => {
  const found = [];
  const shown = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const text = (element) => (element?.textContent ?? "").trim();
  const named = (ids) => (ids ?? "").split(/\s+/).filter(Boolean).map((id) => text(document.getElementById(id))).join(" ");
  const nameOf = (element) =>
    element.getAttribute("aria-label") || named(element.getAttribute("aria-labelledby")) ||
    [...(element.labels ?? [])].map(text).join(" ") || text(element) || element.getAttribute("alt");
  const say = (element, what) => found.push(`${what}: ${element.outerHTML.slice(0, 120)}`);

  for (const element of document.querySelectorAll("input, select, textarea, button, a, summary, [role=button], [role=region], progress")) {
    if (shown(element) && !nameOf(element)) say(element, "no name");
  }
  for (const link of document.querySelectorAll("a")) if (!link.hasAttribute("href")) say(link, "a link without an address");
  for (const image of document.querySelectorAll("img")) if (!image.hasAttribute("alt")) say(image, "no alternative text");
  for (const head of document.querySelectorAll("th")) if (!head.hasAttribute("scope")) say(head, "a header without a scope");
  for (const table of document.querySelectorAll("table")) if (!text(table.querySelector("caption"))) say(table, "no caption");
  for (const element of document.querySelectorAll("[aria-describedby], [aria-labelledby]")) {
    for (const attribute of ["aria-describedby", "aria-labelledby"]) {
      for (const id of (element.getAttribute(attribute) ?? "").split(/\s+/).filter(Boolean)) {
        if (!document.getElementById(id)) say(element, `${attribute} points nowhere`);
      }
    }
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`id twice: ${id}`);
  for (const [what, selector] of [["header", "header"], ["nav", "nav"], ["main", "main"], ["h1", "h1"]]) {
    if (document.querySelectorAll(selector).length !== 1) found.push(`not one ${what}`);
  }
  let level = 0;
  for (const heading of document.querySelectorAll("main h1, main h2, main h3, main h4")) {
    if (!shown(heading)) continue;
    const mine = Number(heading.tagName[1]);
    if (mine > level + 1) say(heading, `h${mine} after h${level}`);
    level = mine;
  }
  for (const element of document.querySelectorAll("[tabindex]")) if (Number(element.getAttribute("tabindex")) > 0) say(element, "a tab order of its own");
  for (const scroll of document.querySelectorAll(".scroll, pre")) if (shown(scroll) && scroll.tabIndex < 0) say(scroll, "scrolls, but not by keyboard");

  const channel = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
  const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const leaves = [...document.querySelectorAll("body *")].filter((element) => shown(element) && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  for (const element of leaves) {
    if (element.closest(".unseen, [disabled], option, title")) continue;
    const style = getComputedStyle(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const [high, low] = [luminance(ink), luminance(ground(element))].sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) say(element, `contrast ${contrast.toFixed(2)}`);
  }
  return found;
}

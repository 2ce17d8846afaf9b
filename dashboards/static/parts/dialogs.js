/** Dialogs: the browser's own, which keep the focus inside and give it back. */

import { freshId, h } from "../dom.js";
import { alertBox } from "./notices.js";

/** Show a dialog with a heading and return it; it is removed when it closes. */
export function openDialog(title, ...children) {
  const id = freshId("dialog");
  const close = h("button", { type: "button", class: "quiet close", "aria-label": "Close", on: { click: () => dialog.close() } }, "✕");
  const dialog = h("dialog", { "aria-labelledby": id }, h("div", { class: "head" }, h("h2", { id }, title), close), ...children);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Close what is open, as when the view that opened it is left. */
export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

/**
 * Ask before something is done.
 *
 * `act` gets the form's values; when it fails, the dialog stays open and says why.
 */
export function ask({ title, body, confirm, danger = false, act }) {
  const problems = h("div", {});
  const go = h("button", { type: "submit", class: danger ? "danger" : "primary" }, confirm);
  const form = h(
    "form",
    { novalidate: true },
    body,
    problems,
    h("p", { class: "actions" }, go, h("button", { type: "button", on: { click: () => dialog.close() } }, "Back")),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    try {
      await act(Object.fromEntries(new FormData(form)));
      dialog.close();
    } catch (error) {
      problems.replaceChildren(alertBox(error));
    }
    go.disabled = false;
  });
  const dialog = openDialog(title, form);
  return dialog;
}

/** Sign in with a token: the service gives a cookie for it, and the page keeps nothing. */

import { SESSION, post } from "../api.js";
import { h } from "../dom.js";
import { alertBox } from "../parts/notices.js";

/** Return the form; `done` is called when the service has taken the token. */
export function signIn(done) {
  const problems = h("div", {});
  const field = h("input", { id: "token", name: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false", "aria-describedby": "token-help" });
  const go = h("button", { type: "submit", class: "primary" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    go.disabled = true;
    try {
      await post(SESSION, { token: field.value.trim() });
      done();
    } catch (error) {
      problems.replaceChildren(alertBox(error.status === 401 ? new Error("The service does not know that token, or it was revoked.") : error));
      field.focus();
    }
    go.disabled = false;
  };
  return h(
    "section",
    { class: "card narrow" },
    h("h1", {}, "Sign in"),
    h("p", { class: "muted", id: "token-help" }, "This service needs a token. Whoever runs it makes one with ", h("code", {}, "autopeft token create"), "."),
    h("form", { on: { submit } }, h("label", { for: "token" }, "Token"), field, problems, h("p", { class: "actions" }, go)),
  );
}

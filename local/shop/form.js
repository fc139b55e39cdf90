// A form that sends a command to the shop's server, and shows its progress and its result.

import { alarm, announce } from "./announce.js";
import { h } from "./dom.js";
import { errorMessage } from "./requests.js";

/** Creates the form. `send(form, button id)` returns the response with `done`, the text after a success. */
export function commandForm({ id, title, fields, buttons, send, hint }) {
  const result = h("p", { class: "result", hidden: true });
  const elements = buttons.map(({ text, ...attributes }) => h("button", { class: "quiet", ...attributes }, text));
  const form = h(
    "form",
    {
      class: "panel row",
      "aria-labelledby": `${id}-title`,
      submit: async (event) => {
        event.preventDefault();
        if (form.ariaBusy) return;
        setBusy(event.submitter);
        const response = await send(form, event.submitter?.id);
        setBusy(null);
        report(response);
      },
    },
    h("h2", { id: `${id}-title` }, title),
    fields,
    elements,
    hint && h("p", { class: "hint" }, hint),
    result,
  );

  function setBusy(pressed) {
    form.ariaBusy = pressed && "true";
    if (pressed) result.hidden = true;
    elements.forEach((button, index) => {
      button.ariaDisabled = pressed && "true";
      button.textContent = button === pressed ? "In progress …" : buttons[index].text;
    });
  }

  function report(response) {
    result.hidden = false;
    result.className = response.ok ? "result" : "result refusal";
    result.textContent = response.ok ? response.done : `${errorMessage(response)}. Try again.`;
    (response.ok ? announce : alarm)(result.textContent);
  }
  return form;
}

// The seller's forms: a new ticket, and the price and the end of the sale of a ticket.

import { command } from "./api.js";
import { announce, h } from "./dom.js";
import { ticketSelect } from "./select.js";

/** Creates the form for a new ticket. */
export function newTicket() {
  const form = h(
    "form",
    {
      class: "panel row",
      "aria-labelledby": "new-title",
      submit: async (event) => {
        event.preventDefault();
        const { title, price } = Object.fromEntries(new FormData(form));
        await command("/tickets", { title, price: Number(price) });
        announce(`${title} is on sale.`);
        form.reset();
      },
    },
    h("h2", { id: "new-title" }, "Put a ticket on sale"),
    h("label", {}, "Title", h("input", { name: "title", required: true, maxlength: 80, autocomplete: "off" })),
    priceField(),
    h("button", { class: "quiet" }, "Put on sale"),
  );
  return form;
}

/** Creates the form for changes of a ticket. */
export function changeTicket(world) {
  const ticket = ticketSelect(world, "changed-ticket");
  const change = (path, body) => {
    // The form keeps the ticket, so that a withdrawn one can be put back on sale.
    ticket.lock();
    return command(path, { ticketId: ticket.select.value, ...body });
  };
  const form = h(
    "form",
    {
      class: "panel row",
      "aria-labelledby": "change-title",
      submit: (event) => {
        event.preventDefault();
        change("/prices", { price: Number(new FormData(form).get("price")) });
      },
    },
    h("h2", { id: "change-title" }, "Change a ticket"),
    h("label", {}, "Ticket", ticket.select),
    priceField(),
    h("button", { class: "quiet" }, "Change price"),
    h("button", { class: "quiet", type: "button", id: "withdraw", click: () => change("/withdrawals") }, "Withdraw"),
    h("p", { class: "hint" }, "A new price puts a withdrawn ticket back on sale."),
  );
  return form;
}

const priceField = () =>
  h(
    "label",
    { class: "small" },
    "Price",
    h("input", { name: "price", type: "number", min: 0, max: 9999, step: 0.01, value: "20.00", required: true }),
  );

// The seller's forms: a new ticket, and the price and the end of the sale of a ticket.

import { command } from "./backend.js";
import { h } from "./dom.js";
import { commandForm } from "./form.js";
import { ticketSelect } from "./select.js";

/** Creates the form for a new ticket. */
export function newTicket() {
  return commandForm({
    id: "new",
    title: "Put a ticket on sale",
    fields: [
      h(
        "label",
        {},
        "Title",
        h("input", { name: "title", required: true, pattern: ".*\\S.*", maxlength: 80, autocomplete: "off" }),
      ),
      priceField(),
    ],
    buttons: [{ text: "Put on sale" }],
    send: async (form) => {
      const { title, price } = Object.fromEntries(new FormData(form));
      const response = await command("/tickets", { title, price: Number(price) });
      if (response.ok) form.reset();
      return { ...response, done: `${title} is on sale.` };
    },
  });
}

/** Creates the form for changes of a ticket. */
export function changeTicket(world, candidates) {
  const ticket = ticketSelect(world, "changed-ticket", candidates);
  const change = async (path, body, done) => {
    // The form keeps the ticket, so that a withdrawn one can be put back on sale.
    ticket.lock();
    return { ...await command(path, { ticketId: ticket.select.value, ...body }), done };
  };
  return commandForm({
    id: "change",
    title: "Change a ticket",
    fields: [h("label", {}, "Ticket", ticket.select), priceField()],
    buttons: [{ text: "Change price" }, { text: "Withdraw", id: "withdraw", formnovalidate: true }],
    send: (form, button) =>
      button === "withdraw"
        ? change("/withdrawals", {}, "The ticket is withdrawn.")
        : change("/prices", { price: Number(new FormData(form).get("price")) }, "The price is changed."),
    hint: "A new price puts a withdrawn ticket back on sale. The search above finds further tickets.",
  });
}

const priceField = () =>
  h(
    "label",
    { class: "small" },
    "Price",
    h("input", { name: "price", type: "number", min: 0, max: 9999, step: 0.01, value: "20.00", required: true }),
  );

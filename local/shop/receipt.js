// The receipt of a paid order.

import { h, show } from "./dom.js";
import { occurredAt } from "./log.js";
import { dateTime, name, price, STATUS } from "./format.js";

/** Draws the receipt of a paid or refunded order; hides it for others. */
export function drawReceipt(section, { order, history }, world) {
  section.hidden = !["paid", "refunded"].includes(order?.status);
  if (section.hidden) return;
  const paid = history.find(({ event }) => event["detail-type"] === "OrderPaid")?.event;
  show(section, [order.status, order.paidBy, paid?.id], () => [
    h("h2", { id: "receipt-title" }, "Receipt"),
    h("dl", {}, rows(order, paid, world).map(([title, value]) => h("div", {}, h("dt", {}, title), h("dd", {}, value)))),
    h("p", {}, h("button", { id: "print", class: "quiet", click: () => print() }, "Print")),
  ]);
}

function rows({ id, status, ticket, paidBy }, paid, { buyer }) {
  return [
    ["Ticket", ticket.title],
    ["Buyer", name(buyer)],
    ["Price", price(ticket.price)],
    ["Payment", paidBy ?? "None: the ticket is free"],
    paid && ["Paid", dateTime(occurredAt(paid))],
    ["Order", id],
    status === "refunded" && ["Status", `${STATUS[status]}: the ticket is void`],
  ].filter(Boolean);
}

// The event log, newest first.

import { announce } from "./announce.js";
import { h, s } from "./dom.js";
import { hue, name, price, reason, short, time } from "./format.js";

const MAX_ROWS = 100;

const REFUND = "M6.5 3.5L3.5 6.5l3 3M3.5 6.5h6a3 3 0 0 1 0 6h-2";
const CARD = "M2.5 5h11v7h-11zM2.5 7.5h11";
const CLOCK = "M8 4.5V8l2.5 1.5M8 2.5a5.5 5.5 0 1 0 .01 0";
const ICONS = {
  TicketCreated: "M8 3v10M3 8h10",
  TicketUpdated: "M8 3v10M3 8h10",
  TicketWithdrawn: "M3 8h10",
  OrderCreated: "M4.5 7.5h7v5h-7zM6 7.5V5.5a2 2 0 0 1 4 0v2",
  OrderPaid: "M3.5 8.5l3 3 6-7",
  OrderCancelled: "M4 4l8 8M12 4l-8 8",
  OrderExpired: CLOCK,
  OrderExtended: CLOCK,
  OrderRefundDue: REFUND,
  OrderRefundSettled: REFUND,
  OrderRefunded: REFUND,
  PaymentStarted: CARD,
  PaymentCreated: CARD,
  PaymentRefunded: CARD,
};

/** Describes an event in a sentence. */
export function sentence({ "detail-type": type, detail }, tickets) {
  const title = () => tickets.get(detail.ticket.id)?.title ?? detail.ticket.id;
  switch (type) {
    case "TicketCreated":
      return `${detail.title} is on sale for ${price(detail.price).toLowerCase()}`;
    case "TicketUpdated":
      return `${detail.title} is now on sale for ${price(detail.price).toLowerCase()}`;
    case "TicketWithdrawn":
      return `${tickets.get(detail.id)?.title ?? detail.id} is withdrawn`;
    case "OrderCreated":
      return `${name(detail.userId)} holds ${title()}`;
    case "OrderPaid":
      return `${name(detail.userId)} has bought ${title()}`;
    case "OrderCancelled":
      return `${name(detail.userId)} cancelled ${title()}`;
    case "OrderExpired":
      return `${name(detail.userId)}’s hold of ${title()} has expired`;
    case "OrderExtended":
      return `${name(detail.userId)} has until ${time(detail.expiresAt)} to pay for ${title()}`;
    case "OrderRefunded":
      return `${name(detail.userId)}’s payment for ${title()} is refunded`;
    case "OrderRefundSettled":
      return `${name(detail.userId)}’s refund is settled`;
    case "OrderRefundDue":
      return `${name(detail.userId)} is due a refund: ${reason(detail.reason)}`;
    case "PaymentStarted":
      return "Start of a payment for this order";
    case "PaymentCreated":
      return "Payment for this order";
    case "PaymentRefunded":
      return "Refund of a payment for this order";
    default:
      return type;
  }
}

export const icon = (type) =>
  h(
    "span",
    { class: "icon", "data-type": type, "aria-hidden": "true" },
    s("svg", { viewBox: "0 0 16 16" }, s("path", { d: ICONS[type] ?? "M8 8h.01" })),
  );

/** Order id of an event, if it concerns an order. */
export const orderOf = ({ source, detail }) => (source === "orders" ? detail.id : detail.orderId);

export const occurredAt = (event) => event.detail?.metadata?.occurredAt ?? event.time;

/** Adds events to the log, and announces those of `buyer`. */
export function addToLog(log, received, tickets, buyer) {
  for (const { event, applied, problem } of received.slice(-MAX_ROWS)) {
    log.prepend(problem ? deadLetter(event, problem) : row(event, applied, tickets));
    if (applied && buyer && event.source === "orders" && event.detail.userId === buyer) {
      announce(`${sentence(event, tickets)}.`);
    }
  }
  while (log.children.length > MAX_ROWS) log.lastChild.remove();
}

function row(event, applied, tickets) {
  const facts = [
    event.source === "orders" && h("span", {}, `v${event.detail.version}`),
    order(event),
    h("time", {}, time(occurredAt(event))),
    !applied && h("span", {}, "ignored"),
  ];
  return entry(event, applied ? "event" : "event repeat", sentence(event, tickets), facts);
}

/** A malformed event. Its fields can have any type, so only the JSON is shown. */
const deadLetter = (event, problem) =>
  entry(event, "event dead", "Malformed event", [h("span", {}, "dead-lettered"), h("span", {}, problem)]);

function entry(event, kind, text, facts) {
  const type = String(event["detail-type"]);
  return h(
    "li",
    { class: kind, "data-type": type },
    h(
      "details",
      {},
      h(
        "summary",
        {},
        icon(type),
        h(
          "span",
          { class: "text" },
          h("span", { class: "sentence" }, text),
          h("span", { class: "facts" }, h("span", {}, type), facts),
        ),
      ),
      h("pre", { tabindex: "0" }, JSON.stringify(event, null, 2)),
    ),
  );
}

function order(event) {
  const id = orderOf(event);
  if (!id) return null;
  const chip = h("span", { class: "chip" }, short(id));
  chip.style.setProperty("--hue", hue(id));
  return chip;
}

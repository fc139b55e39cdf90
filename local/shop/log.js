// The bus, told in words, newest first.

import { h, s, announce } from "./dom.js";
import { hue, name, price, reason, short, time } from "./format.js";

const MOST_ROWS = 200;

const ICONS = {
  TicketCreated: "M8 3v10M3 8h10", TicketUpdated: "M8 3v10M3 8h10",
  OrderCreated: "M4.5 7.5h7v5h-7zM6 7.5V5.5a2 2 0 0 1 4 0v2",
  OrderPaid: "M3.5 8.5l3 3 6-7",
  OrderCancelled: "M4 4l8 8M12 4l-8 8",
  OrderExpired: "M8 4.5V8l2.5 1.5M8 2.5a5.5 5.5 0 1 0 .01 0",
  OrderRefundDue: "M6.5 3.5L3.5 6.5l3 3M3.5 6.5h6a3 3 0 0 1 0 6h-2",
  PaymentCreated: "M2.5 5h11v7h-11zM2.5 7.5h11",
};

/** What an event says, to a person. */
export function sentence({ "detail-type": kind, detail }, tickets) {
  const title = () => tickets.get(detail.ticket.id)?.title ?? detail.ticket.id;
  switch (kind) {
    case "TicketCreated": return `${detail.title} is on sale for ${price(detail.price)}`;
    case "TicketUpdated": return `${detail.title} now costs ${price(detail.price)}`;
    case "OrderCreated": return `${name(detail.userId)} holds ${title()}`;
    case "OrderPaid": return `${name(detail.userId)} has bought ${title()}`;
    case "OrderCancelled": return `${name(detail.userId)} gives back ${title()}`;
    case "OrderExpired": return `${name(detail.userId)} loses ${title()}: the hold is over`;
    case "OrderRefundDue": return `${name(detail.userId)} gets the money back: ${reason(detail.reason)}`;
    case "PaymentCreated": return "Someone is charged for this order";
    default: return kind;
  }
}

export const icon = (kind) => h("span", { class: "icon", "data-kind": kind, "aria-hidden": "true" },
  s("svg", { viewBox: "0 0 16 16" }, s("path", { d: ICONS[kind] ?? "M8 8h.01" })));

/** The order that an event is about, if it is about one. */
export const orderOf = ({ source, detail }) => (source === "orders" ? detail.id : detail.orderId);

export const happenedAt = (event) => event.detail?.metadata?.occurredAt ?? event.time;

/** Adds what was heard to the log, and says aloud what concerns this buyer. */
export function tell(log, heard, tickets, buyer) {
  for (const { event, news } of heard) {
    log.prepend(row(event, news, tickets));
    if (news && buyer && event.source === "orders" && event.detail.userId === buyer) announce(`${said(event, tickets)}.`);
  }
  while (log.children.length > MOST_ROWS) log.lastChild.remove();
}

function row(event, news, tickets) {
  const kind = event["detail-type"];
  return h("li", { class: news ? "event" : "event known", "data-kind": kind },
    h("details", {},
      h("summary", {}, icon(kind),
        h("span", { class: "told" },
          h("span", { class: "sentence" }, said(event, tickets)),
          h("span", { class: "facts" },
            h("span", {}, kind), event.source === "orders" && h("span", {}, `v${event.detail?.version}`),
            order(event), h("time", {}, time(happenedAt(event))), !news && h("span", {}, "known already")))),
      h("pre", { tabindex: "0" }, JSON.stringify(event, null, 2))));
}

function order(event) {
  const id = orderOf(event);
  if (!id) return null;
  const chip = h("span", { class: "chip" }, short(id));
  chip.style.setProperty("--hue", hue(id));
  return chip;
}

/** Anything may be on the bus. */
function said(event, tickets) {
  try {
    return sentence(event, tickets);
  } catch {
    return "Something that nobody understands";
  }
}

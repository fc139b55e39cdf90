// The order screen: one order, and its payments and refunds.

import { command, errorMessage } from "./api.js";
import { countdown, sign } from "./countdown.js";
import { announce, h, show } from "./dom.js";
import { icon, occurredAt, orderOf, sentence } from "./log.js";
import { price, reason, seconds, secondsLeft, short, STATUS, time } from "./format.js";

const ANNOUNCED_SECONDS = [20, 10, 5];
const RELOAD_SECONDS = 0.4;
const SLOW_PAYMENT_SECONDS = 10;
const FOUND = "You have ordered this ticket already. This is your order.";

const EXPLANATION = {
  paid: "The ticket is yours. A second payment is refunded.",
  cancelled: "You have given the ticket back. A later payment is refunded.",
  expired: "The hold has expired; the ticket is no longer reserved. A late payment still buys the ticket " +
    "if it is available and its price has not changed; otherwise the payment is refunded.",
  refunded: "The payment was refunded; the ticket is no longer yours. A later payment is refunded too.",
};

/** Creates the screen. Returns the function that redraws it. */
export function orderScreen(page, world, id) {
  // `payment`: the payment or refund in progress: the pressed button, the payment id (null until it is known), and
  // the version of the order before.
  const screen = { order: null, error: null, loadedMs: 0, events: 0, payment: null, announced: Infinity };
  const card = h("section", { class: "panel order", "aria-labelledby": "order-title" });
  const history = h("section", { class: "panel", "aria-labelledby": "history-title" });
  page.replaceChildren(
    h("p", {}, h("a", { id: "back", href: "#/" }, "← All tickets")),
    h("h1", { id: "order-title", tabindex: -1 }, "Your order"),
    h("p", { id: "found", class: "lead", hidden: world.found !== id }, FOUND),
    card,
    history,
  );
  const load = async () => {
    screen.loadedMs = Date.now();
    const response = await world.api.show(id);
    if (!response.ok) screen.error = errorMessage(response);
    else if (!screen.order || response.body.version >= screen.order.version) screen.order = response.body;
    world.draw();
  };
  load();
  if (world.found === id) announce(FOUND);
  return () => {
    loadIfChanged(screen, world, id, load);
    if (isDone(screen)) screen.payment = null;
    announceSecondsLeft(screen, world);
    drawCard(card, screen, world, load);
    drawHistory(history, world, id);
  };
}

/** Loads the order after an event, and after the end of the hold: the server decides about the expiry. */
function loadIfChanged(screen, world, id, load) {
  const events = world.received.filter(({ event, applied }) =>
    applied && event.source === "orders" && orderOf(event) === id
  );
  if (events.length > screen.events) {
    screen.events = events.length;
    load();
  }
  const isDue = timeLeft(screen, world) === 0;
  if (isDue && Date.now() - screen.loadedMs > RELOAD_SECONDS * 1000) load();
}

function announceSecondsLeft(screen, world) {
  const left = timeLeft(screen, world);
  // The hold has become longer.
  if (left > screen.announced) screen.announced = Infinity;
  if (ANNOUNCED_SECONDS.includes(left) && left < screen.announced) {
    screen.announced = left;
    announce(`${seconds(left)} left to pay.`);
  }
}

/** Seconds left to pay; null if the order does not await payment. */
function timeLeft({ order }, world) {
  return order?.status === "awaiting_payment" ? secondsLeft(order.expiresAt, world.api.clock.now()) : null;
}

function drawCard(card, screen, world, load) {
  const { order, error, payment } = screen;
  show(card, [order?.version, order?.status, error, payment], () => {
    if (!order) return h("p", { class: "lead" }, error ? `Error: ${error}.` : "Loading …");
    const awaits = order.status === "awaiting_payment";
    return [
      awaits
        ? countdown(order.expiresAt, order.createdAt)
        : sign({ paid: "✓", cancelled: "×", expired: "0", refunded: "←" }[order.status]),
      h(
        "div",
        { class: "what" },
        h("h2", {}, order.ticket.title),
        h("p", { class: "price" }, price(order.ticket.price)),
        h("p", {}, h("span", { class: `status ${order.status}` }, STATUS[order.status])),
        h(
          "p",
          { class: "lead" },
          explanation(order),
        ),
        error && h("p", { class: "refusal" }, `Error: ${error}.`),
        h("div", { class: "actions" }, actions(screen, world, load)),
        refunds(screen, world),
      ),
    ];
  });
  card.dataset.status = order?.status ?? "";
}

function explanation({ status, expiresAt, ticket }) {
  if (status === "awaiting_payment") return `Reserved for you until ${time(expiresAt)}.`;
  if (status === "paid" && ticket.price === 0) return "The ticket is yours. It is free: you can give it back.";
  return EXPLANATION[status];
}

function actions(screen, world, load) {
  const { status, ticket, paidBy } = screen.order;
  const [awaits, isFree] = [status === "awaiting_payment", ticket.price === 0];
  const button = (id, text, send) => paymentButton(screen, world, id, text, send);
  return [
    !isFree && button("pay", payText(status, ticket), pay),
    awaits && button("pay-slowly", "Pay slowly", paySlowly),
    status === "paid" && !isFree && button("refund", "Refund", () => refund(screen, paidBy)),
    (awaits || (status === "paid" && isFree)) &&
    h(
      "button",
      { id: "cancel", class: "quiet", click: () => cancel(screen, world, load) },
      awaits ? "Cancel" : "Give back",
    ),
  ];
}

function payText(status, ticket) {
  const text = { awaiting_payment: `Pay ${price(ticket.price)}`, paid: "Pay twice", refunded: "Pay again" };
  return text[status] ?? "Pay too late";
}

/** Payments that did not buy the order, each with a button for its refund. */
function refunds(screen, world) {
  const { refunds = [] } = screen.order;
  return refunds.length > 0 && h(
    "ul",
    { class: "refunds" },
    refunds.map(({ paymentId, reason: code, state }) =>
      h(
        "li",
        {},
        h("span", {}, `Refund ${state}: ${reason(code)}.`),
        state === "due" &&
          paymentButton(screen, world, `refund-${paymentId}`, "Refund", () => refund(screen, paymentId)),
      )
    ),
  );
}

/** A button of the payment service. All buttons wait for the payment or refund in progress. */
function paymentButton(screen, world, id, text, send) {
  const { payment } = screen;
  return h("button", {
    id,
    class: id === "pay" && screen.order.status === "awaiting_payment" ? "" : "quiet",
    "aria-disabled": payment && "true",
    click: () => run(screen, world, id, send),
  }, payment?.button === id ? "In progress …" : text);
}

/** Sends a payment or a refund, which is in progress until the order shows it. */
async function run(screen, world, button, send) {
  if (screen.payment) return;
  const { version } = screen.order;
  screen.payment = { button, id: null, version };
  world.draw();
  const sent = await send(screen).then((response) => response.json()).catch(() => null);
  screen.payment = sent && { button, id: sent.id, version };
  world.draw();
}

/** Whether the order shows the payment or refund in progress. */
function isDone({ order, payment }) {
  const payments = [order?.paidBy, ...(order?.refunds ?? []).map(({ paymentId }) => paymentId)];
  return payment !== null && order.version > payment.version && payments.includes(payment.id);
}

const pay = ({ order }) => command("/payments", { orderId: order.id });

const refund = ({ order }, paymentId) => command("/refunds", { orderId: order.id, paymentId });

/** A payment that takes longer than the hold may last: its start makes the hold longer. */
async function paySlowly(screen) {
  await command("/payment-starts", { orderId: screen.order.id });
  await new Promise((resolve) => setTimeout(resolve, 1000 * SLOW_PAYMENT_SECONDS));
  return pay(screen);
}

async function cancel(screen, world, load) {
  const response = await world.api.cancel(screen.order.id);
  screen.error = response.ok ? null : errorMessage(response);
  await load();
}

function drawHistory(section, world, id) {
  const events = world.received.filter(({ event, applied }) => applied && orderOf(event) === id).map(({ event }) =>
    event
  );
  show(section, events.map((event) => event.id), () => [
    h("h2", { id: "history-title" }, "History"),
    h("p", { class: "hint" }, `Events of order ${short(id)}.`),
    h(
      "ol",
      { class: "history" },
      events.map((event) =>
        h(
          "li",
          {},
          icon(event["detail-type"]),
          h(
            "span",
            { class: "text" },
            h("span", { class: "sentence" }, sentence(event, world.tickets)),
            h(
              "span",
              { class: "facts" },
              h("span", {}, event["detail-type"]),
              event.source === "orders" && h("span", {}, `v${event.detail.version}`),
              h("time", {}, time(occurredAt(event))),
            ),
          ),
        )
      ),
    ),
  ]);
}

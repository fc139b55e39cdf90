// The order screen: one order, until it is paid, cancelled or expired.

import { command, errorMessage } from "./api.js";
import { countdown, sign } from "./countdown.js";
import { announce, h, show } from "./dom.js";
import { icon, occurredAt, orderOf, sentence } from "./log.js";
import { price, seconds, secondsLeft, short, STATUS, time } from "./format.js";

const ANNOUNCED_SECONDS = [20, 10, 5];
const RELOAD_SECONDS = 0.4;

const EXPLANATION = {
  paid: "The ticket is yours. A second payment is refunded.",
  cancelled: "The ticket is free again. A later payment is refunded.",
  expired: "The hold has expired; the ticket is free again. A late payment still buys the ticket " +
    "if it is free and its price has not changed; otherwise the payment is refunded.",
};

/** Creates the screen. Returns the function that redraws it. */
export function orderScreen(page, world, id) {
  // `payment`: id of the payment in progress; "pending" until the id is known.
  const screen = { order: null, error: null, loadedMs: 0, events: 0, payment: null, announced: Infinity };
  const card = h("section", { class: "panel order", "aria-labelledby": "order-title" });
  const history = h("section", { class: "panel", "aria-labelledby": "history-title" });
  page.replaceChildren(
    h("p", {}, h("a", { id: "back", href: "#/" }, "← All tickets")),
    h("h1", { id: "order-title", tabindex: -1 }, "Your order"),
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
  return () => {
    loadIfChanged(screen, world, id, load);
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
    if (events.slice(screen.events).some(({ event }) => event.detail.paymentId === screen.payment)) {
      screen.payment = null;
    }
    screen.events = events.length;
    load();
  }
  const isDue = timeLeft(screen, world) === 0;
  if (isDue && Date.now() - screen.loadedMs > RELOAD_SECONDS * 1000) load();
}

function announceSecondsLeft(screen, world) {
  const left = timeLeft(screen, world);
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
        : sign({ paid: "✓", cancelled: "×", expired: "0" }[order.status]),
      h(
        "div",
        { class: "what" },
        h("h2", {}, order.ticket.title),
        h("p", { class: "price" }, price(order.ticket.price)),
        h("p", {}, h("span", { class: `status ${order.status}` }, STATUS[order.status])),
        h(
          "p",
          { class: "lead" },
          awaits ? `Reserved for you until ${time(order.expiresAt)}.` : EXPLANATION[order.status],
        ),
        error && h("p", { class: "refusal" }, `Error: ${error}.`),
        h(
          "div",
          { class: "actions" },
          payButton(screen, world),
          awaits && h("button", { id: "cancel", class: "quiet", click: () => cancel(screen, world, load) }, "Cancel"),
        ),
      ),
    ];
  });
  card.dataset.status = order?.status ?? "";
}

function payButton(screen, world) {
  const { order: { status, ticket }, payment } = screen;
  const text = { awaiting_payment: `Pay ${price(ticket.price)}`, paid: "Pay twice" }[status] ?? "Pay too late";
  return h("button", {
    id: "pay",
    class: status === "awaiting_payment" ? "" : "quiet",
    "aria-disabled": payment && "true",
    click: () => pay(screen, world),
  }, payment ? "Paying …" : text);
}

async function pay(screen, world) {
  if (screen.payment) return;
  screen.payment = "pending";
  world.draw();
  const payment = await command("/payments", { orderId: screen.order.id }).then((response) => response.json()).catch(
    () => null,
  );
  // The order's event about this payment may have arrived before the response.
  const done = world.received.some(({ event }) => event.source === "orders" && event.detail.paymentId === payment?.id);
  screen.payment = done ? null : payment?.id;
  world.draw();
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

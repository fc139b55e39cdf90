// The order screen: one order, its payments and refunds, its receipt and its history.

import { alarm, announce } from "./announce.js";
import { actions, refunds, settle } from "./order_actions.js";
import { loadHistory } from "./backend.js";
import { drawCard } from "./card.js";
import { countdown, sign } from "./countdown.js";
import { h, show } from "./dom.js";
import { drawHistory } from "./history.js";
import { drawReceipt } from "./receipt.js";
import { errorMessage } from "./requests.js";
import { name, price, seconds, secondsLeft, STATUS, time } from "./format.js";

const ANNOUNCED_SECONDS = [20, 10, 5];
const RELOAD_SECONDS = 0.4;
const FOUND = "You have ordered this ticket already. This is your order.";
const ORDER_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const EXPLANATION = {
  paid: "The ticket is yours. A second payment is refunded.",
  cancelled: "You have given the ticket back. A later payment is refunded.",
  expired: "The hold has expired; the ticket is no longer reserved for you. A payment within 10 minutes of the end " +
    "still buys the ticket if it is available at the same price; any other payment is refunded.",
  refunded: "The payment was refunded; the ticket is no longer yours. A later payment is refunded too.",
};

/** The state of the screen of an order. */
const newScreen = (id) => ({
  id,
  order: null,
  history: [],
  // No such order.
  missing: !ORDER_ID.test(id),
  // Failure of the last load, and of the last action.
  loadError: null,
  error: null,
  // Actions in progress.
  payment: null,
  cancellation: null,
  loadedMs: 0,
  announced: Infinity,
});

/** Creates the screen, with the actions that are in progress since an earlier visit. Returns the function that redraws
 * it. */
export function orderScreen(page, world, id) {
  const screen = world.screens.get(id) ?? newScreen(id);
  Object.assign(screen, { missing: !ORDER_ID.test(id), error: null });
  world.screens.set(id, screen);
  world.open = screen;
  const isFound = world.found === id;
  world.found = null;
  const part = (labelledby, kind = "") => h("section", { class: `panel ${kind}`, "aria-labelledby": labelledby });
  const card = part("order-title", "order");
  const again = h("section", { "aria-labelledby": "again-title", hidden: true });
  const receipt = part("receipt-title", "receipt");
  const history = part("history-title");
  page.replaceChildren(
    h("p", {}, h("a", { id: "back", href: "#/" }, "← All tickets")),
    h("h1", { id: "order-title", tabindex: -1 }, "Your order"),
    h("p", { id: "found", class: "lead", hidden: !isFound }, FOUND),
    card,
    again,
    receipt,
    history,
  );
  const load = () => loadOrder(screen, world);
  if (screen.missing) alarm(missingText(world));
  else {
    load();
    world.onUpdate(({ isComplete, received }) => {
      if (isComplete || received.some(({ event }) => [event.detail?.id, event.detail?.orderId].includes(id))) load();
    });
  }
  if (isFound) announce(FOUND);
  return () => {
    const isDue = timeLeft(screen, world) === 0;
    // The server decides about the expiry.
    if (isDue && !screen.isLoading && Date.now() - screen.loadedMs > RELOAD_SECONDS * 1000) load();
    settle(screen);
    announceSecondsLeft(screen, world);
    drawOrder(card, screen, world, load);
    drawNextStep(again, screen.order, world);
    drawReceipt(receipt, screen, world);
    drawHistory(history, screen, world);
  };
}

/** Loads the order and its history. A call during a load repeats the load after it. */
async function loadOrder(screen, world) {
  screen.isStale = true;
  if (screen.isLoading) return;
  screen.isLoading = true;
  while (screen.isStale) {
    screen.isStale = false;
    screen.loadedMs = Date.now();
    const [response, history] = await Promise.all([world.api.show(screen.id), loadHistory(screen.id)]);
    if (history.ok) screen.history = history.body;
    if (response.ok && !(response.body.version < screen.order?.version)) screen.order = response.body;
    screen.missing = response.status === 404;
    screen.loadError = response.ok || screen.missing ? null : errorMessage(response);
  }
  screen.isLoading = false;
  if (screen.missing) alarm(missingText(world));
  else if (screen.loadError && !screen.order) alarm(`${screen.loadError}.`);
  world.draw();
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

const missingText = ({ buyer }) => `${name(buyer)} has no order with this id. Another buyer may have it.`;

function drawOrder(card, screen, world, load) {
  const { order, missing, loadError, error, payment, cancellation } = screen;
  card.dataset.status = order?.status ?? "";
  show(card, [order?.version, order?.status, missing, loadError, error, payment, cancellation], () => {
    if (missing) {
      return h("div", { class: "what" }, [
        h("p", { class: "refusal" }, missingText(world)),
        h("p", {}, h("a", { href: "#/orders" }, `${name(world.buyer)}’s orders`)),
      ]);
    }
    const failure = loadError && [
      h("p", { class: "refusal" }, `${loadError}.`),
      h("p", {}, h("button", { id: "reload", class: "quiet", click: load }, "Try again")),
    ];
    if (!order) return h("div", { class: "what" }, failure || h("p", { class: "lead" }, "Loading …"));
    return [
      order.status === "awaiting_payment"
        ? countdown(order.expiresAt, order.createdAt)
        : sign({ paid: "✓", cancelled: "×", expired: "0", refunded: "←" }[order.status]),
      h(
        "div",
        { class: "what" },
        h("h2", {}, order.ticket.title),
        h("p", { class: "price" }, price(order.ticket.price)),
        h("p", {}, h("span", { class: `status ${order.status}` }, STATUS[order.status])),
        h("p", { class: "lead" }, explanation(order)),
        error && h("p", { class: "refusal" }, `${error}.`),
        failure,
        h("div", { class: "actions" }, actions(screen, world, load)),
        refunds(screen, world),
      ),
    ];
  });
}

function explanation({ status, expiresAt, ticket }) {
  if (status === "awaiting_payment") return `Reserved for you until ${time(expiresAt)}.`;
  if (status === "paid" && ticket.price === 0) return "The ticket is yours. It is free: you can give it back.";
  return EXPLANATION[status];
}

/** After the end of an order without a ticket: the ticket, at its current price. */
function drawNextStep(section, order, world) {
  const ticket = order && world.tickets.get(order.ticket.id);
  section.hidden = !ticket || ticket.version < 0 || ["awaiting_payment", "paid"].includes(order.status);
  if (section.hidden) return;
  show(section, ticket.id, () => [
    h("h2", { id: "again-title" }, "The ticket now"),
    h("div", { class: "tickets" }, h("div", { "data-ticket": ticket.id })),
  ]);
  drawCard(section.querySelector("[data-ticket]"), world, "Order again");
}

// The buttons of an order: payment, refund, cancellation.

import { alarm } from "./announce.js";
import { command } from "./backend.js";
import { h } from "./dom.js";
import { errorMessage } from "./requests.js";
import { price, reason } from "./format.js";

const SLOW_PAYMENT_SECONDS = 10;
// Time until a payment without effect counts as late.
const LATE_SECONDS = 15;
const LATE = "The payment service has not confirmed yet. It may still do so; a second payment is refunded";

/** The buttons for the status of the order. */
export function actions(screen, world, load) {
  const { status, ticket, paidBy } = screen.order;
  const [awaits, isFree] = [status === "awaiting_payment", ticket.price === 0];
  const button = (id, text, send) => actionButton(screen, world, id, text, send);
  return [
    !isFree && button("pay", payText(status, ticket), pay),
    awaits && button("pay-slowly", "Pay slowly", paySlowly),
    status === "paid" && !isFree && button("refund", "Refund", () => refund(screen, paidBy)),
    (awaits || (status === "paid" && isFree)) &&
    button("cancel", awaits ? "Cancel" : "Give back", () => cancel(screen, world, load)),
  ];
}

function payText(status, ticket) {
  const text = { awaiting_payment: `Pay ${price(ticket.price)}`, paid: "Pay twice", refunded: "Pay again" };
  return text[status] ?? "Pay too late";
}

/** Payments that did not buy the order, each with a button for its refund. */
export function refunds(screen, world) {
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
          actionButton(screen, world, `refund-${paymentId}`, "Refund", () => refund(screen, paymentId)),
      )
    ),
  );
}

function actionButton(screen, world, id, text, send) {
  const action = screen[slotOf(id)];
  return h("button", {
    id,
    class: id === "pay" && screen.order.status === "awaiting_payment" ? "" : "quiet",
    "aria-disabled": action && "true",
    click: () => run(screen, world, id, send),
  }, action?.button === id ? "In progress …" : text);
}

/** One payment or refund is in progress at a time, and one cancellation: a buyer can cancel during a payment. */
const slotOf = (button) => (button === "cancel" ? "cancellation" : "payment");

/** Sends a payment, a refund or a cancellation. A payment or refund is in progress until the order shows it. */
async function run(screen, world, button, send) {
  const slot = slotOf(button);
  if (screen[slot]) return;
  // `id`: the payment id, null until it is known. `version`: that of the order before.
  const action = screen[slot] = { button, id: null, version: screen.order.version };
  screen.error = null;
  world.draw();
  const response = await send(screen);
  const fail = (error) => {
    Object.assign(screen, { [slot]: null, error, errorVersion: screen.order.version });
    alarm(`${error}.`);
    world.draw();
  };
  // Only an open screen learns of the payment.
  const late = () => world.open === screen ? fail(LATE) : screen[slot] = null;
  if (!response.ok) return fail(errorMessage(response));
  const sent = screen[slot] = response.body?.id ? { ...action, id: response.body.id } : null;
  if (sent) setTimeout(() => screen[slot] === sent && late(), LATE_SECONDS * 1000);
  world.draw();
}

/** Ends the payment in progress when the order shows it, and removes an error after a change of the order. */
export function settle(screen) {
  const { order, payment, errorVersion } = screen;
  if (order?.version > errorVersion) screen.error = null;
  const shown = [order?.paidBy, ...(order?.refunds ?? []).map(({ paymentId }) => paymentId)];
  if (payment && order.version > payment.version && shown.includes(payment.id)) screen.payment = null;
}

const pay = ({ order }) => command("/payments", { orderId: order.id });

const refund = ({ order }, paymentId) => command("/refunds", { orderId: order.id, paymentId });

/** A payment that takes longer than the hold may last: its start makes the hold longer. */
async function paySlowly(screen) {
  const started = await command("/payment-starts", { orderId: screen.order.id });
  if (!started.ok) return started;
  await new Promise((resolve) => setTimeout(resolve, 1000 * SLOW_PAYMENT_SECONDS));
  return pay(screen);
}

async function cancel(screen, world, load) {
  const response = await world.api.cancel(screen.order.id);
  await load();
  return response;
}

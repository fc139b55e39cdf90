// The second screen: one order, until it is paid, cancelled or expired.

import { play } from "./api.js";
import { countdown, sign } from "./countdown.js";
import { h, announce, show } from "./dom.js";
import { happenedAt, icon, orderOf, sentence } from "./log.js";
import { price, seconds, secondsLeft, short, STATUS, time } from "./format.js";

const SAID_AT_SECONDS = [20, 10, 5];
const ASK_AGAIN_SECONDS = 0.4;

const WHAT_NOW = {
  paid: "The ticket is yours. A second charge would be given back.",
  cancelled: "The ticket is free for others again. A charge that comes now is given back.",
  expired: "Time is up, and the ticket is free for everyone. A charge that comes now still buys it, " +
    "if nobody has taken it; if somebody has, it is given back.",
};

/** Makes the screen; what it returns draws it anew. */
export function orderScreen(page, world, id) {
  const here = { order: null, refusal: null, asked: 0, heard: 0, charged: null, said: Infinity };
  const card = h("section", { class: "panel order", "aria-labelledby": "order-title" });
  const history = h("section", { class: "panel", "aria-labelledby": "history-title" });
  page.replaceChildren(h("p", {}, h("a", { id: "back", href: "#/" }, "← All tickets")),
    h("h1", { id: "order-title", tabindex: -1 }, "Your order"), card, history);
  const ask = async () => {
    here.asked = Date.now();
    const answer = await world.api.show(id);
    if (!answer.ok) here.refusal = answer.body.errors?.[0]?.message ?? answer.body.message;
    else if (!here.order || answer.body.version >= here.order.version) here.order = answer.body;
    world.draw();
  };
  ask();
  return () => {
    askIfItHasChanged(here, world, id, ask);
    drawCard(card, here, world, ask);
    drawHistory(history, world, id);
  };
}

/** It has changed if the bus says so. If the time is up it is for the server to say: its clock counts. */
function askIfItHasChanged(here, world, id, ask) {
  const told = world.heard.filter(({ event, news }) => news && event.source === "orders" && orderOf(event) === id);
  if (told.length > here.heard) {
    if (told.slice(here.heard).some(({ event }) => event.detail.paymentId === here.charged)) here.charged = null;
    here.heard = told.length;
    ask();
  }
  if (here.order?.status !== "awaiting_payment") return;
  const left = secondsLeft(here.order.expiresAt, world.api.clock.now());
  if (left === 0 && Date.now() - here.asked > ASK_AGAIN_SECONDS * 1000) ask();
  const due = SAID_AT_SECONDS.find((mark) => left === mark);
  if (due && due < here.said) {
    here.said = due;
    announce(`${seconds(due)} left to pay.`);
  }
}

function drawCard(card, here, world, ask) {
  const { order, refusal, charged } = here;
  show(card, [order?.version, order?.status, refusal, charged], () => {
    if (!order) return h("p", { class: "lead" }, refusal ? `The service says: ${refusal}.` : "One moment …");
    const awaits = order.status === "awaiting_payment";
    return [
      awaits ? countdown(order.expiresAt, order.createdAt) : sign({ paid: "✓", cancelled: "×", expired: "0" }[order.status]),
      h("div", { class: "what" },
        h("h2", {}, order.ticket.title),
        h("p", { class: "price" }, price(order.ticket.price)),
        h("p", {}, h("span", { class: `status ${order.status}` }, STATUS[order.status])),
        h("p", { class: "lead" }, awaits ? `Yours until ${time(order.expiresAt)}, if you pay by then.` : WHAT_NOW[order.status]),
        refusal && h("p", { class: "refusal" }, `The service says: ${refusal}.`),
        h("div", { class: "actions" },
          h("button", { id: "pay", class: awaits ? "" : "quiet", "aria-disabled": charged && "true", click: () => pay(here, world) },
            charged ? "Charging …" : { awaiting_payment: `Pay ${price(order.ticket.price)}`, paid: "Pay twice" }[order.status] ?? "Pay too late"),
          awaits && h("button", { id: "cancel", class: "quiet", click: () => cancel(here, world, ask) }, "Cancel")))];
  });
  card.dataset.status = order?.status ?? "";
}

async function pay(here, world) {
  if (here.charged) return;
  here.charged = "soon";
  world.draw();
  const payment = await play("/payments", { orderId: here.order.id }).then((answer) => answer.json()).catch(() => null);
  // What has become of it may be on the bus already.
  const answered = world.heard.some(({ event }) => event.source === "orders" && event.detail.paymentId === payment?.id);
  here.charged = answered ? null : payment?.id;
  world.draw();
}

async function cancel(here, world, ask) {
  const answer = await world.api.cancel(here.order.id);
  here.refusal = answer.ok ? null : answer.body.errors?.[0]?.message ?? answer.body.message;
  await ask();
}

function drawHistory(section, world, id) {
  const events = world.heard.filter(({ event, news }) => news && orderOf(event) === id).map(({ event }) => event);
  show(section, events.map((event) => event.id), () => [
    h("h2", { id: "history-title" }, "What has become of it"),
    h("p", { class: "hint" }, `Order ${short(id)}, as told on the bus.`),
    h("ol", { class: "history" }, events.map((event) => h("li", {}, icon(event["detail-type"]),
      h("span", { class: "told" }, h("span", { class: "sentence" }, sentence(event, world.tickets)),
        h("span", { class: "facts" }, h("span", {}, event["detail-type"]),
          event.source === "orders" && h("span", {}, `v${event.detail.version}`),
          h("time", {}, time(happenedAt(event))))))))]);
}

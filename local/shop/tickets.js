// The first screen: what is on sale.

import { play } from "./api.js";
import { countdown } from "./countdown.js";
import { h, announce, show } from "./dom.js";
import { flashSale } from "./flash.js";
import { stateOf } from "./lock.js";
import { HOLD_SECONDS, hue, name, price, seconds, STATUS, time } from "./format.js";

const SHOWN_AT_FIRST = 5;

/** Makes the screen; what it returns draws it anew. */
export function ticketsScreen(page, world) {
  const list = h("ul", { class: "tickets" });
  const more = h("div");
  const orders = h("section", { class: "panel", "aria-labelledby": "orders-title", hidden: true });
  page.replaceChildren(
    h("h1", { tabindex: -1 }, "On sale"),
    h("p", { class: "lead" }, "You are ", h("strong", {}, name(world.buyer)),
      `. A ticket that you order is yours to pay for ${HOLD_SECONDS} seconds; then it is free again.`),
    list, more, orders, newTicket(), flashSale(world));
  const here = { refused: new Map(), all: false };
  return () => {
    drawList(list, more, world, here);
    drawOrders(orders, world);
  };
}

function drawList(list, more, world, here) {
  const now = world.api.clock.now();
  // The newest first; of one without a version only orders have been heard.
  const known = [...world.tickets.values()].filter((ticket) => ticket.version >= 0).reverse();
  const tickets = here.all ? known : known.slice(0, SHOWN_AT_FIRST);
  show(more, known.length - tickets.length, () => known.length > tickets.length && h("button", {
    id: "all", class: "quiet", click: () => {
      here.all = true;
      world.draw();
      list.children[SHOWN_AT_FIRST].querySelector("a, button")?.focus();
    } }, `Show all ${known.length} tickets`));
  const cards = new Map([...list.children].map((card) => [card.dataset.ticket, card]));
  show(list, tickets.map(({ id }) => id), () => tickets.map(({ id }) => cards.get(id) ?? h("li", { "data-ticket": id })));
  for (const card of list.children) drawCard(card, world.tickets.get(card.dataset.ticket), world, here, now);
}

function drawCard(card, ticket, world, here, now) {
  const state = stateOf(ticket, now);
  const refusal = here.refused.get(ticket.id);
  const over = refusal?.until && refusal.until <= now;
  card.className = `ticket ${state}`;
  card.style.setProperty("--hue", hue(ticket.title));
  show(card, [ticket, state, refusal, over], () => h("div", { class: "paper" },
    h("div", { class: "art", "aria-hidden": "true" }),
    h("div", { class: "what" }, h("h2", {}, ticket.title), h("p", { class: "price" }, price(ticket.price)),
      refusal && why(refusal, over)),
    h("div", { class: "stub" }, lock(ticket, state, world.buyer), action(ticket, state, world, here.refused))));
}

function lock(ticket, state, buyer) {
  const who = state !== "free" && (ticket.lock.buyer === buyer ? "you" : name(ticket.lock.buyer));
  if (state === "free") return h("p", { class: "state" }, h("span", { class: "dot" }), "Free");
  if (state === "sold") return h("p", { class: "state" }, `Sold to ${who}`);
  return h("p", { class: "state" }, countdown(ticket.lock.until, ticket.lock.since), `Held by ${who}`);
}

function action(ticket, state, world, refused) {
  const hers = state !== "free" && ticket.lock.buyer === world.buyer;
  if (hers) {
    return h("a", { class: "button quiet", id: `see-${ticket.id}`, href: `#/orders/${ticket.lock.order}`,
      "aria-label": `Your order of ${ticket.title}` }, "Your order");
  }
  if (state === "sold") return null;
  // What this page knows may be old by now: the service decides, so that one can always try.
  const word = state === "held" ? "Try" : "Buy";
  return h("button", { id: `buy-${ticket.id}`, class: state === "held" ? "quiet" : "", "aria-label": `${word} ${ticket.title}`,
    click: () => buy(ticket, world, refused) }, word);
}

async function buy(ticket, world, refused) {
  if (world.ordering.has(ticket.id)) return;
  world.ordering.add(ticket.id);
  try {
    const answer = await world.api.order(ticket.id);
    refused.delete(ticket.id);
    if (answer.ok) {
      location.hash = `#/orders/${answer.body.id}`;
    } else {
      refused.set(ticket.id, {
        title: answer.body.title ?? answer.body.message, status: answer.status, retryAfter: answer.retryAfter,
        until: answer.retryAfter && world.api.clock.now() + answer.retryAfter * 1000 });
      announce(answer.retryAfter ? `${answer.body.title}. Try again in ${seconds(answer.retryAfter)}.` : answer.body.title);
    }
  } finally {
    world.ordering.delete(ticket.id);
    world.draw();
  }
}

/** Why she did not get it, and from when on she can try again. */
function why({ title, status, retryAfter, until }, over) {
  if (over) return h("p", { class: "refusal over" }, "You can try again now.");
  const words = status === 409 ? "Someone was faster. " : "";
  return h("p", { class: "refusal" }, h("strong", {}, `${words}${title}.`),
    until && ` Told to wait ${retryAfter} s: try again from ${time(until)} on.`);
}

function drawOrders(section, world) {
  section.hidden = world.orders.length === 0;
  show(section, world.orders, () => [
    h("h2", { id: "orders-title" }, "Your last orders"),
    h("ul", { class: "orders" }, world.orders.map((order) => h("li", {},
      h("a", { id: `order-${order.id}`, href: `#/orders/${order.id}` }, order.ticket.title),
      h("time", {}, time(order.createdAt)),
      h("span", { class: `status ${order.status}` }, STATUS[order.status]))))]);
}

function newTicket() {
  const form = h("form", { class: "panel row", "aria-labelledby": "new-title", submit: async (event) => {
    event.preventDefault();
    const { title, price: amount } = Object.fromEntries(new FormData(form));
    await play("/tickets", { title, price: Number(amount) });
    announce(`${title} is on sale.`);
    form.reset();
  } },
  h("h2", { id: "new-title" }, "Put a ticket on sale"),
  h("label", {}, "Title", h("input", { name: "title", required: true, maxlength: 80, autocomplete: "off" })),
  h("label", { class: "small" }, "Price",
    h("input", { name: "price", type: "number", min: 0, max: 9999, step: 0.01, value: "20.00", required: true })),
  h("button", { class: "quiet" }, "Put on sale"));
  return form;
}

// The tickets screen: tickets on sale, the buyer's last orders, the seller's forms, the flash sale.

import { isProblem } from "./api.js";
import { countdown } from "./countdown.js";
import { announce, h, show } from "./dom.js";
import { flashSale } from "./flash.js";
import { stateOf } from "./lock.js";
import { changeTicket, newTicket } from "./seller.js";
import { HOLD_SECONDS, hue, name, price, seconds, STATUS, time } from "./format.js";

const SHOWN_AT_FIRST = 5;

/** Creates the screen. Returns the function that redraws it. */
export function ticketsScreen(page, world) {
  const list = h("ul", { class: "tickets" });
  const more = h("div");
  const orders = h("section", { class: "panel", "aria-labelledby": "orders-title", hidden: true });
  page.replaceChildren(
    h("h1", { tabindex: -1 }, "On sale"),
    h(
      "p",
      { class: "lead" },
      "Buyer: ",
      h("strong", {}, name(world.buyer)),
      `. An order holds its ticket for ${HOLD_SECONDS} seconds. An unpaid order then expires.`,
    ),
    list,
    more,
    orders,
    newTicket(),
    changeTicket(world),
    flashSale(world),
  );
  const screen = { refusals: new Map(), all: false };
  return () => {
    drawList(list, more, world, screen);
    drawOrders(orders, world);
  };
}

function drawList(list, more, world, screen) {
  const now = world.api.clock.now();
  // Newest first. A ticket without a version is known only from events of orders.
  const known = [...world.tickets.values()].filter((ticket) => ticket.version >= 0).reverse();
  const tickets = screen.all ? known : known.slice(0, SHOWN_AT_FIRST);
  show(more, known.length - tickets.length, () =>
    known.length > tickets.length && h("button", {
      id: "all",
      class: "quiet",
      click: () => {
        screen.all = true;
        world.draw();
        list.children[SHOWN_AT_FIRST].querySelector("a, button")?.focus();
      },
    }, `Show all ${known.length} tickets`));
  const cards = new Map([...list.children].map((card) => [card.dataset.ticket, card]));
  show(
    list,
    tickets.map(({ id }) => id),
    () => tickets.map(({ id }) => cards.get(id) ?? h("li", { "data-ticket": id })),
  );
  for (const card of list.children) drawCard(card, world.tickets.get(card.dataset.ticket), world, screen, now);
}

function drawCard(card, known, world, screen, now) {
  const refusal = screen.refusals.get(known.id);
  // The service may be ahead of the page's events.
  const isNewer = refusal?.ticket?.version > known.version;
  const ticket = isNewer ? { ...known, ...refusal.ticket, withdrawn: false } : known;
  const state = stateOf(ticket, now);
  const isOver = refusal?.until && refusal.until <= now;
  card.className = `ticket ${state}`;
  card.style.setProperty("--hue", hue(ticket.title));
  show(
    card,
    [ticket, state, refusal, isOver],
    () =>
      h(
        "div",
        { class: "paper" },
        h("div", { class: "art", "aria-hidden": "true" }),
        h(
          "div",
          { class: "what" },
          h("h2", {}, ticket.title),
          h("p", { class: "price" }, price(ticket.price)),
          refusal && refusalText(refusal, ticket, isOver),
        ),
        h(
          "div",
          { class: "stub" },
          stateText(ticket, state, world.buyer),
          action(ticket, state, world, screen.refusals),
        ),
      ),
  );
}

function stateText({ lock }, state, buyer) {
  if (state === "free") return h("p", { class: "state" }, h("span", { class: "dot" }), "Available");
  if (state === "withdrawn") return h("p", { class: "state" }, "Withdrawn");
  const holder = lock.buyer === buyer ? "you" : name(lock.buyer);
  if (state === "sold") return h("p", { class: "state" }, `Sold to ${holder}`);
  return h("p", { class: "state" }, countdown(lock.until, lock.since), `Held by ${holder}`);
}

function action(ticket, state, world, refusals) {
  if (["held", "sold"].includes(state) && ticket.lock.buyer === world.buyer) {
    return h("a", {
      class: "button quiet",
      id: `see-${ticket.id}`,
      href: `#/orders/${ticket.lock.order}`,
      "aria-label": `Your order of ${ticket.title}`,
    }, "Your order");
  }
  if (state === "sold" || ticket.withdrawn) return null;
  // The page may lag behind the service, so a held ticket can be ordered too: the service decides.
  const text = state === "held" ? "Try" : "Buy";
  return h("button", {
    id: `buy-${ticket.id}`,
    class: state === "held" ? "quiet" : "",
    "aria-label": `${text} ${ticket.title}`,
    click: () => buy(ticket, world, refusals),
  }, text);
}

async function buy(ticket, world, refusals) {
  if (world.ordering.has(ticket.id)) return;
  world.ordering.add(ticket.id);
  try {
    const response = await world.api.order(ticket);
    refusals.delete(ticket.id);
    if (response.ok) {
      world.found = response.isFound ? response.body.id : null;
      location.hash = `#/orders/${response.body.id}`;
    } else refuse(ticket, response, world, refusals);
  } finally {
    world.ordering.delete(ticket.id);
    world.draw();
  }
}

/** Keeps and announces a refusal. */
function refuse({ id }, response, world, refusals) {
  const { body: { title, message, ticket }, retryAfter } = response;
  const until = retryAfter && world.api.clock.now() + retryAfter * 1000;
  const isHoldLimit = isProblem(response, "too-many-holds");
  const refusal = { title: title ?? message, ticket, isHoldLimit, retryAfter, until };
  refusals.set(id, refusal);
  announce(`${refusal.title}.${advice(refusal, ticket)}${retryAfter ? ` Try again in ${seconds(retryAfter)}.` : ""}`);
}

/** Reason of a refusal, and the time of the next attempt. */
function refusalText(refusal, ticket, isOver) {
  if (isOver) return h("p", { class: "refusal over" }, "You can try again now.");
  const { title, retryAfter, until } = refusal;
  return h(
    "p",
    { class: "refusal" },
    h("strong", {}, `${title}.`),
    advice(refusal, ticket),
    until && ` Try again in ${retryAfter} s, at ${time(until)}.`,
  );
}

/** What the buyer can do about a refusal. */
function advice({ ticket: changed, isHoldLimit }, ticket) {
  if (changed) return ` New price: ${price(ticket.price)}. Order again to accept it.`;
  return isHoldLimit ? " Pay for one, cancel one, or wait." : "";
}

function drawOrders(section, world) {
  section.hidden = world.orders.length === 0;
  show(section, world.orders, () => [
    h("h2", { id: "orders-title" }, "Your last orders"),
    h(
      "ul",
      { class: "orders" },
      world.orders.map((order) =>
        h(
          "li",
          {},
          h("a", { id: `order-${order.id}`, href: `#/orders/${order.id}` }, order.ticket.title),
          h("time", {}, time(order.createdAt)),
          h("span", { class: `status ${order.status}` }, STATUS[order.status]),
        )
      ),
    ),
  ]);
}

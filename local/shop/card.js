// The card of a ticket, with the button that orders it.

import { alarm } from "./announce.js";
import { countdown } from "./countdown.js";
import { h, show } from "./dom.js";
import { hue, name, price } from "./format.js";
import { refusalOf, viewOf } from "./ticket_view.js";

/** Draws the card of a ticket. A card that cannot be drawn does not stop the others. */
export function drawCard(card, world, buttonText) {
  try {
    draw(card, world, world.tickets.get(card.dataset.ticket), buttonText);
  } catch (error) {
    console.warn("The ticket cannot be shown:", error);
    show(card, "broken", () => h("div", { class: "paper" }, h("p", { class: "what" }, "This ticket cannot be shown.")));
  }
}

function draw(card, world, ticket, buttonText) {
  const view = viewOf(ticket, world.refusals.get(ticket.id), world.api.clock.now(), world.buyer);
  const isBusy = world.ordering.has(ticket.id);
  card.className = `ticket ${view.state}`;
  card.style.setProperty("--hue", hue(view.title));
  show(
    card,
    [view, isBusy, ticket.lock],
    () =>
      h(
        "div",
        { class: "paper" },
        h("div", { class: "art", "aria-hidden": "true" }),
        h(
          "div",
          { class: "what" },
          h("h2", {}, view.title),
          h("p", { class: "price" }, price(view.price)),
          view.text && h("p", { class: view.text.isGood ? "refusal over" : "refusal" }, view.text.text),
        ),
        h(
          "div",
          { class: "stub" },
          stateText(view, ticket.lock, world.buyer),
          action(ticket, view, world, isBusy, buttonText),
        ),
      ),
  );
}

function stateText({ state, holder, until, isMine }, lock) {
  if (state === "free") return h("p", { class: "state" }, h("span", { class: "dot" }), "Available");
  if (state === "withdrawn") return h("p", { class: "state" }, "Withdrawn");
  const by = isMine ? "you" : holder && name(holder);
  if (state === "sold") return h("p", { class: "state" }, by ? `Sold to ${by}` : "Sold");
  return h("p", { class: "state" }, countdown(until, lock?.since), by ? `Held by ${by}` : "Reserved");
}

function action(ticket, view, world, isBusy, buttonText) {
  if (view.action === "show") {
    return h("a", {
      class: "button quiet",
      id: `see-${ticket.id}`,
      href: `#/orders/${ticket.lock.order}`,
      "aria-label": `Your order of ${view.title}`,
    }, "Your order");
  }
  if (!view.action) return null;
  const text = isBusy ? "Ordering …" : view.action === "try" ? "Try" : buttonText;
  return h("button", {
    id: `buy-${ticket.id}`,
    class: view.action === "try" ? "quiet" : "",
    "aria-label": `${text} ${view.title}`,
    "aria-disabled": isBusy && "true",
    click: () => buy(ticket.id, world),
  }, text);
}

async function buy(id, world) {
  if (world.ordering.has(id)) return;
  const ticket = world.tickets.get(id);
  const { version } = viewOf(ticket, world.refusals.get(id), world.api.clock.now(), world.buyer);
  world.ordering.add(id);
  world.refusals.delete(id);
  world.draw();
  const from = location.hash;
  const response = await world.api.order({ id, version });
  world.ordering.delete(id);
  if (!response.ok) return refuse(ticket, response, world);
  world.found = response.isFound ? response.body.id : null;
  // The buyer may have opened another screen in the meantime.
  if (location.hash === from) location.hash = `#/orders/${response.body.id}`;
  world.draw();
}

/** Keeps and announces a refusal. */
function refuse(ticket, response, world) {
  const now = world.api.clock.now();
  const refusal = refusalOf(response, ticket, now);
  world.refusals.set(ticket.id, refusal);
  world.draw();
  const view = viewOf(world.tickets.get(ticket.id), refusal, now, world.buyer);
  alarm(view.text?.text ?? `${refusal.title}.`);
}

// The tickets screen: tickets on sale, the buyer's last orders, the seller's forms, the flash sale.

import { announce } from "./announce.js";
import { drawCard } from "./card.js";
import { arrange, h, show } from "./dom.js";
import { flashSale } from "./flash.js";
import { orderList } from "./orders.js";
import { changeTicket, newTicket } from "./seller.js";
import { HOLD_SECONDS, name } from "./format.js";

const SHOWN_AT_FIRST = 8;
const SHOWN_MORE = 20;

/** Creates the screen. Returns the function that redraws it. */
export function ticketsScreen(page, world) {
  const screen = { search: "", shown: SHOWN_AT_FIRST };
  const list = h("ul", { class: "tickets" });
  const more = h("div", { class: "more" });
  const orders = h("section", { class: "panel", "aria-labelledby": "orders-title", hidden: true });
  const found = () => ordered(world).filter((id) => matches(world.tickets.get(id), screen.search));
  page.replaceChildren(
    h("h1", { tabindex: -1 }, "On sale"),
    h(
      "p",
      { class: "lead" },
      "Buyer: ",
      h("strong", {}, name(world.buyer)),
      `. An order holds its ticket for ${HOLD_SECONDS} seconds. An unpaid order then expires.`,
    ),
    search(world, screen),
    list,
    more,
    orders,
    newTicket(),
    changeTicket(world, found),
    flashSale(world, found),
  );
  return () => {
    drawList(list, more, world, screen, found());
    drawOrders(orders, world);
  };
}

function search(world, screen) {
  const input = h("input", {
    id: "search",
    type: "search",
    autocomplete: "off",
    input: () => {
      screen.search = input.value.trim().toLowerCase();
      screen.shown = SHOWN_AT_FIRST;
      world.notify({ received: [] });
      announce(document.querySelector(".more .hint").textContent);
    },
  });
  return h("label", { class: "search" }, "Search tickets", input);
}

function drawList(list, more, world, screen, found) {
  const shown = found.slice(0, screen.shown);
  const cards = new Map([...list.children].map((card) => [card.dataset.ticket, card]));
  arrange(list, shown.map((id) => cards.get(id) ?? h("li", { "data-ticket": id })));
  for (const card of list.children) drawCard(card, world, "Buy");
  const isLoaded = world.cursor !== "";
  show(more, [isLoaded, found.length, shown.length, screen.search], () => [
    h("p", { class: "hint" }, isLoaded ? summary(shown.length, found.length, screen) : "Loading …"),
    found.length > shown.length && h("button", { id: "more", class: "quiet", click: () => showMore() }, "Show more"),
  ]);

  function showMore() {
    const first = screen.shown;
    screen.shown += SHOWN_MORE;
    world.draw();
    list.children[first].querySelector("a, button")?.focus();
  }
}

function summary(shown, found, { search }) {
  const count = `${found > shown ? `${shown} of ` : ""}${found} ticket${found === 1 ? "" : "s"}`;
  return search ? `${count} match${found === 1 ? "es" : ""} “${search}”` : count;
}

const matches = ({ id, title }, search) =>
  !search || id.includes(search) || String(title).toLowerCase().includes(search);

/** Ids of the tickets: the samples first, then the newest. A ticket without a version is known only from orders. */
export function ordered({ tickets, samples }) {
  const others = [...tickets.keys()].filter((id) => !samples.includes(id)).reverse();
  return [...samples, ...others].filter((id) => tickets.get(id)?.version >= 0);
}

function drawOrders(section, world) {
  section.hidden = world.orders.length === 0;
  show(section, world.orders, () => [
    h("h2", { id: "orders-title" }, "Your last orders"),
    orderList(world.orders),
    h("p", {}, h("a", { id: "all-orders", href: "#/orders" }, "All your orders")),
  ]);
}

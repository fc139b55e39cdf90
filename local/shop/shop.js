// The page: who is buying, which screen, and what is heard from the bus.

import { Api } from "./api.js";
import { tick } from "./countdown.js";
import { h, show } from "./dom.js";
import { tell } from "./log.js";
import { orderScreen } from "./order.js";
import { ticketsScreen } from "./tickets.js";
import { name } from "./format.js";

const DRAWS_PER_SECOND = 4;
const page = document.getElementById("page");
const log = document.getElementById("log");

const { apiUrl, buyers } = await (await fetch("/config")).json();
const asked = new URLSearchParams(location.search).get("buyer");
const buyer = asked in buyers ? asked : Object.keys(buyers)[0];
const listeners = new Set();
let drawScreen = () => {};

const world = {
  buyer, api: new Api(apiUrl, buyers[buyer]), tickets: new Map(), heard: [], orders: [], ordering: new Set(),
  draw: () => {
    drawScreen();
    tick(world.api.clock.now());
  },
  /** Until another screen is shown. */
  onTickets: (listener) => listeners.add(listener),
};

function showBuyers() {
  const link = (who, attributes, ...words) => h("a", { href: `?buyer=${who}${location.hash}`, ...attributes }, ...words);
  const face = (who) => {
    const circle = h("span", { class: "face", "aria-hidden": "true" }, name(who).charAt(0));
    circle.style.setProperty("--hue", 310 + 220 * Object.keys(buyers).indexOf(who));
    return circle;
  };
  const others = Object.keys(buyers).filter((who) => who !== buyer);
  show(document.getElementById("buyers"), location.hash, () => [
    Object.keys(buyers).map((who) => link(who, { "aria-current": who === buyer && "true", class: "buyer" }, face(who), name(who))),
    others.map((who) => link(who, { target: "_blank", class: "beside" }, `Open ${name(who)}’s window`))]);
}

async function refreshOrders() {
  const answer = await world.api.list();
  if (answer.ok) world.orders = answer.body;
  world.draw();
}

function route() {
  const [, order] = location.hash.match(/^#\/orders\/(.+)$/) ?? [];
  listeners.clear();
  drawScreen = order ? orderScreen(page, world, decodeURIComponent(order)) : ticketsScreen(page, world);
  document.title = `${order ? "Your order" : "On sale"} · ${name(buyer)} · The box office`;
  showBuyers();
  world.draw();
  if (!order) refreshOrders();
}

function listen() {
  const stories = new EventSource("/events");
  let first = true;
  stories.onopen = () => {
    first = true;
    document.getElementById("trouble").hidden = true;
  };
  stories.onerror = () => { document.getElementById("trouble").hidden = false; };
  stories.onmessage = ({ data }) => {
    const { tickets, heard } = JSON.parse(data);
    world.tickets = new Map(tickets.map((ticket) => [ticket.id, ticket]));
    // The first story is all there is; the page may have been cut off for a while.
    if (first) {
      log.replaceChildren();
      world.heard = [];
    }
    tell(log, heard, world.tickets, first ? null : buyer);
    first = false;
    world.heard.push(...heard);
    for (const listener of listeners) listener();
    world.draw();
    if (heard.some(({ event }) => event.source === "orders" && event.detail?.userId === buyer)) refreshOrders();
  };
}

addEventListener("hashchange", () => {
  route();
  page.querySelector("h1").focus();
  scrollTo(0, 0);
});
setInterval(world.draw, 1000 / DRAWS_PER_SECOND);
// The first answer tells what time it is.
await refreshOrders();
route();
listen();

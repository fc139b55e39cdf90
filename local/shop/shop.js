// The page: selected buyer, current screen, and events from the shop's server.

import { Api } from "./api.js";
import { tick } from "./countdown.js";
import { h, show } from "./dom.js";
import { addToLog } from "./log.js";
import { orderScreen } from "./order.js";
import { ticketsScreen } from "./tickets.js";
import { name } from "./format.js";

const DRAWS_PER_SECOND = 4;
const page = document.getElementById("page");
const log = document.getElementById("log");

const { apiUrl, buyers } = await (await fetch("/config")).json();
const requested = new URLSearchParams(location.search).get("buyer");
const buyer = requested in buyers ? requested : Object.keys(buyers)[0];
const listeners = new Set();
let drawScreen = () => {};

const world = {
  buyer,
  api: new Api(apiUrl, buyers[buyer]),
  tickets: new Map(),
  received: [],
  orders: [],
  ordering: new Set(),
  // Id of the order that the service found instead of placing a new one.
  found: null,
  draw: () => {
    drawScreen();
    tick(world.api.clock.now());
  },
  /** Adds a listener until another screen is shown. */
  onTickets: (listener) => listeners.add(listener),
};

function showBuyers() {
  const ids = Object.keys(buyers);
  const link = (id, attributes, ...content) =>
    h("a", { href: `?buyer=${id}${location.hash}`, ...attributes }, ...content);
  const face = (id) => {
    const circle = h("span", { class: "face", "aria-hidden": "true" }, name(id).charAt(0));
    circle.style.setProperty("--hue", 310 + 220 * ids.indexOf(id));
    return circle;
  };
  show(document.getElementById("buyers"), location.hash, () => [
    ids.map((id) => link(id, { "aria-current": id === buyer && "true", class: "buyer" }, face(id), name(id))),
    ids.filter((id) => id !== buyer).map((id) =>
      link(id, { target: "_blank", class: "beside" }, `Open ${name(id)}’s window`)
    ),
  ]);
}

async function refreshOrders() {
  const response = await world.api.list();
  if (response.ok) world.orders = response.body;
  world.draw();
}

function route() {
  const [, order] = location.hash.match(/^#\/orders\/(.+)$/) ?? [];
  listeners.clear();
  drawScreen = order ? orderScreen(page, world, decodeURIComponent(order)) : ticketsScreen(page, world);
  document.title = `${order ? "Your order" : "On sale"} · ${name(buyer)} · Ticket shop`;
  showBuyers();
  world.draw();
  if (!order) refreshOrders();
}

function receiveEvents() {
  const updates = new EventSource("/events");
  const trouble = document.getElementById("trouble");
  let first = true;
  updates.onopen = () => {
    first = true;
    trouble.hidden = true;
  };
  updates.onerror = () => {
    trouble.hidden = false;
  };
  updates.onmessage = ({ data }) => {
    receive(JSON.parse(data), first);
    first = false;
  };
}

/** Applies an update. The first update of a connection holds all past events, also after a reconnect. */
function receive({ tickets, received }, first) {
  world.tickets = new Map(tickets.map((ticket) => [ticket.id, ticket]));
  if (first) {
    log.replaceChildren();
    world.received = [];
  }
  addToLog(log, received, world.tickets, first ? null : buyer);
  world.received.push(...received);
  for (const listener of listeners) listener();
  world.draw();
  if (received.some(({ event }) => event.source === "orders" && event.detail?.userId === buyer)) refreshOrders();
}

addEventListener("hashchange", () => {
  route();
  page.querySelector("h1").focus();
  scrollTo(0, 0);
});
setInterval(world.draw, 1000 / DRAWS_PER_SECOND);
// The first response sets the clock.
await refreshOrders();
route();
receiveEvents();

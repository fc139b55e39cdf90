// The page: buyer, current screen, and updates from the shop's server.

import { alarm } from "./announce.js";
import { Api, newestOrders } from "./api.js";
import { loadConfig, loadUpdates } from "./backend.js";
import { drawBuyers } from "./buyers.js";
import { tick } from "./countdown.js";
import { h, keepFocus } from "./dom.js";
import { addToLog } from "./log.js";
import { orderScreen } from "./order.js";
import { ordersScreen } from "./orders.js";
import { errorMessage } from "./requests.js";
import { ticketsScreen } from "./tickets.js";
import { Waiting } from "./waiting.js";
import { name } from "./format.js";

const DRAWS_PER_SECOND = 4;
const POLL_SECONDS = 0.4;
const RECONNECT_SECONDS = 1;
const LAST_ORDERS = 5;
const page = document.getElementById("page");
const log = document.getElementById("log");
const trouble = document.getElementById("trouble");
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const listeners = new Set();
let drawScreen = () => {};

const world = {
  buyer: new URLSearchParams(location.search).get("buyer") || "alice",
  api: null,
  samples: [],
  tickets: new Map(),
  cursor: "",
  orders: [],
  ordering: new Set(),
  // Refusals of this buyer's orders, by ticket id.
  refusals: new Map(),
  // Id of the order that the service found instead of placing a new one.
  found: null,
  // States of the screens of orders, by order id; and the state of the open one.
  screens: new Map(),
  open: null,
  draw: () => {
    waiting.update();
    drawScreen();
    tick(world.api.clock.now());
  },
  /** Adds a listener until another screen is shown. */
  onUpdate: (listener) => listeners.add(listener),
  notify: (update) => {
    for (const listener of listeners) listener(update);
    world.draw();
  },
};
const waiting = new Waiting(world);

/** Loads the configuration, again and again until the server responds. A refusal ends the page. */
async function start() {
  for (;;) {
    const response = await loadConfig(world.buyer);
    if (response.ok) return configure(response.body);
    if (response.status === 400) return refuseBuyer(response);
    showTrouble(response);
    await pause(RECONNECT_SECONDS);
  }
}

function configure({ apiUrl, buyers, samples }) {
  world.samples = samples;
  world.api = new Api(apiUrl, buyers[world.buyer], renewToken);
  drawBuyersNow = () => drawBuyers(document.getElementById("buyers"), world.buyer, Object.keys(buyers));
  addEventListener("hashchange", () => {
    route();
    page.querySelector("h1").focus();
    scrollTo(0, 0);
  });
  setInterval(world.draw, 1000 / DRAWS_PER_SECOND);
  route();
  follow();
}
let drawBuyersNow = () => {};

/** A new token, after a restart with another key. The page can call only the API of its own configuration. */
async function renewToken() {
  const response = await loadConfig(world.buyer);
  if (!response.ok) return null;
  if (response.body.apiUrl !== world.api.url) location.reload();
  world.samples = response.body.samples;
  return response.body.buyers[world.buyer];
}

function refuseBuyer(response) {
  page.replaceChildren(
    h("h1", { tabindex: -1 }, "No such buyer"),
    h("p", { class: "refusal" }, errorMessage(response)),
    h("p", {}, h("a", { href: "/" }, "Back to the shop")),
  );
  alarm(errorMessage(response));
}

function route() {
  const [, path, id] = location.hash.match(/^#\/(orders)?(?:\/(.*))?$/) ?? [];
  const screens = {
    order: ["Your order", () => orderScreen(page, world, decode(id))],
    orders: ["Your orders", () => ordersScreen(page, world)],
    tickets: ["On sale", () => ticketsScreen(page, world)],
    unknown: ["No such page", () => unknownScreen(page)],
  };
  const isHome = !location.hash.startsWith("#/") || location.hash === "#/";
  const screen = isHome ? "tickets" : !path ? "unknown" : id ? "order" : "orders";
  const [title, create] = screens[screen];
  listeners.clear();
  world.open = null;
  drawScreen = create();
  document.title = `${title} · ${name(world.buyer)} · Ticket shop`;
  drawBuyersNow();
  world.draw();
  if (screen === "tickets") refreshOrders();
}

/** A link can be cut off in the middle of an escape sequence. */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function unknownScreen() {
  page.replaceChildren(
    h("h1", { tabindex: -1 }, "No such page"),
    h("p", { class: "lead" }, "The address of this page is not complete or has changed."),
    h("p", {}, h("a", { id: "back", href: "#/" }, "All tickets")),
  );
  return () => {};
}

async function refreshOrders() {
  const response = await world.api.list(newestOrders(LAST_ORDERS));
  if (response.ok) world.orders = response.body;
  world.draw();
}

/** Receives updates for ever. */
async function follow() {
  for (;;) {
    const response = await loadUpdates(world.cursor);
    if (response.ok) receive(response.body);
    if (response.ok) trouble.hidden = true;
    else showTrouble(response);
    await pause(response.ok ? POLL_SECONDS : RECONNECT_SECONDS);
  }
}

function showTrouble(response) {
  const text = `${errorMessage(response)}. This page reconnects automatically.`;
  if (!trouble.hidden && trouble.textContent === text) return;
  trouble.hidden = false;
  trouble.textContent = text;
}

/** Applies an update. A complete update holds all tickets and the last events, also after a restart. */
function receive(update) {
  const { cursor, isComplete, tickets, received } = update;
  const isFirst = world.cursor === "";
  if (isComplete) {
    world.tickets = new Map();
    log.replaceChildren();
    // The server was restarted, perhaps without its data.
    if (!isFirst) renewToken().then((token) => world.api.token = token ?? world.api.token);
  }
  world.cursor = cursor;
  if (received.length === 0 && !isComplete) return;
  for (const ticket of tickets) world.tickets.set(ticket.id, ticket);
  addToLog(log, received, world.tickets, isComplete ? null : world.buyer);
  world.notify(update);
  const own = received.filter(({ event }) => event.source === "orders" && event.detail?.userId === world.buyer);
  const hasRoom = own.some(({ event }) => event.detail.status !== "awaiting_payment");
  // A complete update may lack events of this buyer.
  if (!isFirst && (isComplete || hasRoom)) forgetHoldLimit();
  if (!isFirst && (isComplete || own.length > 0)) refreshOrders();
}

/** A hold that has ended makes room for another one. */
function forgetHoldLimit() {
  for (const [ticket, { kind }] of world.refusals) if (kind === "holds") world.refusals.delete(ticket);
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  page.querySelector("h1").focus();
});
keepFocus();
start();

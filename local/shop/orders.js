// The screen with all orders of the buyer.

import { newestOrders } from "./api.js";
import { alarm } from "./announce.js";
import { h, show } from "./dom.js";
import { errorMessage } from "./requests.js";
import { dateTime, name, price, STATUS } from "./format.js";

const PAGE_SIZE = 20;

/** A list of orders with links to them. */
export const orderList = (orders) =>
  h(
    "ul",
    { class: "orders" },
    orders.map((order) =>
      h(
        "li",
        {},
        h("a", { id: `order-${order.id}`, href: `#/orders/${order.id}` }, order.ticket.title),
        h("span", { class: "facts" }, price(order.ticket.price), " · ", h("time", {}, dateTime(order.createdAt))),
        h("span", { class: `status ${order.status}` }, STATUS[order.status]),
      )
    ),
  );

/** Creates the screen. Returns the function that redraws it. */
export function ordersScreen(page, world) {
  const screen = { orders: [], next: newestOrders(PAGE_SIZE), isLoading: false, error: null };
  const section = h("section", { class: "panel", "aria-labelledby": "all-title" });
  page.replaceChildren(
    h("p", {}, h("a", { id: "back", href: "#/" }, "← All tickets")),
    h("h1", { id: "all-title", tabindex: -1 }, `${name(world.buyer)}’s orders`),
    section,
  );
  const load = async () => {
    if (screen.isLoading) return;
    Object.assign(screen, { isLoading: true, error: null });
    world.draw();
    const response = await world.api.list(screen.next);
    screen.isLoading = false;
    if (response.ok) Object.assign(screen, { orders: [...screen.orders, ...response.body], next: response.nextPage });
    else alarm(screen.error = `${errorMessage(response)}.`);
    world.draw();
  };
  load();
  world.onUpdate(({ received }) =>
    received.filter(({ applied }) => applied).forEach(({ event }) => apply(event, screen))
  );
  return () => show(section, screen, () => content(screen, load));
}

/** Changes the order of an event. */
function apply({ source, detail }, screen) {
  const isNewer = ({ id, version }) => source === "orders" && id === detail.id && version < detail.version;
  screen.orders = screen.orders.map((order) => isNewer(order) ? { ...order, ...detail } : order);
}

function content({ orders, next, isLoading, error }, load) {
  const text = error ? "Try again" : "Show more";
  return [
    orderList(orders),
    isLoading && h("p", { class: "hint" }, "Loading …"),
    !isLoading && !next && orders.length === 0 && h("p", { class: "hint" }, "No orders yet."),
    error && h("p", { class: "refusal" }, error),
    next && h("button", { id: "more-orders", class: "quiet", "aria-disabled": isLoading && "true", click: load }, text),
  ];
}

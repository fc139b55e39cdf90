// The shop's server: configuration, events, and the roles of the ticket service and of the payment service.

import { send } from "./requests.js";

const query = (path, name, value) => send(`${path}?${new URLSearchParams({ [name]: value })}`);

/** The address of the API, tokens, and sample tickets. */
export const loadConfig = (buyer) => query("/config", "buyer", buyer);
/** The events after a cursor, and the tickets that they changed. */
export const loadUpdates = (cursor) => query("/updates", "after", cursor);
/** All events of an order. */
export const loadHistory = (order) => query("/histories", "order", order);
export const loadFlashSale = (id) => query("/flash-sales", "id", id);

/** Sends a command, in the role of the ticket service or the payment service. */
export const command = (path, body) => send(path, { method: "POST", body });

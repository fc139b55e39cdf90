// Client of the orders service, as any shop could use it.

import { send } from "./requests.js";

/** Estimate of the server's clock. The `Date` header has whole seconds, so each response limits the
 * difference between the two clocks to an interval. Several responses narrow the interval. The local
 * clock counts as correct while the interval contains 0. */
export class Clock {
  #ahead = { min: 0, max: 0 };
  #known = false;

  /** Adds a response: its `Date`, and the local times of request and response, in milliseconds. */
  observe(date, sentMs, receivedMs) {
    const [min, max] = [date - receivedMs, date + 999 - sentMs];
    const both = { min: Math.max(min, this.#ahead.min), max: Math.min(max, this.#ahead.max) };
    // A contradiction means that a clock was set: only the newest response counts.
    this.#ahead = this.#known && both.min <= both.max ? both : { min, max };
    this.#known = true;
  }

  now() {
    const { min, max } = this.#ahead;
    return Date.now() + (min <= 0 && max >= 0 ? 0 : (min + max) / 2);
  }
}

const MAX_ATTEMPTS = 3;
const NEXT_PAGE = /<([^>]+)>; rel="next"/;

export class Api {
  /** `renew` fetches a new token; it returns null if there is none. */
  constructor(url, token, renew) {
    this.url = url;
    this.token = token;
    this.renew = renew;
    this.clock = new Clock();
  }

  /** Orders a ticket at the version that the buyer has seen, and at no other price. All attempts share one
   * idempotency key, so they create at most one order. `isFound`: the buyer had the ticket already. */
  async order({ id, version }) {
    const headers = { "Idempotency-Key": crypto.randomUUID() };
    for (let attempt = 1;; attempt += 1) {
      const response = await this.#send("POST", "/api/orders", { ticketId: id, ticketVersion: version }, headers);
      // The service may not know the ticket's newest version yet.
      const isBehind = isProblem(response, "ticket-changed") && response.retryAfter !== null;
      if ((response.status !== 503 && !isBehind) || attempt === MAX_ATTEMPTS) {
        return { ...response, isFound: response.status === 200 && attempt === 1 };
      }
      await new Promise((resolve) => setTimeout(resolve, 1000 * (response.retryAfter ?? 1)));
    }
  }

  /** Lists the buyer's orders, newest first. `nextPage` of the response is the path of the next page, or null. */
  async list(path) {
    const response = await this.#send("GET", path);
    return { ...response, nextPage: response.headers.get("Link")?.match(NEXT_PAGE)?.[1] ?? null };
  }

  show(id) {
    return this.#send("GET", `/api/orders/${encodeURIComponent(id)}`);
  }

  cancel(id) {
    return this.#send("DELETE", `/api/orders/${encodeURIComponent(id)}`);
  }

  async #send(method, path, body, headers = {}) {
    const response = await this.#sendOnce(method, path, body, headers);
    // API Gateway adds CORS headers to the responses of an integration (AWS: "Configure CORS for HTTP APIs in API
    // Gateway"), so a browser may hide the 401 of the authorizer: it looks like no response.
    const mayBeUnauthorized = response.status === 401 || (response.status === 0 && !response.isLate);
    const token = mayBeUnauthorized ? await this.renew() : null;
    if (!token) return response;
    this.token = token;
    return this.#sendOnce(method, path, body, headers);
  }

  async #sendOnce(method, path, body, headers) {
    const sentMs = Date.now();
    const response = await send(this.url + path, {
      method,
      headers: { Authorization: `Bearer ${this.token}`, ...headers },
      body,
    });
    const date = Date.parse(response.headers.get("Date"));
    if (date) this.clock.observe(date, sentMs, Date.now());
    const retryAfter = response.headers.get("Retry-After");
    return { ...response, retryAfter: retryAfter === null ? null : Number(retryAfter) };
  }
}

/** Path of the first page of the buyer's orders. */
export const newestOrders = (limit) => `/api/orders?sort=-createdAt&limit=${limit}`;

/** Whether a response is an error of this type. */
export const isProblem = ({ body }, type) => body?.type === `urn:problem-type:orders:${type}`;

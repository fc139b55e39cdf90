// Client of the orders service, as any shop could use it.

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

export class Api {
  constructor(url, token) {
    this.url = url;
    this.token = token;
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

  /** Lists the buyer's newest orders. */
  list() {
    return this.#send("GET", "/api/orders?sort=-createdAt&limit=5");
  }

  show(id) {
    return this.#send("GET", `/api/orders/${encodeURIComponent(id)}`);
  }

  cancel(id) {
    return this.#send("DELETE", `/api/orders/${encodeURIComponent(id)}`);
  }

  async #send(method, path, body, headers = {}) {
    const sentMs = Date.now();
    const request = {
      method,
      cache: "no-store",
      headers: {
        Authorization: `Bearer ${this.token}`,
        ...(body && { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body && JSON.stringify(body),
    };
    const response = await fetch(this.url + path, request).catch(() => null);
    if (!response) return { ok: false, status: 0, retryAfter: null, body: { message: "The service does not respond" } };
    this.clock.observe(Date.parse(response.headers.get("Date")), sentMs, Date.now());
    const retryAfter = response.headers.get("Retry-After");
    return {
      ok: response.ok,
      status: response.status,
      retryAfter: retryAfter === null ? null : Number(retryAfter),
      body: response.status === 204 ? null : await response.json(),
    };
  }
}

/** Whether a response is an error of this type. */
export const isProblem = ({ body }, type) => body?.type === `urn:problem-type:orders:${type}`;

/** The message of an error response. */
export const errorMessage = ({ body }) => body.errors?.[0]?.message ?? body.message;

/** Sends a command to the shop's server, in the role of the ticket service or the payment service. */
export async function command(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path} failed with status ${response.status}`);
  return response;
}

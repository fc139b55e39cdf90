// The orders service, as any shop's page would call it.

/** The server's clock, as far as its answers have told. `Date` has whole seconds; but each answer says that
 * the server's clock was in that second at some moment between the request and the answer, and together
 * they leave little room. If there is room for it, our own clock is right. */
export class Clock {
  #ahead = { least: 0, most: 0 };
  #known = false;

  note(date, sentMs, receivedMs) {
    const [least, most] = [date - receivedMs, date + 999 - sentMs];
    const both = { least: Math.max(least, this.#ahead.least), most: Math.min(most, this.#ahead.most) };
    // If they contradict each other, one of the two clocks has been set: the newest counts.
    this.#ahead = this.#known && both.least <= both.most ? both : { least, most };
    this.#known = true;
  }

  now() {
    const { least, most } = this.#ahead;
    return Date.now() + (least <= 0 && most >= 0 ? 0 : (least + most) / 2);
  }
}

export class Api {
  constructor(url, token) {
    this.url = url;
    this.token = token;
    this.clock = new Clock();
  }

  /** One key for one press of the button: however often it has to be sent, it makes one order. */
  async order(ticketId, key = crypto.randomUUID()) {
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.#call("POST", "/api/orders", { ticketId }, { "Idempotency-Key": key });
      if (answer.status !== 503 || attempt === 3) return answer;
      await new Promise((resolve) => setTimeout(resolve, 1000 * (answer.retryAfter ?? 1)));
    }
  }

  /** Her newest orders. */
  list() {
    return this.#call("GET", "/api/orders?sort=-createdAt&limit=5");
  }

  show(id) {
    return this.#call("GET", `/api/orders/${encodeURIComponent(id)}`);
  }

  cancel(id) {
    return this.#call("DELETE", `/api/orders/${encodeURIComponent(id)}`);
  }

  async #call(method, path, body, headers = {}) {
    const sentMs = Date.now();
    const request = {
      method,
      cache: "no-store",
      headers: { Authorization: `Bearer ${this.token}`, ...(body && { "Content-Type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
    };
    const answer = await fetch(this.url + path, request).catch(() => null);
    if (!answer) return { ok: false, status: 0, retryAfter: null, body: { message: "The service does not answer" } };
    this.clock.note(Date.parse(answer.headers.get("Date")), sentMs, Date.now());
    const retryAfter = answer.headers.get("Retry-After");
    return {
      ok: answer.ok,
      status: answer.status,
      retryAfter: retryAfter === null ? null : Number(retryAfter),
      body: answer.status === 204 ? null : await answer.json(),
    };
  }
}

/** The services around this one, which the shop's own server plays. */
export async function play(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
  return answer;
}

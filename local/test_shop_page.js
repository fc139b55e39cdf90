// Tests of the page's pure functions: each state of a ticket with each refusal, before and after the next event and the
// end of the wait; the picture of an order; names.

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { changeOf, refusalOf, viewOf } from "./shop/ticket_view.js";
import { spansOf, widthsOf } from "./shop/history.js";
import { idOf } from "./shop/buyers.js";
import { ordered } from "./shop/tickets.js";
import { duration, name, time } from "./shop/format.js";

const NOW = Date.parse("2026-11-27T10:00:00.000Z");
const at = (seconds) => new Date(NOW + seconds * 1000).toISOString();
const clock = (seconds) => time(at(seconds));
const TICKET = { id: "concert-1", title: "Concert", price: 20, version: 3, withdrawn: false, lock: null };
const lock = (buyer, until) => ({ order: "order-1", buyer, since: at(-5), until });

// Alice looks at each of these tickets.
const TICKETS = {
  free: TICKET,
  lapsed: { ...TICKET, lock: lock("bob", at(-1)) },
  held: { ...TICKET, lock: lock("bob", at(25)) },
  "held and withdrawn": { ...TICKET, lock: lock("bob", at(25)), withdrawn: true },
  sold: { ...TICKET, lock: lock("bob", null) },
  withdrawn: { ...TICKET, withdrawn: true },
  "own hold": { ...TICKET, lock: lock("alice", at(25)) },
  "own ticket": { ...TICKET, lock: lock("alice", null) },
};

const problem = (type, title, more = {}) => ({ type: `urn:problem-type:orders:${type}`, title, ...more });
const newer = { id: "concert-1", title: "Concert", price: 25, version: 4 };
const RESPONSES = {
  reserved: { status: 409, retryAfter: 20, body: problem("ticket-reserved", "The ticket is reserved") },
  sold: { status: 409, retryAfter: null, body: problem("ticket-sold", "The ticket is sold") },
  withdrawn: { status: 410, retryAfter: null, body: problem("ticket-withdrawn", "The ticket has been withdrawn") },
  changed: {
    status: 409,
    retryAfter: null,
    body: problem("ticket-changed", "The ticket has changed", { ticket: newer }),
  },
  behind: {
    status: 409,
    retryAfter: 1,
    body: problem("ticket-changed", "The ticket has changed", { ticket: { ...newer, version: 2 } }),
  },
  holds: { status: 409, retryAfter: 20, body: problem("too-many-holds", "Too many unpaid tickets") },
  unknown: { status: 404, retryAfter: null, body: problem("no-such-ticket", "No such ticket") },
  "no response": { status: 0, retryAfter: null, body: { message: "The service does not respond" } },
  busy: { status: 503, retryAfter: 1, body: { type: "about:blank", title: "Service Unavailable" } },
  "too many requests": { status: 429, retryAfter: null, body: { message: "Too Many Requests" } },
  "page of a gateway": { status: 502, retryAfter: null, body: null },
  unauthorized: { status: 401, retryAfter: null, body: { message: "Unauthorized" } },
  invalid: { status: 400, retryAfter: null, body: { type: "about:blank", title: "Bad Request" } },
};

// The wait of a refusal ends after 20 seconds, the hold of the ticket after 25 seconds.
const TIMES = { "at once": 1, "after the wait": 22, "after the hold": 27 };

const FREE_AGAIN = "The ticket is free again. You can order it now.";
const ON_SALE_AGAIN = "The ticket is on sale again. You can order it now.";
const CHANGED = "The ticket has changed. New price: 25.00. Order again to accept it.";
const HOLDS = `Too many unpaid tickets. Pay for one, cancel one, or wait. Try again at ${clock(20)}.`;
const reserved = (seconds) => `The ticket is reserved. Try again at ${clock(seconds)}.`;
const retry = (title) => `${title}. Try again: if the order was placed, you get it.`;

// Expected state and text of a refusal at once, for a ticket that is free by the events.
const AT_ONCE = {
  reserved: ["held", reserved(20)],
  sold: ["sold", null],
  withdrawn: ["withdrawn", null],
  changed: ["free", CHANGED],
  behind: ["free", "The service does not know the newest price yet. Try again."],
  holds: ["free", HOLDS],
  unknown: ["free", "The service does not know this ticket yet. Try again."],
  "no response": ["free", retry("The service does not respond")],
  busy: ["free", retry("Service Unavailable")],
  "too many requests": ["free", retry("Too Many Requests")],
  "page of a gateway": ["free", retry("The service responds with 502")],
  unauthorized: ["free", "Unauthorized."],
  invalid: ["free", "Bad Request."],
};

const refusal = (kind, ticket) => refusalOf(RESPONSES[kind], ticket, NOW);

function view(kind, ticket, seconds, seen = ticket) {
  const { state, text, action, price } = viewOf(ticket, refusal(kind, seen), NOW + seconds * 1000, "alice");
  return { state, text: text?.text ?? null, isGood: text?.isGood ?? null, action, price };
}

for (const kind of Object.keys(RESPONSES)) {
  Deno.test(`refusal of a free ticket explains itself: ${kind}`, () => {
    const { state, text } = view(kind, TICKETS.free, 1);
    deepStrictEqual([state, text], AT_ONCE[kind]);
    deepStrictEqual(view(kind, TICKETS.lapsed, 1).text, text, "an expired hold is none");
  });

  for (const [name, ticket] of Object.entries(TICKETS)) {
    Deno.test(`state and text agree: ${kind}, ${name}`, () => {
      for (const seconds of Object.values(TIMES)) {
        agree(view(kind, ticket, seconds), name, `the newest: ${seconds} s`);
        // An event has arrived since the refusal.
        agree(view(kind, ticket, seconds, { ...TICKET }), name, `outdated: ${seconds} s`);
      }
    });
  }
}

/** What no card may show, whatever the refusal. */
function agree({ state, text, isGood, action }, ticket, when) {
  const isOwn = ticket.startsWith("own");
  if (isOwn && action === "show") return strictEqual(text, null, `text beside an own order: ${text}, ${when}`);
  if (["sold", "withdrawn"].includes(state)) {
    strictEqual(text, null, `text beside a ticket that cannot be had: ${text}, ${when}`);
    strictEqual(action, null);
  }
  if (state === "free") {
    if (ticket !== "held and withdrawn") strictEqual(action, "buy");
    strictEqual(text?.includes("reserved") ?? false, false, `${text} beside a free ticket, ${when}`);
    if (isGood) match(text, /now\.$/);
  }
  if (state === "held") {
    strictEqual(isGood ?? false, false, `good news beside a held ticket, ${when}`);
    strictEqual(text?.includes("now.") ?? false, false, `${text} beside a held ticket, ${when}`);
  }
}

Deno.test("an event after the refusal counts more than the refusal", () => {
  const seen = { ...TICKET };
  const texts = (kind) => Object.values(TICKETS).slice(0, 6).map((ticket) => view(kind, ticket, 1, seen).text);
  const held = reserved(25);
  deepStrictEqual(texts("reserved"), [FREE_AGAIN, FREE_AGAIN, held, held, null, null]);
  deepStrictEqual(texts("sold"), [ON_SALE_AGAIN, ON_SALE_AGAIN, null, null, null, null]);
  deepStrictEqual(texts("withdrawn"), [ON_SALE_AGAIN, ON_SALE_AGAIN, null, null, null, null]);
  deepStrictEqual(texts("holds"), [HOLDS, HOLDS, HOLDS, HOLDS, null, null]);
  for (const kind of ["behind", "unknown", "no response", "busy", "unauthorized", "invalid"]) {
    deepStrictEqual(texts(kind), [null, null, null, null, null, null], kind);
  }
});

Deno.test("the end of a hold and of a wait free the ticket without an event", () => {
  deepStrictEqual(view("reserved", TICKETS.free, 22).text, FREE_AGAIN);
  deepStrictEqual(view("reserved", TICKETS.held, 22).text, reserved(25));
  deepStrictEqual(view("reserved", TICKETS.held, 27).text, FREE_AGAIN);
  deepStrictEqual(view("holds", TICKETS.free, 22).text, "You can order it now.");
  deepStrictEqual(view("holds", TICKETS.held, 22).text, null);
});

Deno.test("a newer price is shown at once, also after its event", () => {
  const { price, action } = view("changed", TICKETS.free, 1);
  deepStrictEqual([price, action], [25, "buy"]);
  const after = { ...TICKET, price: 25, version: 4 };
  deepStrictEqual(view("changed", after, 1, TICKETS.free).text, CHANGED);
  const retitled = { ...newer, price: 20 };
  const { text } = viewOf(TICKET, { ...refusal("changed", TICKET), ticket: retitled }, NOW, "alice");
  strictEqual(text.text, "The ticket has changed. Order again to accept it.");
});

Deno.test("a card without a refusal has no text", () => {
  const views = Object.values(TICKETS).map((ticket) => viewOf(ticket, undefined, NOW, "alice"));
  deepStrictEqual(views.map(({ text }) => text), Array(8).fill(null));
  deepStrictEqual(views.map(({ action }) => action), ["buy", "buy", "try", null, null, null, "show", "show"]);
});

Deno.test("a waiting buyer hears that the ticket is free, sold or withdrawn", () => {
  const change = (before, ticket) => changeOf(before, viewOf(ticket, undefined, NOW, "alice"), name);
  strictEqual(change("held", TICKETS.free), "Concert is free again.");
  strictEqual(change("held", TICKETS.sold), "Concert is sold to Bob.");
  strictEqual(change("free", TICKETS.withdrawn), "Concert is withdrawn.");
  for (const same of ["free", "held", "sold", "withdrawn"]) strictEqual(change(same, TICKETS[same]), null);
  strictEqual(change("held", TICKETS["own ticket"]), null);
  strictEqual(change(undefined, TICKETS.free), null);
});

Deno.test("the picture of an order has a span for each state, and the last has no end", () => {
  const event = (version, status, seconds) => ({
    source: "orders",
    detail: { version, status, metadata: { occurredAt: at(seconds) } },
  });
  const events = [
    event(1, "paid", 10),
    event(0, "awaiting_payment", 0),
    { source: "payments", detail: {}, time: at(9) },
    event(2, "paid", 20),
    event(3, "refunded", 40),
  ];
  const spans = spansOf(events);
  deepStrictEqual(spans, [
    { status: "awaiting_payment", from: NOW, to: NOW + 10_000 },
    { status: "paid", from: NOW + 10_000, to: NOW + 40_000 },
    { status: "refunded", from: NOW + 40_000, to: null },
  ]);
  strictEqual(widthsOf(spans).reduce((sum, width) => sum + width, 0), 100);
  deepStrictEqual(widthsOf(spans.slice(2)), [100]);
  deepStrictEqual(widthsOf([{ from: NOW, to: NOW }, { from: NOW, to: null }]), [75, 25]);
});

Deno.test("sample tickets come first, then the newest; a ticket known only from orders is not listed", () => {
  const versions = Object.entries({ "old-1": 0, "sample-1": 3, "sample-2": 0, "ghost-1": -1, "new-1": 0 });
  const tickets = new Map(versions.map(([id, version]) => [id, { id, version }]));
  const samples = ["sample-2", "sample-1", "sample-3"];
  deepStrictEqual(ordered({ tickets, samples }), ["sample-2", "sample-1", "new-1", "old-1"]);
});

Deno.test("names and lengths of time are readable", () => {
  deepStrictEqual(["alice", "fan-007", "mary-ann", "r2-d2", "0"].map(name), [
    "Alice",
    "Fan 7",
    "Mary Ann",
    "R2 D2",
    "0",
  ]);
  deepStrictEqual(["Zoë Müller", "carol", " R2 D2! ", "李"].map(idOf), ["zoe-muller", "carol", "r2-d2", ""]);
  deepStrictEqual([400, 1000, 61_000, 7_200_000, 200_000_000].map(duration), [
    "0 seconds",
    "1 second",
    "1 minute",
    "2 hours",
    "2 days",
  ]);
});

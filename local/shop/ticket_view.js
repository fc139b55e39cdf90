// State and text of a ticket's card: pure functions of the ticket, the refusal of an order, and the time.

import { HOLD_SECONDS, price, secondsLeft, time } from "./format.js";

/** "free", "held", "sold" or "withdrawn". An expired hold counts as none, even before its `OrderExpired` arrives. */
export function stateOf({ lock, withdrawn }, now) {
  if (lock && !lock.until) return "sold";
  if (lock && secondsLeft(lock.until, now) > 0) return "held";
  return withdrawn ? "withdrawn" : "free";
}

const KINDS = {
  "ticket-reserved": "reserved",
  "ticket-sold": "sold",
  "ticket-withdrawn": "withdrawn",
  "ticket-changed": "changed",
  "too-many-holds": "holds",
  "no-such-ticket": "unknown",
};

/** The refusal of an order, from the response. `seen` is the ticket that the buyer has ordered. */
export function refusalOf({ status, retryAfter, body }, seen, now) {
  const kind = KINDS[body?.type?.split(":").at(-1)];
  const isBehind = kind === "changed" && body.ticket.version < seen.version;
  const until = retryAfter ?? (kind === "reserved" ? HOLD_SECONDS : null);
  return {
    kind: isBehind ? "behind" : kind ?? (status === 0 || status === 429 || status >= 500 ? "failed" : "rejected"),
    title: body?.title ?? body?.message ?? `The service responds with ${status}`,
    ticket: isBehind ? undefined : body?.ticket,
    at: now,
    until: until === null ? null : now + until * 1000,
    seen,
  };
}

/** The card of a ticket: title, price, state, holder and end of a hold, text about the refusal, possible action.
 *
 * A refusal is newer than the events until the next event of its ticket. From then on, the events count. */
export function viewOf(ticket, refusal, now, buyer) {
  const isNewest = refusal?.seen === ticket;
  const changed = refusal?.ticket?.version > ticket.version ? { ...refusal.ticket, withdrawn: false } : {};
  const known = { ...ticket, ...changed };
  const shown = { state: stateOf(known, now), holder: known.lock?.buyer ?? null, until: known.lock?.until ?? null };
  const isMine = ["held", "sold"].includes(shown.state) && shown.holder === buyer;
  const { state, holder, until } = isNewest && !isMine ? corrected(shown, known, refusal, now) : shown;
  const view = { title: known.title, price: known.price, version: known.version, state, holder, until, isMine };
  return { ...view, text: isMine ? null : textOf(view, refusal, isNewest, now), action: actionOf(view, known) };
}

/** The state after a refusal that is newer than all events. */
function corrected(shown, { lock }, { kind, at, until }, now) {
  if (kind === "sold") return { state: "sold", holder: null, until: null };
  if (kind === "withdrawn" && shown.state === "free") return { ...shown, state: "withdrawn" };
  const wasHeld = lock?.until && Date.parse(lock.until) > at;
  if (kind === "reserved" && shown.state === "free" && !wasHeld && now < until) {
    return { state: "held", holder: null, until: new Date(until).toISOString() };
  }
  return shown;
}

/** A sold or withdrawn ticket needs no text, and a held ticket only the time of the next attempt. */
function textOf({ state, until, price: amount }, refusal, isNewest, now) {
  if (!refusal || state === "sold" || state === "withdrawn") return null;
  const bad = (text) => ({ text, isGood: false });
  const good = (text) => ({ text, isGood: true });
  const isOver = refusal.until !== null && refusal.until <= now;
  if (refusal.kind === "holds") {
    if (isOver) return state === "free" ? good("You can order it now.") : null;
    return bad(`Too many unpaid tickets. Pay for one, cancel one, or wait. Try again at ${time(refusal.until)}.`);
  }
  if (state === "held") {
    return refusal.kind === "reserved" ? bad(`The ticket is reserved. Try again at ${time(until)}.`) : null;
  }
  switch (refusal.kind) {
    case "reserved":
      return good("The ticket is free again. You can order it now.");
    case "sold":
    case "withdrawn":
      return good("The ticket is on sale again. You can order it now.");
    case "changed":
      return bad(`The ticket has changed.${newPrice(refusal.seen.price, amount)} Order again to accept it.`);
  }
  // The other refusals are about one attempt: after a change of the ticket, they explain nothing.
  if (!isNewest) return null;
  switch (refusal.kind) {
    case "behind":
      return bad("The service does not know the newest price yet. Try again.");
    case "unknown":
      return bad("The service does not know this ticket yet. Try again.");
    case "failed":
      return bad(`${refusal.title}. Try again: if the order was placed, you get it.`);
    default:
      return bad(`${refusal.title}.`);
  }
}

const newPrice = (seen, amount) => (seen === amount ? "" : ` New price: ${price(amount)}.`);

/** "show" the buyer's order, "buy", "try" a held ticket because the page may lag behind the service, or null. */
function actionOf({ state, isMine }, { withdrawn }) {
  if (isMine) return "show";
  if (state === "sold" || state === "withdrawn" || withdrawn) return null;
  return state === "held" ? "try" : "buy";
}

/** The announcement for a buyer who waits for a ticket, after a change of its state; null if there is none. */
export function changeOf(before, { state, title, holder, isMine }, nameOf) {
  if (!before || before === state || isMine) return null;
  if (state === "free") return `${title} is free again.`;
  if (state === "sold") return holder ? `${title} is sold to ${nameOf(holder)}.` : `${title} is sold.`;
  return state === "withdrawn" ? `${title} is withdrawn.` : null;
}

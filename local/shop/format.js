// How things are called and written.

export const HOLD_SECONDS = 30;

/** `alice` is Alice, and `fan-007` is Fan 7. */
export const name = (buyer) => (buyer.charAt(0).toUpperCase() + buyer.slice(1)).replace(/-0*/, " ");
export const price = (amount) => (amount == null ? "" : amount.toFixed(2));
/** Some ids begin alike, others do not. */
export const short = (id) => `${String(id).slice(0, 4)}…${String(id).slice(-4)}`;
export const time = (at) => new Date(at).toLocaleTimeString("en-GB");
export const seconds = (count) => (count === 1 ? "1 second" : `${count} seconds`);
export const secondsLeft = (until, now) => Math.max(0, Math.ceil((Date.parse(until) - now) / 1000));

/** A hue for a word, always the same, and another for words that are alike. */
export function hue(word) {
  let mixed = 0x811c9dc5;
  for (const letter of word) mixed = Math.imul(mixed ^ letter.codePointAt(0), 0x01000193);
  return ((mixed ^ (mixed >>> 15)) >>> 0) % 360;
}

export const STATUS = { awaiting_payment: "Awaiting payment", paid: "Paid", cancelled: "Cancelled", expired: "Expired" };

const REASON = {
  already_paid: "the order was paid already", order_cancelled: "the order was cancelled",
  ticket_taken: "the ticket has gone to someone else",
};
export const reason = (word) => REASON[word] ?? String(word).replaceAll("_", " ");

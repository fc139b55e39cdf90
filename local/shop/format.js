// Names, numbers and times as text.

export const HOLD_SECONDS = 30;

/** Display name of a buyer: `alice` is Alice, `mary-ann` is Mary Ann, `fan-007` is Fan 7. */
export const name = (buyer) => buyer.split("-").map(capitalized).join(" ");
const capitalized = (word) => word.replace(/^0+(?=\d)/, "").replace(/^./, (letter) => letter.toUpperCase());
export const price = (amount) => (amount === 0 ? "Free" : amount?.toFixed(2) ?? "");
/** First and last characters of an id; ids can share either end. */
export const short = (id) => `${String(id).slice(0, 4)}…${String(id).slice(-4)}`;
export const time = (at) => new Date(at).toLocaleTimeString("en-GB");
export const dateTime = (at) =>
  new Date(at).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
/** A length of time in its largest unit. */
export function duration(ms) {
  const units = [["day", 86_400_000], ["hour", 3_600_000], ["minute", 60_000], ["second", 1000]];
  const [unit, length] = units.find(([, length]) => ms >= length) ?? units.at(-1);
  const count = Math.round(ms / length);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
export const seconds = (count) => (count === 1 ? "1 second" : `${count} seconds`);
export const secondsLeft = (until, now) => Math.max(0, Math.ceil((Date.parse(until) - now) / 1000));

/** Hue for a text: a hash (FNV-1a), so that similar texts get different hues. */
export function hue(text) {
  let hash = 0x811c9dc5;
  for (const letter of text) hash = Math.imul(hash ^ letter.codePointAt(0), 0x01000193);
  return ((hash ^ (hash >>> 15)) >>> 0) % 360;
}

export const STATUS = {
  awaiting_payment: "Awaiting payment",
  paid: "Paid",
  cancelled: "Cancelled",
  expired: "Expired",
  refunded: "Refunded",
};

const REASON = {
  already_paid: "the order was already paid",
  order_cancelled: "the order was cancelled",
  order_refunded: "the order was refunded",
  ticket_taken: "another buyer has the ticket",
  ticket_changed: "the ticket is no longer sold at this price",
  too_late: "the payment was sent too late",
  wrong_amount: "the amount is not the price",
};
export const reason = (code) => REASON[code] ?? String(code).replaceAll("_", " ");

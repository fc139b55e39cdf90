// State of a ticket, derived from its lock.

import { secondsLeft } from "./format.js";

/** "free", "held" or "sold". An expired hold counts as free, even before its `OrderExpired` arrives. */
export function stateOf({ lock }, now) {
  if (!lock) return "free";
  if (!lock.until) return "sold";
  return secondsLeft(lock.until, now) > 0 ? "held" : "free";
}

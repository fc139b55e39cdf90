// State of a ticket, derived from its lock.

import { secondsLeft } from "./format.js";

/** "free", "held", "sold" or "withdrawn". An expired hold counts as none, even before its `OrderExpired` arrives. */
export function stateOf({ lock, withdrawn }, now) {
  if (lock && !lock.until) return "sold";
  if (lock && secondsLeft(lock.until, now) > 0) return "held";
  return withdrawn ? "withdrawn" : "free";
}

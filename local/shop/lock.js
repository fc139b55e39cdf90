// What a lock means.

import { secondsLeft } from "./format.js";

/** Whether a ticket is free, held or sold. A hold that is over is none, whatever has been heard since. */
export function stateOf({ lock }, now) {
  if (!lock) return "free";
  if (!lock.until) return "sold";
  return secondsLeft(lock.until, now) > 0 ? "held" : "free";
}

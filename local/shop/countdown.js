// Countdowns: a ring with the seconds left. `tick` redraws all countdowns on the page.

import { h, s } from "./dom.js";
import { HOLD_SECONDS, secondsLeft } from "./format.js";

/** A countdown to `until`, by the server's clock. The ring is full at `since`. */
export function countdown(until, since) {
  const total = since ? (Date.parse(until) - Date.parse(since)) / 1000 : HOLD_SECONDS;
  return h(
    "span",
    { class: "ring", role: "timer", "aria-label": "Seconds left", "data-until": until, "data-total": total },
    ring(),
    h("b"),
  );
}

/** A ring without a countdown, with a text inside. */
export function sign(text) {
  return h("span", { class: "ring still", "aria-hidden": "true" }, ring(), h("b", {}, text));
}

function ring() {
  return s(
    "svg",
    { viewBox: "0 0 40 40", "aria-hidden": "true" },
    s("circle", { cx: 20, cy: 20, r: 17, class: "whole" }),
    s("circle", { cx: 20, cy: 20, r: 17, class: "left", pathLength: 100 }),
  );
}

/** Redraws all countdowns on the page. */
export function tick(now) {
  for (const element of document.querySelectorAll("[data-until]")) {
    const { until, total } = element.dataset;
    const text = String(secondsLeft(until, now));
    const number = element.querySelector("b");
    if (number.textContent !== text) number.textContent = text;
    const part = Math.min(1, Math.max(0, (Date.parse(until) - now) / 1000 / total));
    element.querySelector(".left").style.setProperty("stroke-dashoffset", 100 - 100 * part);
    element.classList.toggle("soon", Number(text) <= 5);
  }
}

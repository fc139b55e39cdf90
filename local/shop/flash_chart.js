// The results of a flash sale: sentences, a dot for each buyer, a histogram of the response times.

import { h, s } from "./dom.js";
import { name } from "./format.js";

export const BUYERS = 100;
const BARS = 24;
const REFUSALS = [409, 410];
const isRefused = ({ status }) => REFUSALS.includes(status);
const BOX = { left: 8, top: 12, width: 504, height: 150 };

/** Sentences: the winner, the refusals with their reason, the other results, the response times. */
export function summary(results) {
  const winners = results.filter(({ status }) => status === 201);
  const refused = results.filter(isRefused);
  const others = results.length - winners.length - refused.length;
  const times = results.map(({ ms }) => ms).sort((a, b) => a - b);
  const after = refused.find(({ retryAfter }) => retryAfter)?.retryAfter;
  return [
    winners.length ? `${winners.map(({ buyer }) => name(buyer)).join(" and ")} got the ticket.` : "No order succeeded.",
    refused.length &&
    `${refused.length} refused: ${refused[0].reason.toLowerCase()}${after ? `, try again in ${after} s` : ""}.`,
    others > 0 && `${others} failed.`,
    `Response time: median ${quantile(times, 0.5)} ms, maximum ${quantile(times, 1)} ms.`,
  ].filter(Boolean);
}

const quantile = (sorted, part) => Math.round(sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)]);

function kindOf(result) {
  if (!result) return "waits";
  if (isRefused(result)) return "refused";
  return result.status === 201 ? "won" : "other";
}

/** Draws the results of a flash sale so far, and the reason for which no further ones arrive. */
export function drawChart(chart, results, problem) {
  const text = results.length < BUYERS ? [`${results.length} of ${BUYERS} responses …`] : summary(results);
  chart.dataset.results = results.length;
  chart.replaceChildren(
    h("p", { class: "summary" }, text.map((part) => h("span", {}, part, " "))),
    problem ? h("p", { class: "refusal" }, `${problem}. The results follow.`) : "",
    h("div", { class: "charts" }, crowd(results), latencies(results)),
  );
}

/** A dot for each buyer. */
function crowd(results) {
  const byBuyer = new Map(results.map((result) => [result.buyer, result]));
  const dots = Array.from({ length: BUYERS }, (_, index) => {
    const kind = kindOf(byBuyer.get(`fan-${String(index + 1).padStart(3, "0")}`));
    const [x, y] = [index % 10, Math.floor(index / 10)].map((place) => 9 + place * 18);
    return s("circle", { class: kind, cx: x, cy: y, r: kind === "won" ? 8 : 5 });
  });
  const won = results.filter(({ status }) => status === 201).length;
  const refused = results.filter(isRefused).length;
  return h(
    "figure",
    {},
    s("svg", {
      class: "crowd",
      viewBox: "0 0 180 180",
      role: "img",
      "aria-label": `A dot for each of ${BUYERS} buyers: ${won} got the ticket, ${refused} were refused`,
    }, dots),
    h(
      "figcaption",
      {},
      h("span", { class: "key won" }, `${won} ordered`),
      h("span", { class: "key refused" }, `${refused} refused`),
    ),
  );
}

/** A histogram of the response times. */
function latencies(results) {
  const max = Math.max(10, ...results.map(({ ms }) => ms));
  const bars = Array.from({ length: BARS }, () => ({ refused: 0, won: 0, other: 0 }));
  for (const result of results) bars[Math.min(BARS - 1, Math.floor(result.ms * BARS / max))][kindOf(result)] += 1;
  const { left, top, width, height } = BOX;
  const marks = [0, 0.5, 1].map((part) =>
    s("text", {
      x: left + part * width,
      y: top + height + 20,
      "text-anchor": ["start", "middle", "end"][part * 2],
    }, `${Math.round(max * part)} ms`)
  );
  return h(
    "figure",
    {},
    s(
      "svg",
      { class: "bars", viewBox: "0 0 520 190", role: "img", "aria-label": "Number of responses by response time" },
      s("line", { x1: left, x2: left + width, y1: top + height, y2: top + height }),
      rectangles(bars),
      marks,
    ),
    h("figcaption", {}, "Response times on this machine"),
  );
}

/** The rectangles of a stacked bar chart. A won order is always tall enough to be visible. */
function rectangles(bars) {
  const { left, top, width, height } = BOX;
  const tallest = Math.max(1, ...bars.map(({ refused, won, other }) => refused + won + other));
  const step = width / BARS;
  return bars.flatMap((bar, index) => {
    let base = top + height;
    return ["refused", "other", "won"].filter((kind) => bar[kind]).map((kind) => {
      const tall = Math.max(kind === "won" ? 5 : 1, (bar[kind] / tallest) * height);
      base -= tall;
      return s("rect", { class: kind, x: left + index * step + 1, y: base, width: step - 2, height: tall, rx: 1.5 });
    });
  });
}

// The flash sale: 100 buyers order one ticket at once. Shows the results as a chart.

import { command } from "./api.js";
import { announce, h, s } from "./dom.js";
import { name } from "./format.js";
import { ticketSelect } from "./select.js";

const BUYERS = 100;
const BARS = 24;
const BOX = { left: 8, top: 12, width: 504, height: 150 };

/** Creates the panel. */
export function flashSale(world) {
  const chart = h("div", { class: "chart", id: "flash-chart" });
  const button = h("button", {}, `Send ${BUYERS} orders`);
  const ticket = ticketSelect(world, "flash-ticket");
  const start = async (event) => {
    event.preventDefault();
    if (button.ariaDisabled || !ticket.select.value) return;
    button.ariaDisabled = "true";
    ticket.lock();
    try {
      await run(ticket.select.value, chart);
    } finally {
      button.ariaDisabled = null;
      ticket.unlock();
    }
  };
  return h(
    "form",
    { class: "panel", "aria-labelledby": "flash-title", submit: start },
    h("h2", { id: "flash-title" }, "Flash sale"),
    h("p", { class: "hint" }, `${BUYERS} buyers order one ticket at the same moment. Exactly one order succeeds.`),
    h("div", { class: "row" }, h("label", {}, "Ticket", ticket.select), button),
    chart,
  );
}

async function run(ticketId, chart) {
  const results = [];
  draw(chart, results);
  announce(`${BUYERS} orders are sent.`);
  for await (const line of lines(await command("/flash-sales", { ticketId }))) {
    results.push(JSON.parse(line));
    draw(chart, results);
  }
  announce(summary(results).join(" "));
}

/** Yields the lines of a response as they arrive. */
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const complete = (rest + part.value).split("\n");
    rest = complete.pop();
    yield* complete;
  }
}

/** Sentences: the winner, the refusals with their reason, the other results, the response times. */
export function summary(results) {
  const winners = results.filter(({ status }) => status === 201);
  const refused = results.filter(({ status }) => status === 409);
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
const kindOf = (result) => (!result ? "waits" : { 201: "won", 409: "refused" }[result.status] ?? "other");

function draw(chart, results) {
  const text = results.length < BUYERS ? [`${results.length} of ${BUYERS} responses …`] : summary(results);
  chart.dataset.results = results.length;
  chart.replaceChildren(
    h("p", { class: "summary" }, text.map((part) => h("span", {}, part, " "))),
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
  const refused = results.filter(({ status }) => status === 409).length;
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

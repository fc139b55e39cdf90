// The history of an order: a picture of its states over time, and its events.

import { h, s, show } from "./dom.js";
import { icon, occurredAt, sentence } from "./log.js";
import { duration, short, STATUS, time } from "./format.js";

// Parts of the picture, in percent: the last state, which has no end, and the shortest of the others.
const LAST_WIDTH = 25;
const MIN_WIDTH = 6;
const HEIGHT = 28;

/** Draws the history from the received events of the order. */
export function drawHistory(section, { id, order, history }, world) {
  const events = history.filter(({ applied }) => applied).map(({ event }) => event);
  section.hidden = !order;
  show(section, events.map((event) => event.id), () => [
    h("h2", { id: "history-title" }, "History"),
    h("p", { class: "hint" }, `Events of order ${short(id)}.`),
    picture(spansOf(events)),
    h("ol", { class: "history" }, events.map((event) => entry(event, world))),
  ]);
}

/** The states of an order in sequence: [{status, from, to}], in milliseconds. The last one has no end. */
export function spansOf(events) {
  const states = events.filter(({ source }) => source === "orders").sort((a, b) => a.detail.version - b.detail.version);
  const spans = [];
  for (const event of states) {
    const { status } = event.detail;
    const from = Date.parse(occurredAt(event));
    if (spans.at(-1)?.status === status) continue;
    if (spans.length > 0) spans.at(-1).to = from;
    spans.push({ status, from, to: null });
  }
  return spans;
}

/** Width of each span in percent. */
export function widthsOf(spans) {
  const lengths = spans.slice(0, -1).map(({ from, to }) => Math.max(0, to - from));
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const free = 100 - LAST_WIDTH - MIN_WIDTH * lengths.length;
  const widths = lengths.map((length) => MIN_WIDTH + free * (total ? length / total : 1 / lengths.length));
  return spans.length === 1 ? [100] : [...widths, LAST_WIDTH];
}

function picture(spans) {
  if (spans.length === 0) return null;
  const widths = widthsOf(spans);
  const starts = widths.map((_, index) => widths.slice(0, index).reduce((sum, width) => sum + width, 0));
  const rectangles = spans.map(({ status }, index) =>
    s("rect", { class: status, x: `${starts[index]}%`, width: `${widths[index]}%`, height: HEIGHT })
  );
  return h(
    "figure",
    { class: "states" },
    s("svg", { role: "img", "aria-label": describe(spans), width: "100%", height: HEIGHT }, rectangles),
    h(
      "figcaption",
      {},
      spans.map(({ status, from, to }) =>
        h(
          "span",
          { class: `key ${status}` },
          `${STATUS[status]} ${to ? `for ${duration(to - from)}` : `from ${time(from)}`}`,
        )
      ),
    ),
  );
}

const describe = (spans) =>
  `States over time: ${
    spans.map(({ status, from, to }) => `${STATUS[status].toLowerCase()}${to ? ` for ${duration(to - from)}` : ""}`)
      .join(", then ")
  }`;

const entry = (event, world) =>
  h(
    "li",
    {},
    icon(event["detail-type"]),
    h(
      "span",
      { class: "text" },
      h("span", { class: "sentence" }, sentence(event, world.tickets)),
      h(
        "span",
        { class: "facts" },
        h("span", {}, event["detail-type"]),
        event.source === "orders" && h("span", {}, `v${event.detail.version}`),
        h("time", {}, time(occurredAt(event))),
      ),
    ),
  );

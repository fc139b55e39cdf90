// A hundred buyers at once for one ticket, and a picture of what they were answered.

import { play } from "./api.js";
import { h, s, announce, show } from "./dom.js";
import { stateOf } from "./lock.js";
import { name } from "./format.js";

const BUYERS = 100;
const BARS = 24;
const BOX = { left: 8, top: 12, width: 504, height: 150 };

/** The panel with the button. It draws itself when the answers come. */
export function flashSale(world) {
  const picture = h("div", { class: "picture", id: "flash-picture" });
  let picked = false;
  const chosen = h("select", { id: "flash-ticket", change: () => { picked = true; } });
  const button = h("button", {}, `Let ${BUYERS} buyers try`);
  const offer = () => {
    const tickets = [...world.tickets.values()].reverse();
    const before = chosen.value;
    show(chosen, tickets.map(({ id }) => id), () => tickets.map(({ id, title }) => h("option", { value: id }, title)));
    const free = tickets.find((ticket) => stateOf(ticket, world.api.clock.now()) === "free");
    // Hers, if she has picked one; else one that is free, for that is the better show.
    chosen.value = picked || !free ? before || tickets[0]?.id : free.id;
  };
  const start = async (event) => {
    event.preventDefault();
    if (button.ariaDisabled || !chosen.value) return;
    button.ariaDisabled = "true";
    picked = true;
    try {
      await run(chosen.value, picture);
    } finally {
      button.ariaDisabled = null;
      picked = false;
    }
  };
  world.onTickets(offer);
  offer();
  return h("form", { class: "panel", "aria-labelledby": "flash-title", submit: start },
    h("h2", { id: "flash-title" }, "Flash sale"),
    h("p", { class: "hint" }, `${BUYERS} buyers order one ticket in the same moment. One gets it.`),
    h("div", { class: "row" }, h("label", {}, "Ticket", chosen), button), picture);
}

async function run(ticketId, picture) {
  const answers = [];
  draw(picture, answers);
  announce(`${BUYERS} buyers are trying.`);
  for await (const line of lines(await play("/flash-sales", { ticketId }))) {
    answers.push(JSON.parse(line));
    draw(picture, answers);
  }
  announce(summary(answers).join(" "));
}

/** The lines of an answer, each as soon as it has come. */
async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const whole = (rest + part.value).split("\n");
    rest = whole.pop();
    yield* whole;
  }
}

/** Who got it; how many were refused, and why; how many do not know; how long it took. */
export function summary(answers) {
  const winners = answers.filter(({ status }) => status === 201);
  const refused = answers.filter(({ status }) => status === 409);
  const others = answers.length - winners.length - refused.length;
  const times = answers.map(({ ms }) => ms).sort((a, b) => a - b);
  const after = refused.find(({ retryAfter }) => retryAfter)?.retryAfter;
  return [
    winners.length ? `${winners.map(({ buyer }) => name(buyer)).join(" and ")} got it.` : "Nobody got it.",
    refused.length && `${refused.length} were told: ${refused[0].why.toLowerCase()}${after ? `, try again in ${after} s` : ""}.`,
    others > 0 && `${others} were answered otherwise.`,
    `Half of them waited up to ${at(times, 0.5)} ms, the last ${at(times, 1)} ms.`,
  ].filter(Boolean);
}

const at = (sorted, part) => Math.round(sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)]);
const kindOf = (answer) => (!answer ? "waits" : { 201: "won", 409: "refused" }[answer.status] ?? "other");

function draw(picture, answers) {
  const text = answers.length < BUYERS ? [`${answers.length} of ${BUYERS} have been answered …`] : summary(answers);
  picture.dataset.answers = answers.length;
  picture.replaceChildren(h("p", { class: "summary" }, text.map((part) => h("span", {}, part, " "))),
    h("div", { class: "charts" }, crowd(answers), latencies(answers)));
}

/** A dot for each buyer. */
function crowd(answers) {
  const byBuyer = new Map(answers.map((answer) => [answer.buyer, answer]));
  const dots = Array.from({ length: BUYERS }, (_, index) => {
    const kind = kindOf(byBuyer.get(`fan-${String(index + 1).padStart(3, "0")}`));
    const [x, y] = [index % 10, Math.floor(index / 10)].map((place) => 9 + place * 18);
    return s("circle", { class: kind, cx: x, cy: y, r: kind === "won" ? 8 : 5 });
  });
  const won = answers.filter(({ status }) => status === 201).length;
  const refused = answers.filter(({ status }) => status === 409).length;
  return h("figure", {},
    s("svg", { class: "crowd", viewBox: "0 0 180 180", role: "img",
      "aria-label": `A dot for each of ${BUYERS} buyers: ${won} got the ticket, ${refused} were refused` }, dots),
    h("figcaption", {}, h("span", { class: "key won" }, `${won} got it`), h("span", { class: "key refused" }, `${refused} refused`)));
}

/** How many were answered after how long. */
function latencies(answers) {
  const most = Math.max(10, ...answers.map(({ ms }) => ms));
  const step = most / BARS;
  const bars = Array.from({ length: BARS }, () => ({ refused: 0, won: 0, other: 0 }));
  for (const answer of answers) bars[Math.min(BARS - 1, Math.floor(answer.ms / step))][kindOf(answer)] += 1;
  const tallest = Math.max(1, ...bars.map(({ refused, won, other }) => refused + won + other));
  const { left, top, width, height } = BOX;
  const wide = width / BARS;
  const rects = bars.flatMap((bar, index) => {
    let base = top + height;
    return ["refused", "other", "won"].filter((kind) => bar[kind]).map((kind) => {
      const tall = Math.max(kind === "won" ? 5 : 1, (bar[kind] / tallest) * height);
      base -= tall;
      return s("rect", { class: kind, x: left + index * wide + 1, y: base, width: wide - 2, height: tall, rx: 1.5 });
    });
  });
  const marks = [0, 0.5, 1].map((part) => s("text", {
    x: left + part * width, y: top + height + 20, "text-anchor": ["start", "middle", "end"][part * 2] },
  `${Math.round(most * part)} ms`));
  return h("figure", {},
    s("svg", { class: "bars", viewBox: "0 0 520 190", role: "img", "aria-label": "How many were answered after how many milliseconds" },
      s("line", { x1: left, x2: left + width, y1: top + height, y2: top + height }), rects, marks),
    h("figcaption", {}, "How long each waited for the answer, on this machine"));
}

// The flash sale: 100 buyers order one ticket at once.

import { alarm, announce } from "./announce.js";
import { command, loadFlashSale } from "./backend.js";
import { h } from "./dom.js";
import { BUYERS, drawChart, summary } from "./flash_chart.js";
import { errorMessage } from "./requests.js";
import { ticketSelect } from "./select.js";

const POLL_SECONDS = 0.2;
// The tab keeps the id of its last sale, so that a reload shows the results.
const STORED = "flash-sale";

/** Creates the panel. */
export function flashSale(world, candidates) {
  const chart = h("div", { class: "chart", id: "flash-chart" });
  const button = h("button", { id: "flash-start" }, `Send ${BUYERS} orders`);
  const ticket = ticketSelect(world, "flash-ticket", candidates);
  const start = async (event) => {
    event.preventDefault();
    if (button.ariaDisabled || !ticket.select.value) return;
    button.ariaDisabled = "true";
    ticket.lock();
    showResults(chart, []);
    announce(`${BUYERS} orders are sent.`);
    const response = await command("/flash-sales", { ticketId: ticket.select.value });
    if (response.ok) {
      await follow(response.body, chart);
      ticket.unlock();
    } else {
      // The ticket stays selected for another try.
      fail(chart, response);
    }
    button.ariaDisabled = null;
  };
  restore(chart);
  return h(
    "form",
    { class: "panel", "aria-labelledby": "flash-title", submit: start },
    h("h2", { id: "flash-title" }, "Flash sale"),
    h("p", { class: "hint" }, `${BUYERS} buyers order one ticket at the same moment. At most one order succeeds.`),
    h("div", { class: "row" }, h("label", {}, "Ticket", ticket.select), button),
    chart,
  );
}

/** Shows the last sale of this tab, after a reload or on the way back to this screen. */
async function restore(chart) {
  const id = sessionStorage.getItem(STORED);
  const response = id && await loadFlashSale(id);
  if (response?.ok) await follow(response.body, chart, false);
}

/** Shows the results of a sale until all are there, or until another sale starts. */
async function follow(sale, chart, isNew = true) {
  sessionStorage.setItem(STORED, sale.id);
  chart.dataset.sale = sale.id;
  drawChart(chart, sale.results);
  while (sale.results.length < BUYERS && chart.dataset.sale === sale.id) {
    await new Promise((resolve) => setTimeout(resolve, POLL_SECONDS * 1000));
    const response = await loadFlashSale(sale.id);
    if (response.status === 404) return fail(chart, response);
    if (response.ok) sale = response.body;
    drawChart(chart, sale.results, response.ok ? null : errorMessage(response));
  }
  if (isNew) announce(summary(sale.results).join(" "));
}

function showResults(chart, results) {
  drawChart(chart, results);
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  chart.scrollIntoView({ block: "nearest", behavior });
}

function fail(chart, response) {
  const text = `${errorMessage(response)}. Send the orders again.`;
  delete chart.dataset.results;
  chart.replaceChildren(h("p", { class: "refusal" }, text));
  alarm(text);
}

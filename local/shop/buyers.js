// The buyers in the head of the page: the sample buyers, and a form for any other name.

import { alarm } from "./announce.js";
import { h, show } from "./dom.js";
import { name } from "./format.js";

const MAX_LENGTH = 40;

/** Draws the links to the buyers. Each link keeps the current screen. */
export function drawBuyers(nav, buyer, buyers) {
  const link = (id, attributes, ...content) =>
    h("a", { href: `?buyer=${encodeURIComponent(id)}${location.hash}`, ...attributes }, ...content);
  const others = buyers.filter((id) => id !== buyer);
  show(nav, [location.hash, buyers], () => [
    buyers.map((id) =>
      link(
        id,
        { id: `buyer-${id}`, "aria-current": id === buyer && "true", class: "buyer" },
        face(buyers, id),
        h("span", {}, name(id)),
      )
    ),
    link(others[0], { id: "beside", target: "_blank", class: "beside" }, `Open ${name(others[0])}’s window`),
    h("details", { class: "another" }, h("summary", { id: "another" }, "Another buyer"), form()),
  ]);
}

function face(buyers, id) {
  const circle = h("span", { class: "face", "aria-hidden": "true" }, name(id).charAt(0));
  circle.style.setProperty("--hue", 310 + 220 * buyers.indexOf(id));
  return circle;
}

function form() {
  const input = h("input", { id: "other-buyer", required: true, maxlength: MAX_LENGTH, autocomplete: "off" });
  const problem = h("p", { class: "refusal", hidden: true }, "Use letters from a to z or digits.");
  const open = (event) => {
    event.preventDefault();
    const id = idOf(input.value);
    problem.hidden = Boolean(id);
    if (id) location.search = `?buyer=${id}`;
    else alarm(problem.textContent);
  };
  return h("form", { submit: open }, h("label", {}, "Name", input), h("button", { class: "quiet" }, "Open"), problem);
}

/** The id of a buyer with this name: `Zoë Müller` is zoe-muller. Empty if the name has no such letter. */
export const idOf = (text) =>
  text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");

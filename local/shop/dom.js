// Elements, and what is said to those who do not see them change.

const SVG = "http://www.w3.org/2000/svg";
const SECONDS_BETWEEN_WORDS = 2;

/** An element; an attribute that is a function listens, one that is false, null or undefined is left out. */
export function h(name, attributes = {}, ...children) {
  return build(document.createElement(name), attributes, children);
}

/** An element of a picture. */
export function s(name, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, name), attributes, children);
}

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** Puts new content into an element, once for each state that it can show. What had the focus keeps it, if
 * it is still there, by its id. */
export function show(element, state, content) {
  const key = JSON.stringify(state);
  if (element.dataset.shows === key) return;
  element.dataset.shows = key;
  const focused = element.contains(document.activeElement) ? document.activeElement.id : null;
  element.replaceChildren(...[content()].flat(Infinity).filter(Boolean));
  if (focused) (document.getElementById(focused) ?? element.querySelector("a, button"))?.focus();
}

const waiting = [];
let speaking = false;

/** Says something to those who listen to the page; not more than they can follow. */
export function announce(text) {
  if (waiting.at(-1) !== text) waiting.push(text);
  if (!speaking) sayNext();
}

function sayNext() {
  speaking = waiting.length > 0;
  if (!speaking) return;
  document.getElementById("said").textContent = waiting.splice(0).join(" ");
  setTimeout(sayNext, SECONDS_BETWEEN_WORDS * 1000);
}

// Elements, and announcements for screen readers.

const SVG = "http://www.w3.org/2000/svg";
const ANNOUNCEMENT_SECONDS = 2;

/** Creates an HTML element. A function attribute is an event listener; false, null and undefined are omitted. */
export function h(name, attributes = {}, ...children) {
  return build(document.createElement(name), attributes, children);
}

/** Creates an SVG element. */
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

/** Replaces the content of an element if `state` has changed. An element with an id keeps the focus. */
export function show(element, state, content) {
  const key = JSON.stringify(state);
  if (element.dataset.shows === key) return;
  element.dataset.shows = key;
  const focused = element.contains(document.activeElement) ? document.activeElement.id : null;
  element.replaceChildren(...[content()].flat(Infinity).filter(Boolean));
  if (!focused) return;
  (document.getElementById(focused) ?? element.querySelector("a, button") ?? document.querySelector("h1"))?.focus();
}

const waiting = [];
let speaking = false;

/** Announces a text to screen readers, with a pause after each announcement. */
export function announce(text) {
  if (waiting.at(-1) !== text) waiting.push(text);
  if (!speaking) announceNext();
}

function announceNext() {
  speaking = waiting.length > 0;
  if (!speaking) return;
  document.getElementById("announcements").textContent = waiting.splice(0).join(" ");
  setTimeout(announceNext, ANNOUNCEMENT_SECONDS * 1000);
}

// Elements, and the focus after a redraw.

const SVG = "http://www.w3.org/2000/svg";
const FOCUSABLE = "a[href], button, input, select, summary, h1[tabindex]";

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

/** Replaces the content of an element if `state` has changed. */
export function show(element, state, content) {
  const key = JSON.stringify(state);
  if (element.dataset.shows === key) return;
  element.dataset.shows = key;
  element.replaceChildren(...[content()].flat(Infinity).filter(Boolean));
}

/** Puts elements into a list in this sequence. Elements that are in place stay untouched. */
export function arrange(list, elements) {
  elements.forEach((element, index) => {
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
  });
  while (list.children.length > elements.length) list.lastChild.remove();
}

/** Keeps the focus inside the page when the focused element is moved, removed or hidden: on the element with the same
 * id, otherwise on the first control of the nearest remaining container. */
export function keepFocus() {
  let path = [];
  const restore = () => {
    if (document.activeElement !== document.body || path.length === 0) return;
    const [focused, ...containers] = path;
    const same = focused.isConnected ? focused : focused.id && document.getElementById(focused.id);
    const next = isVisible(same) ? same : containers.filter(isVisible).map(firstControl).find(Boolean);
    next?.focus({ preventScroll: true });
  };
  addEventListener("focusin", (event) => {
    path = event.composedPath().filter((node) => node instanceof Element);
  });
  // A click beside all controls takes the focus away.
  addEventListener("pointerdown", () => {
    path = [];
  });
  new MutationObserver(restore).observe(document.body, {
    subtree: true,
    childList: true,
    attributes: true,
    attributeFilter: ["hidden"],
  });
}

const isVisible = (element) => Boolean(element?.isConnected && element.checkVisibility());
const firstControl = (container) => [...container.querySelectorAll(FOCUSABLE)].find(isVisible);

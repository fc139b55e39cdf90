// A form field for a ticket.

import { h, show } from "./dom.js";
import { stateOf } from "./ticket_view.js";

const MAX_OPTIONS = 50;

/** A list of the first tickets of `candidates()`. Selects a free ticket until the user selects one. */
export function ticketSelect(world, id, candidates) {
  let locked = false;
  const select = h("select", {
    id,
    change: () => {
      locked = true;
    },
  });
  const update = () => {
    const before = select.value;
    const ids = candidates().slice(0, MAX_OPTIONS);
    // The selected ticket stays, whatever the search finds.
    if (locked && before && !ids.includes(before)) ids.unshift(before);
    const tickets = ids.map((id) => world.tickets.get(id)).filter(Boolean);
    show(
      select,
      tickets.map(({ id, title }) => [id, title]),
      () => tickets.map(({ id, title }) => h("option", { value: id }, title)),
    );
    const free = tickets.find((ticket) => stateOf(ticket, world.api.clock.now()) === "free");
    select.value = locked || !free ? before || (ids[0] ?? "") : free.id;
  };
  world.onUpdate(update);
  update();
  return {
    select,
    lock: () => {
      locked = true;
    },
    unlock: () => {
      locked = false;
    },
  };
}

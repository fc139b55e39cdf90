// A form field for a ticket.

import { h, show } from "./dom.js";
import { stateOf } from "./lock.js";

/** A list of all tickets. Selects a free ticket until the user selects one. */
export function ticketSelect(world, id) {
  let locked = false;
  const select = h("select", {
    id,
    change: () => {
      locked = true;
    },
  });
  const update = () => {
    const tickets = [...world.tickets.values()].reverse();
    const before = select.value;
    show(select, tickets.map(({ id }) => id), () => tickets.map(({ id, title }) => h("option", { value: id }, title)));
    const free = tickets.find((ticket) => stateOf(ticket, world.api.clock.now()) === "free");
    select.value = locked || !free ? before || tickets[0]?.id : free.id;
  };
  world.onTickets(update);
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

// Buyers who wait: the announcement when a ticket that was refused is free again, sold or withdrawn.

import { announce } from "./announce.js";
import { name } from "./format.js";
import { changeOf, viewOf } from "./ticket_view.js";

/** The tickets that the service has refused to this buyer, with their last state. */
export class Waiting {
  #states = new Map();

  constructor(world) {
    this.world = world;
  }

  /** Announces the changes since the last call. */
  update() {
    const { refusals, tickets, api, buyer } = this.world;
    for (const id of this.#states.keys()) if (!refusals.has(id)) this.#states.delete(id);
    for (const [id, refusal] of refusals) {
      const ticket = tickets.get(id);
      if (!ticket) continue;
      const view = viewOf(ticket, refusal, api.clock.now(), buyer);
      const change = changeOf(this.#states.get(id), view, name);
      this.#states.set(id, view.state);
      if (change) announce(change);
    }
  }
}

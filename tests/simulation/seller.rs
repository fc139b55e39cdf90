//! The ticket service: makes tickets, changes them now and then, and tells of it on the bus.

use std::sync::Arc;

use orders_domain::{Price, Ticket, TicketVersion};
use orders_tests::history::TicketSaid;

use crate::{coverage::Fault, queues::QueueName, world::World};

/// How often a ticket is changed, at most.
const MOST_CHANGES: u64 = 4;

pub(crate) fn ticket_id(number: u64) -> String {
    format!("ticket-{number}")
}

/// Tells of one ticket, from its making to its last change.
pub(crate) async fn sell(world: Arc<World>, number: u64) {
    let last = world.roll(0..=MOST_CHANGES);
    for version in 0..=last {
        let kind = if version == 0 { "TicketCreated" } else { "TicketUpdated" };
        let cents = 1_000 + 10 * version + number;
        let ticket = Ticket {
            id: ticket_id(number).parse().expect("an id"),
            title: format!("Version {version}").parse().expect("a title"),
            price: Price::from_minor(cents).expect("a price"),
            version: TicketVersion::new(version),
        };
        let body = format!(
            r#"{{"version":"0","detail-type":"{kind}","source":"tickets","detail":{{"id":"{}","title":"{}","price":{},"version":{version},"userId":"seller"}}}}"#,
            ticket.id, ticket.title, ticket.price
        );
        world.said(ticket, cents, &body);
        // All but the last: after that one, no other says it all.
        let untold = version < last && world.fault(Fault::TicketUntold);
        if !untold {
            world.deliver(QueueName::Tickets, &body);
        }
        let hold_ms = u64::try_from(world.plan.hold.as_millis()).expect("a short hold");
        let longest_ms = if world.comes_to(40) { 50 } else { hold_ms };
        world.sleep_ms(0..=longest_ms).await;
    }
}

impl World {
    fn said(&self, ticket: Ticket, price_cents: u64, body: &str) {
        self.tell(|| format!("tickets: {} v{}", ticket.id, ticket.version.number()));
        let said = TicketSaid {
            ticket: ticket.id.to_string(),
            version: ticket.version.number(),
            title: ticket.title.to_string(),
            price_cents,
            at_ms: self.now_ms(),
        };
        let mut state = self.state();
        state.history.tickets.push(said);
        state.promises.ticket_said(ticket, body);
    }
}

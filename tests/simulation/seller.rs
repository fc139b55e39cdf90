//! The ticket service: creates tickets, changes them, and publishes each version.

use std::sync::Arc;

use orders_domain::{Price, Ticket, TicketVersion};
use orders_tests::history::PublishedTicket;

use crate::{coverage::Fault, queues::QueueName, world::World};

/// Largest number of changes of a ticket.
const MAX_CHANGES: u64 = 4;

pub(crate) fn ticket_id(number: u64) -> String {
    format!("ticket-{number}")
}

/// Publishes a ticket and its changes.
pub(crate) async fn run_seller(world: Arc<World>, number: u64) {
    let last = world.random(0..=MAX_CHANGES);
    for version in 0..=last {
        let kind = if version == 0 { "TicketCreated" } else { "TicketUpdated" };
        let cents = 1_000 + 10 * version + number;
        let ticket = Ticket {
            id: ticket_id(number).parse().expect("a ticket id"),
            title: format!("Version {version}").parse().expect("a title"),
            price: Price::from_minor(cents).expect("a price"),
            version: TicketVersion::new(version),
        };
        let body = format!(
            r#"{{"version":"0","detail-type":"{kind}","source":"tickets","detail":{{"id":"{}","title":"{}","price":{},"version":{version},"userId":"seller"}}}}"#,
            ticket.id, ticket.title, ticket.price
        );
        world.publish_ticket(ticket, cents, &body);
        // The last version is always delivered: no later event would replace it.
        let dropped = version < last && world.fault(Fault::TicketNotPublished);
        if !dropped {
            world.deliver(QueueName::Tickets, &body);
        }
        let hold_ms = u64::try_from(world.plan.hold.as_millis()).expect("a short hold");
        let longest_ms = if world.chance(40) { 50 } else { hold_ms };
        world.sleep_ms(0..=longest_ms).await;
    }
}

impl World {
    fn publish_ticket(&self, ticket: Ticket, price_cents: u64, body: &str) {
        self.log(|| format!("tickets: {} v{}", ticket.id, ticket.version.number()));
        let published = PublishedTicket {
            ticket: ticket.id.to_string(),
            version: ticket.version.number(),
            title: ticket.title.to_string(),
            price_cents,
            at_ms: self.now_ms(),
        };
        let mut state = self.state();
        state.history.tickets.push(published);
        state.promises.ticket_published(ticket, body);
    }
}

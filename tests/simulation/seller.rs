//! The ticket service: creates tickets, changes titles and prices, and publishes each version.

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
        let ticket = Ticket {
            id: ticket_id(number).parse().expect("a ticket id"),
            title: format!("Version {version}").parse().expect("a title"),
            price: world.new_price(),
            version: TicketVersion::new(version),
        };
        let body = event(&ticket);
        world.publish_ticket(&ticket, &body);
        // The last version is always delivered: no later event would replace it.
        let dropped = version < last && world.fault(Fault::TicketNotPublished);
        if !dropped {
            world.deliver(QueueName::Tickets, &body);
        }
        let hold_ms = u64::try_from(world.plan.hold.as_millis()).expect("a short hold");
        let longest_ms = if world.chance(40) { 50 } else { hold_ms };
        world.sleep_ms(0..=longest_ms).await;
        world.contradict(&ticket);
    }
}

fn event(ticket: &Ticket) -> String {
    let Ticket { id, title, price, version } = ticket;
    let version = version.number();
    let kind = if version == 0 { "TicketCreated" } else { "TicketUpdated" };
    format!(
        r#"{{"version":"0","detail-type":"{kind}","source":"tickets","detail":{{"id":"{id}","title":"{title}","price":{price},"version":{version},"userId":"seller"}}}}"#
    )
}

impl World {
    /// A price of two, so that a changed price can also change back.
    fn new_price(&self) -> Price {
        let cents = if self.chance(70) { 1_000 } else { 1_250 };
        Price::from_minor(cents).expect("a price")
    }

    fn publish_ticket(&self, ticket: &Ticket, body: &str) {
        self.log(|| {
            let (version, price) = (ticket.version.number(), ticket.price);
            format!("tickets: {} v{version} for {price}", ticket.id)
        });
        let published = PublishedTicket {
            ticket: ticket.id.to_string(),
            version: ticket.version.number(),
            title: ticket.title.to_string(),
            price_cents: ticket.price.minor(),
            at_ms: self.now_ms(),
        };
        let mut state = self.state();
        state.history.tickets.push(published);
        state.promises.ticket_published(ticket.clone(), body);
    }

    /// Sometimes publishes the version again with another price. The replica has the version already:
    /// otherwise the contradiction could be the content that arrives first.
    fn contradict(&self, ticket: &Ticket) {
        let has_version = self.state().promises.replica_has(ticket);
        if has_version && self.fault(Fault::TicketContradicted) {
            let price = Price::from_minor(ticket.price.minor() + 1).expect("a price");
            let body = event(&Ticket { price, ..ticket.clone() });
            self.state().promises.ticket_contradicted(ticket, &body);
            self.deliver(QueueName::Tickets, &body);
        }
    }
}

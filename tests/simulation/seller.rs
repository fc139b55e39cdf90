//! The ticket service: creates tickets, changes titles and prices, withdraws tickets and puts them
//! on sale again, and publishes each version.

use std::sync::Arc;

use orders_domain::{Price, Sale, Ticket, TicketVersion};
use orders_tests::history::{Offer, PublishedTicket};

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
        let sale = world.new_sale(number, version);
        let body = event(&sale);
        world.publish_ticket(&sale, &body);
        // The last version is always delivered: no later event would replace it.
        let dropped = version < last && world.fault(Fault::TicketNotPublished);
        if !dropped {
            world.deliver(QueueName::Tickets, &body);
        }
        let hold_ms = u64::try_from(world.plan.hold.as_millis()).expect("a short hold");
        let longest_ms = if world.chance(40) { 50 } else { hold_ms };
        world.sleep_ms(0..=longest_ms).await;
        world.contradict(&sale);
    }
}

fn event(sale: &Sale) -> String {
    let (id, version) = (sale.id(), sale.version().number());
    let (kind, offer) = match sale {
        Sale::Open(Ticket { title, price, .. }) => {
            let kind = if version == 0 { "TicketCreated" } else { "TicketUpdated" };
            (kind, format!(r#""title":"{title}","price":{price},"#))
        }
        Sale::Withdrawn { .. } => ("TicketWithdrawn", String::new()),
    };
    format!(
        r#"{{"version":"0","detail-type":"{kind}","source":"tickets","detail":{{"id":"{id}",{offer}"version":{version},"userId":"seller"}}}}"#
    )
}

impl World {
    /// A version of a ticket. A later version can be a withdrawal.
    fn new_sale(&self, number: u64, version: u64) -> Sale {
        let id = ticket_id(number).parse().expect("a ticket id");
        let (is_withdrawn, version) = (version > 0 && self.chance(25), TicketVersion::new(version));
        if is_withdrawn {
            return Sale::Withdrawn { id, version };
        }
        let title = format!("Version {}", version.number()).parse().expect("a title");
        Sale::Open(Ticket { id, title, price: self.new_price(), version })
    }

    /// A price of three, so that a changed price can also change back.
    fn new_price(&self) -> Price {
        let cents = match self.random(0..=9) {
            0..=5 => 1_000,
            6..=7 => 1_250,
            _ => 0,
        };
        Price::from_minor(cents).expect("a price")
    }

    fn publish_ticket(&self, sale: &Sale, body: &str) {
        self.log(|| format!("tickets: {sale:?}"));
        let published = PublishedTicket {
            ticket: sale.id().to_string(),
            version: sale.version().number(),
            offer: sale.ticket().map(|ticket| Offer {
                title: ticket.title.to_string(),
                price_cents: ticket.price.minor(),
            }),
            at_ms: self.now_ms(),
        };
        let mut state = self.state();
        state.history.tickets.push(published);
        state.promises.ticket_published(sale.clone(), body);
    }

    /// Sometimes publishes the version again with another content. The replica has the version
    /// already: otherwise the contradiction could be the content that arrives first.
    fn contradict(&self, sale: &Sale) {
        let has_version = self.state().promises.replica_has(sale);
        if has_version && self.fault(Fault::TicketContradicted) {
            let body = event(&self.contradiction(sale));
            self.state().promises.ticket_contradicted(sale, &body);
            self.deliver(QueueName::Tickets, &body);
        }
    }

    /// Another price, a withdrawal of a ticket on sale, or the offer of a withdrawn ticket.
    fn contradiction(&self, sale: &Sale) -> Sale {
        let (id, version) = (sale.id().clone(), sale.version());
        match sale {
            Sale::Open(_) if self.chance(30) => Sale::Withdrawn { id, version },
            Sale::Open(ticket) => {
                let price = Price::from_minor(ticket.price.minor() + 1).expect("a price");
                Sale::Open(Ticket { price, ..ticket.clone() })
            }
            Sale::Withdrawn { .. } => {
                let title = "Withdrawn".parse().expect("a title");
                Sale::Open(Ticket { id, title, price: self.new_price(), version })
            }
        }
    }
}

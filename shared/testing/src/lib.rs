//! Test support for every crate: the store in memory, and builders of tickets and orders. A
//! dev-dependency only: nothing of it is deployed.
#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::panic,
    reason = "a builder panics when a test asks for the impossible"
)]

mod memory;

use std::time::Duration;

use orders_domain::{
    Command, CommitOutcome, Decision, NewOrder, Order, OrderId, OrderStore, Payment, PlaceOutcome,
    Placement, Price, Sale, Ticket, TicketRule, TicketState, TicketVersion, Timestamp, Transition,
    decide,
};

pub use memory::MemoryStore;

/// Hold of the orders built here.
pub const HOLD: Duration = Duration::from_secs(30);

/// Time after the end of a hold in which a payment can still be sent.
pub const LATE_LIMIT: Duration = Duration::from_mins(10);

/// Trace of the requests built here.
pub const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Start of a test's time, in epoch milliseconds: second 0 of [`at`].
pub const START_MS: u64 = 1_700_000_000_000;

/// The time this many seconds after [`START_MS`].
#[must_use]
pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_epoch_ms(START_MS + seconds * 1_000).expect("before the year 9999")
}

/// An order id whose 16 bytes are all this byte.
#[must_use]
pub fn order_id(byte: u8) -> OrderId {
    OrderId::from_bytes([byte; 16])
}

/// A ticket for 19.90.
#[must_use]
pub fn ticket(id: &str, version: u64) -> Ticket {
    Ticket {
        id: id.parse().expect("a ticket id"),
        title: "Concert".parse().expect("a title"),
        price: Price::from_minor(1_990).expect("a price"),
        version: TicketVersion::new(version),
    }
}

/// Alice's request for an order with this id, held for [`HOLD`] from this time.
#[must_use]
pub fn new_order(id: OrderId, now: Timestamp) -> NewOrder {
    NewOrder {
        id,
        user_id: "alice".parse().expect("a user id"),
        now,
        hold: HOLD,
        correlation_id: "request-1".parse().expect("a correlation id"),
        traceparent: Some(TRACEPARENT.parse().expect("a traceparent")),
    }
}

/// Alice's order for version 0 of `ticket-1`, placed at second 0.
#[must_use]
pub fn order(byte: u8) -> Order {
    order_at(byte, 0)
}

/// The same order with a hold of so many seconds.
#[must_use]
pub fn order_with_hold(byte: u8, hold_seconds: u64) -> Order {
    let hold = Duration::from_secs(hold_seconds);
    Order::new(NewOrder { hold, ..new_order(order_id(byte), at(0)) }, ticket("ticket-1", 0))
}

/// Alice's order for version 0 of `ticket-1`, placed at this second.
#[must_use]
pub fn order_at(byte: u8, seconds: u64) -> Order {
    Order::new(new_order(order_id(byte), at(seconds)), ticket("ticket-1", 0))
}

/// A payment of the order's price, sent at this second.
#[must_use]
pub fn payment(id: &str, order: &Order, seconds: u64) -> Payment {
    Payment {
        id: id.parse().expect("a payment id"),
        order_id: order.id,
        amount: Some(order.ticket.price),
        sent_at: at(seconds),
    }
}

/// The command of a payment of the order's price, sent and handled at this second.
#[must_use]
pub fn pay(id: &str, order: &Order, seconds: u64) -> Command {
    let payment = payment(id, order, seconds);
    Command::Pay { payment, late_limit: LATE_LIMIT, now: at(seconds) }
}

/// The transition of a command that applies to the order without a read of the ticket.
#[must_use]
pub fn transition(order: &Order, command: &Command) -> Transition {
    let Decision::Apply(transition) = decide(order, command, &TicketState::Unread) else {
        panic!("{command:?} does not apply to {order:?}");
    };
    transition
}

/// The order after a command that applies.
#[must_use]
pub fn after(order: &Order, command: &Command) -> Order {
    transition(order, command).into_order()
}

/// Puts the order's ticket into the store and places the order.
pub async fn place(store: &impl OrderStore, order: &Order) {
    let sale = Sale::Open(order.ticket.clone());
    store.apply_ticket(&sale, TicketRule::AnyNewer).await.expect("a working store");
    let placement = Placement { order: order.clone(), takeover: None };
    let outcome = store.place(&placement).await.expect("a working store");
    assert_eq!(outcome, PlaceOutcome::Placed);
}

/// Commits a command that applies to the order.
pub async fn commit(store: &impl OrderStore, order: &Order, command: &Command) {
    let outcome = store.commit(&transition(order, command)).await.expect("a working store");
    assert_eq!(outcome, CommitOutcome::Committed);
}

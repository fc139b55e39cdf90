//! Orders to begin a test with.

use std::time::Duration;

use orders_domain::{NewOrder, Order, OrderId, Ticket, TicketVersion, Timestamp};

/// When they are placed, in epoch milliseconds.
pub const PLACED_AT_MS: u64 = 1_700_000_000_000;

/// An order that alice has just placed, whose id is made of this byte. With 7 and 30 seconds, it is the
/// one in `fixtures/stream_batch.json`.
#[must_use]
pub fn placed(byte: u8, hold_seconds: u64) -> Order {
    let request = NewOrder {
        id: OrderId::from_bytes([byte; 16]),
        user_id: "alice".parse().expect("it is a user's id"),
        now: Timestamp::from_epoch_ms(PLACED_AT_MS).expect("it is before the year 9999"),
        hold: Duration::from_secs(hold_seconds),
        correlation_id: "request-1".parse().expect("it is an id"),
    };
    let ticket = Ticket {
        id: "ticket-1".parse().expect("it is a ticket's id"),
        title: "Concert".parse().expect("it is a title"),
        price: "19.90".parse().expect("it is a price"),
        version: TicketVersion::new(0),
    };
    Order::new(request, ticket)
}

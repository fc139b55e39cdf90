//! What was seen of the service from outside in one run, simulated or real: what buyers asked and
//! were told, what they were charged, what the ticket service said, and what came over the bus.
//!
//! These are plain records, in JSON if need be. [`explain`] tells whether they make sense.

mod checker;
mod model;
mod wire;

use serde::{Deserialize, Serialize};

pub use checker::{Contradiction, explain};

/// All that was seen of one run. Times are epoch milliseconds by one clock, the observer's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// How far the service's clocks may be off from the observer's.
    pub clock_tolerance_ms: u64,
    /// Whether everything has come to its end: no more events, no more charges to be booked.
    pub complete: bool,
    /// What the ticket service said.
    pub tickets: Vec<TicketSaid>,
    /// What buyers asked.
    pub requests: Vec<Request>,
    /// What buyers were charged.
    pub charges: Vec<Charge>,
    /// What came over the bus, in its order, repeats included.
    pub events: Vec<Event>,
}

/// One version of a ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TicketSaid {
    /// Which ticket.
    pub ticket: String,
    /// Which version.
    pub version: u64,
    /// What it is called.
    pub title: String,
    /// What it costs.
    pub price_cents: u64,
    /// When the ticket service said so.
    pub at_ms: u64,
}

/// A request of a buyer, with its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Who asked.
    pub buyer: String,
    /// What for.
    pub asked: Asked,
    /// When it was sent.
    pub from_ms: u64,
    /// When the answer was there, or the buyer gave up.
    pub to_ms: u64,
    /// The answer.
    pub answer: Answer,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Asked {
    /// A new order.
    Place {
        /// For which ticket.
        ticket: String,
        /// The idempotency key, if there is one.
        key: Option<String>,
    },
    /// To see an order.
    Show {
        /// Which.
        order: String,
    },
    /// To see the buyer's orders, or some of them.
    List,
    /// To cancel an order.
    Cancel {
        /// Which.
        order: String,
    },
}

/// What a buyer was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// An order.
    Order(OrderSeen),
    /// A list of orders.
    Orders(Vec<OrderSeen>),
    /// It is cancelled, or has expired.
    Cancelled,
    /// Another order holds the ticket.
    Reserved,
    /// The ticket has been bought.
    Sold,
    /// There is no such ticket.
    NoSuchTicket,
    /// The buyer has no such order.
    NoSuchOrder,
    /// The key has placed an order for another ticket.
    KeyReused,
    /// A paid order cannot be cancelled.
    OrderPaid,
    /// Nothing, or that the outcome is not known.
    Unknown,
}

/// An order, as a buyer was shown it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderSeen {
    /// Which order.
    pub order: String,
    /// Whose it is.
    pub buyer: String,
    /// For which ticket.
    pub ticket: String,
    /// The ticket's title, version and price on the order.
    pub title: String,
    /// See `title`.
    pub ticket_version: u64,
    /// See `title`.
    pub price_cents: u64,
    /// `awaiting_payment`, `paid`, `cancelled` or `expired`.
    pub status: String,
    /// The order's version.
    pub version: u64,
    /// When the hold lapses.
    pub expires_at_ms: u64,
}

/// A buyer was charged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Charge {
    /// Which charge.
    pub payment: String,
    /// For which order.
    pub order: String,
    /// When.
    pub at_ms: u64,
}

/// An event of this service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `OrderCreated`, `OrderPaid`, `OrderCancelled`, `OrderExpired` or `OrderRefundDue`.
    pub kind: String,
    /// Which order.
    pub order: String,
    /// The order's version after the change.
    pub version: u64,
    /// The order's status after the change.
    pub status: String,
    /// Whose order it is.
    pub buyer: String,
    /// For which ticket.
    pub ticket: String,
    /// What the ticket costs.
    pub price_cents: u64,
    /// When the hold lapses.
    pub expires_at_ms: u64,
    /// The charge that bought the order or is to be given back.
    pub payment: Option<String>,
    /// Why it is to be given back.
    pub reason: Option<String>,
    /// When it was on the bus.
    pub at_ms: u64,
}

//! The observations of a run, simulated or deployed: requests with their outcomes, payments with
//! their starts and refunds, ticket versions, and events of the bus.
//!
//! The records are plain data and can be stored as JSON. [`check_history`] verifies a history.

mod checker;
mod model;
mod wire;

use serde::{Deserialize, Serialize};

pub use checker::{Contradiction, check_history};

/// All observations of a run. Times are epoch milliseconds of a single clock, the observer's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Largest difference between the service's clocks and the observer's.
    pub clock_tolerance_ms: u64,
    /// Longest time from the decision on a command to its commit.
    pub write_deadline_ms: u64,
    /// Time after the end of a hold in which a payment can still be sent.
    pub late_limit_ms: u64,
    /// Time to pay from the start of a payment on; 0 if no hold becomes longer.
    pub time_to_pay_ms: u64,
    /// Number of unpaid tickets that one buyer can hold at once; 0 without a limit.
    pub holds_per_buyer: u64,
    /// Whether the run has ended: all events are published and all payments booked.
    pub complete: bool,
    /// Versions published by the ticket service.
    pub tickets: Vec<PublishedTicket>,
    /// Requests of the buyers.
    pub requests: Vec<Request>,
    /// Payments of the buyers.
    pub payments: Vec<Payment>,
    /// Starts of payments.
    pub starts: Vec<PaymentStart>,
    /// Refunds made by the payment service.
    pub refunds: Vec<Refund>,
    /// Events of the bus, in order of arrival, with repeats.
    pub events: Vec<Event>,
}

/// A published version of a ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedTicket {
    /// Ticket id.
    pub ticket: String,
    /// Ticket version.
    pub version: u64,
    /// The offer of this version; `None` if the version is a withdrawal.
    pub offer: Option<Offer>,
    /// Time of the publication.
    pub at_ms: u64,
}

/// Title and price of a ticket on sale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Title.
    pub title: String,
    /// Price in cents.
    pub price_cents: u64,
}

/// A request of a buyer, with its outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Buyer (`sub` of the JWT).
    pub buyer: String,
    /// Requested operation.
    pub operation: Operation,
    /// Time of the request.
    pub from_ms: u64,
    /// Time of the response, or of the buyer's time-out.
    pub to_ms: u64,
    /// Outcome seen by the buyer.
    pub outcome: Outcome,
}

/// An operation of the HTTP API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Operation {
    /// Creates an order.
    Place {
        /// Ticket id.
        ticket: String,
        /// Idempotency key.
        key: Option<String>,
        /// Ticket version that the buyer has seen, if the buyer wants no other version.
        version: Option<u64>,
    },
    /// Reads an order.
    Show {
        /// Order id.
        order: String,
    },
    /// Lists the buyer's orders, or a page of them.
    List,
    /// Cancels an order.
    Cancel {
        /// Order id.
        order: String,
    },
}

/// Outcome of a request, as seen by the buyer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// A new order.
    Placed(OrderView),
    /// An order that existed before the request.
    Order(OrderView),
    /// A list of orders.
    Orders(Vec<OrderView>),
    /// The order is cancelled.
    Cancelled,
    /// The order of another buyer holds the ticket.
    Reserved,
    /// The ticket is sold to another buyer.
    Sold,
    /// The ticket does not exist.
    NoSuchTicket,
    /// The ticket is withdrawn.
    Withdrawn,
    /// The ticket is not at the requested version.
    TicketChanged {
        /// Version of the ticket.
        version: u64,
    },
    /// The buyer holds as many unpaid tickets as allowed.
    TooManyHolds,
    /// The buyer has no such order.
    NoSuchOrder,
    /// The key belongs to an order for another ticket.
    KeyReused,
    /// The order is paid and cannot be cancelled.
    OrderPaid,
    /// No response, or 503.
    Unknown,
}

impl Outcome {
    /// Returns the order of a response with one order.
    pub fn order(&self) -> Option<&OrderView> {
        match self.orders() {
            [order] if !matches!(self, Self::Orders(_)) => Some(order),
            _ => None,
        }
    }

    /// Returns all orders of a response.
    pub fn orders(&self) -> &[OrderView] {
        match self {
            Self::Placed(order) | Self::Order(order) => std::slice::from_ref(order),
            Self::Orders(orders) => orders,
            Self::Cancelled
            | Self::Reserved
            | Self::Sold
            | Self::NoSuchTicket
            | Self::Withdrawn
            | Self::TicketChanged { .. }
            | Self::TooManyHolds
            | Self::NoSuchOrder
            | Self::KeyReused
            | Self::OrderPaid
            | Self::Unknown => &[],
        }
    }
}

/// An order as shown to a buyer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderView {
    /// Order id.
    pub order: String,
    /// Buyer (`sub` of the JWT).
    pub buyer: String,
    /// Ticket id.
    pub ticket: String,
    /// Title of the ticket on the order.
    pub title: String,
    /// Version of the ticket on the order.
    pub ticket_version: u64,
    /// Price of the ticket on the order, in cents.
    pub price_cents: u64,
    /// `awaiting_payment`, `paid`, `cancelled`, `expired` or `refunded`.
    pub status: String,
    /// Order version.
    pub version: u64,
    /// End of the hold.
    pub expires_at_ms: u64,
}

/// A payment of a buyer. Two records with one id are a payment that names two orders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    /// Payment id.
    pub id: String,
    /// Order id.
    pub order: String,
    /// Amount in cents, if the event has it.
    pub amount_cents: Option<u64>,
    /// Time at which the event is sent. Its envelope has this time in whole seconds.
    pub at_ms: u64,
}

/// The start of a payment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PaymentStart {
    /// Order id.
    pub order: String,
    /// Time at which the event is sent. Its envelope has this time in whole seconds.
    pub at_ms: u64,
}

/// A refund made by the payment service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refund {
    /// Payment id.
    pub payment: String,
    /// Order id.
    pub order: String,
    /// Amount in cents, if the event has it; otherwise the whole charge.
    pub amount_cents: Option<u64>,
    /// Time at which the event is sent.
    pub at_ms: u64,
}

/// A published event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `OrderCreated`, `OrderPaid`, `OrderCancelled`, `OrderExpired`, `OrderExtended`,
    /// `OrderRefundDue`, `OrderRefundSettled` or `OrderRefunded`.
    pub kind: String,
    /// Order id.
    pub order: String,
    /// Order version after the change.
    pub version: u64,
    /// Order status after the change.
    pub status: String,
    /// Buyer (`sub` of the JWT).
    pub buyer: String,
    /// Ticket id.
    pub ticket: String,
    /// Price of the ticket, in cents.
    pub price_cents: u64,
    /// End of the hold.
    pub expires_at_ms: u64,
    /// Payment id, if the event is about a payment.
    pub payment: Option<String>,
    /// Reason of the refund.
    pub reason: Option<String>,
    /// Time of the delivery.
    pub at_ms: u64,
}

//! The order and its state machine.

use std::time::Duration;

use crate::{CorrelationId, OrderId, PaymentId, RefundDue, Ticket, Timestamp, UserId};

/// Version of an order: the number of its changes. A new order has version 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderVersion(u64);

impl OrderVersion {
    /// Version of a new order.
    pub const FIRST: Self = Self(0);

    /// The version with this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The version's number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The version after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Status of an order. An order in the first two is live: its ticket's lock names the order. The last two
/// are final, except that a late payment can buy an expired order, and its owner can cancel it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The ticket is held until `expires_at`; the buyer has not paid.
    AwaitingPayment,
    /// The buyer has bought the ticket.
    Paid {
        /// Payment that bought the order.
        payment_id: PaymentId,
    },
    /// The buyer cancelled the order: no payment can buy it.
    Cancelled,
    /// The hold lapsed without a payment.
    Expired,
}

impl Status {
    /// Name of the status in the API and in events.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AwaitingPayment => "awaiting_payment",
            Self::Paid { .. } => "paid",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether an order in this status holds or owns its ticket.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self {
            Self::AwaitingPayment | Self::Paid { .. } => true,
            Self::Cancelled | Self::Expired => false,
        }
    }
}

/// One buyer's attempt to buy one ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Order id.
    pub id: OrderId,
    /// Buyer (`sub` of the JWT).
    pub user_id: UserId,
    /// Copy of the ticket from the time of placing; never changes.
    pub ticket: Ticket,
    /// Status as stored: see [`Order::effective_status`].
    pub status: Status,
    /// Number of changes.
    pub version: OrderVersion,
    /// Time of placing.
    pub created_at: Timestamp,
    /// End of the hold.
    pub expires_at: Timestamp,
    /// Refunds due, in the order of their payments.
    pub refunds_due: Vec<RefundDue>,
    /// Correlation id of the request that placed the order.
    pub correlation_id: CorrelationId,
}

/// A request for a new order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Order id.
    pub id: OrderId,
    /// Buyer (`sub` of the JWT).
    pub user_id: UserId,
    /// Time of the request.
    pub now: Timestamp,
    /// Duration of the hold.
    pub hold: Duration,
    /// Correlation id of the request.
    pub correlation_id: CorrelationId,
}

impl Order {
    /// Maximum number of refunds due. An order is one item, and an item has a maximum size.
    pub const MAX_REFUNDS: usize = 20;

    /// The new order for this ticket, at version 0.
    #[must_use]
    pub fn new(request: NewOrder, ticket: Ticket) -> Self {
        Self {
            id: request.id,
            user_id: request.user_id,
            ticket,
            status: Status::AwaitingPayment,
            version: OrderVersion::FIRST,
            created_at: request.now,
            expires_at: request.now.plus(request.hold),
            refunds_due: Vec::new(),
            correlation_id: request.correlation_id,
        }
    }

    /// Whether `expires_at` has been reached.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// Status to show: a due order counts as expired even before its expiry is committed.
    #[must_use]
    pub fn effective_status(&self, now: Timestamp) -> &Status {
        match self.status {
            Status::AwaitingPayment if self.is_due(now) => &Status::Expired,
            Status::AwaitingPayment | Status::Paid { .. } | Status::Cancelled | Status::Expired => {
                &self.status
            }
        }
    }

    /// Whether a refund of this payment is due.
    pub(crate) fn owes_refund_of(&self, payment: &PaymentId) -> bool {
        self.refunds_due.iter().any(|refund| refund.payment_id == *payment)
    }
}

//! The order and its state machine.

use std::time::Duration;

use crate::{
    CorrelationId, Lock, OrderId, PaymentId, RefundDue, RefundState, Slot, Ticket, Timestamp,
    TraceParent, UserId,
};

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

/// Status of an order. An order in the first three is live: its ticket's lock names the order. The others
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
    /// The buyer has a ticket that costs nothing. Clients see the status `paid`.
    Free,
    /// The buyer cancelled the order: no payment can buy it.
    Cancelled,
    /// The hold lapsed without a payment.
    Expired,
    /// The payment that bought the order went back to the buyer: the ticket is void.
    Refunded {
        /// Payment that had bought the order.
        payment_id: PaymentId,
    },
}

impl Status {
    /// Name of the status in the API and in events.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AwaitingPayment => "awaiting_payment",
            Self::Paid { .. } | Self::Free => "paid",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Refunded { .. } => "refunded",
        }
    }

    /// Whether an order in this status holds or owns its ticket.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self {
            Self::AwaitingPayment | Self::Paid { .. } | Self::Free => true,
            Self::Cancelled | Self::Expired | Self::Refunded { .. } => false,
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
    /// Whether the start of a payment has extended the hold. A hold is extended once.
    pub extended: bool,
    /// Slot of the buyer that the order occupies until `expires_at` while it is not paid.
    pub slot: Option<Slot>,
    /// Refunds, due and settled, in the order of their payments.
    pub refunds_due: Vec<RefundDue>,
    /// Correlation id of the request that placed the order.
    pub correlation_id: CorrelationId,
    /// Trace of the request that placed the order, if the request was traced.
    pub traceparent: Option<TraceParent>,
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
    /// Trace of the request, if it was traced.
    pub traceparent: Option<TraceParent>,
}

impl Order {
    /// Maximum number of refunds due. An order is one item, and an item has a maximum size.
    pub const MAX_REFUNDS: usize = 20;

    /// The new order for this ticket, at version 0. A ticket that costs nothing needs no payment.
    #[must_use]
    pub fn new(request: NewOrder, ticket: Ticket) -> Self {
        let status = if ticket.price.is_free() { Status::Free } else { Status::AwaitingPayment };
        Self {
            id: request.id,
            user_id: request.user_id,
            ticket,
            status,
            version: OrderVersion::FIRST,
            created_at: request.now,
            expires_at: request.now.plus(request.hold),
            extended: false,
            slot: None,
            refunds_due: Vec::new(),
            correlation_id: request.correlation_id,
            traceparent: request.traceparent,
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
            Status::AwaitingPayment
            | Status::Paid { .. }
            | Status::Free
            | Status::Cancelled
            | Status::Expired
            | Status::Refunded { .. } => &self.status,
        }
    }

    /// The lock that the order's ticket has after the placing.
    #[must_use]
    pub fn lock(&self) -> Lock {
        match self.status {
            Status::Free => Lock::Sold { to: self.id },
            Status::AwaitingPayment
            | Status::Paid { .. }
            | Status::Cancelled
            | Status::Expired
            | Status::Refunded { .. } => Lock::Held { by: self.id, until: self.expires_at },
        }
    }

    /// Time from which the order can be forgotten: `kept` after the end of its hold. `None` if it is kept
    /// for ever: it is live, or was paid for, or a refund is due.
    #[must_use]
    pub fn forget_at(&self, kept: Duration) -> Option<Timestamp> {
        let is_over = match self.status {
            Status::Cancelled | Status::Expired => true,
            Status::AwaitingPayment
            | Status::Paid { .. }
            | Status::Free
            | Status::Refunded { .. } => false,
        };
        let is_due = |refund: &RefundDue| refund.state == RefundState::Due;
        let can_be_forgotten = is_over && !self.refunds_due.iter().any(is_due);
        can_be_forgotten.then(|| self.expires_at.plus(kept))
    }

    /// The refund of this payment, due or settled.
    pub(crate) fn refund_of(&self, payment: &PaymentId) -> Option<&RefundDue> {
        self.refunds_due.iter().find(|refund| refund.payment_id == *payment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Price, RefundReason, TicketVersion};

    const KEPT: Duration = Duration::from_hours(24 * 60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_epoch_ms(seconds * 1_000).unwrap()
    }

    fn order(status: Status, refunds: &[RefundState]) -> Order {
        let request = NewOrder {
            id: OrderId::from_bytes([1; 16]),
            user_id: "alice".parse().unwrap(),
            now: at(0),
            hold: Duration::from_secs(30),
            correlation_id: "request-1".parse().unwrap(),
            traceparent: None,
        };
        let ticket = Ticket {
            id: "ticket-1".parse().unwrap(),
            title: "Concert".parse().unwrap(),
            price: Price::from_minor(1_990).unwrap(),
            version: TicketVersion::new(0),
        };
        let refund = |state: &RefundState| RefundDue {
            payment_id: "p1".parse().unwrap(),
            reason: RefundReason::OrderCancelled,
            amount: None,
            state: *state,
        };
        let refunds_due = refunds.iter().map(refund).collect();
        Order { status, refunds_due, ..Order::new(request, ticket) }
    }

    #[test]
    fn order_without_a_sale_is_forgotten_after_its_hold() {
        let forget_at = Some(at(30).plus(KEPT));
        for status in [Status::Cancelled, Status::Expired] {
            for refunds in [&[][..], &[RefundState::Settled]] {
                assert_eq!(order(status.clone(), refunds).forget_at(KEPT), forget_at);
            }
            for refunds in [
                &[RefundState::Due][..],
                &[RefundState::Settled, RefundState::Due],
                &[RefundState::Due, RefundState::Settled],
            ] {
                assert_eq!(order(status.clone(), refunds).forget_at(KEPT), None, "{refunds:?}");
            }
        }
    }

    #[test]
    fn live_or_refunded_order_is_never_forgotten() {
        let payment_id: PaymentId = "p1".parse().unwrap();
        for status in [
            Status::AwaitingPayment,
            Status::Paid { payment_id: payment_id.clone() },
            Status::Free,
            Status::Refunded { payment_id },
        ] {
            assert_eq!(order(status.clone(), &[]).forget_at(KEPT), None, "{status:?}");
        }
    }
}

//! Payments of the payment service, and their results.

use crate::{OrderId, PaymentId, Price, Timestamp};

/// A payment for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Payment id.
    pub id: PaymentId,
    /// Order that the payment names.
    pub order_id: OrderId,
    /// Amount paid; `None` if the payment service does not report it and is trusted.
    pub amount: Option<Price>,
    /// Time at which the payment service sent the event, in whole seconds.
    pub sent_at: Timestamp,
}

/// Result of a payment. Each payment has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentResult {
    /// The payment bought its order.
    Bought,
    /// The payment must be refunded.
    RefundDue(RefundReason),
}

/// A booked payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedPayment {
    /// The payment.
    pub payment: Payment,
    /// Its result.
    pub result: PaymentResult,
}

/// Reason for a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundReason {
    /// Another payment had already paid the order.
    AlreadyPaid,
    /// The order had been cancelled.
    OrderCancelled,
    /// The order was due, and another order has the ticket.
    TicketTaken,
    /// The order was due, and the ticket is no longer sold at the order's price.
    TicketChanged,
    /// The payment was sent too long after the end of the hold.
    TooLate,
    /// The amount is not the order's price.
    WrongAmount,
    /// The payment that bought the order had been refunded.
    OrderRefunded,
}

impl RefundReason {
    /// Name of the reason in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AlreadyPaid => "already_paid",
            Self::OrderCancelled => "order_cancelled",
            Self::TicketTaken => "ticket_taken",
            Self::TicketChanged => "ticket_changed",
            Self::TooLate => "too_late",
            Self::WrongAmount => "wrong_amount",
            Self::OrderRefunded => "order_refunded",
        }
    }
}

/// A payment that did not buy the order, with its refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundDue {
    /// Payment to refund.
    pub payment_id: PaymentId,
    /// Reason for the refund.
    pub reason: RefundReason,
    /// Amount paid, if known.
    pub amount: Option<Price>,
    /// State of the refund.
    pub state: RefundState,
}

/// State of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// The payment service must refund the payment.
    Due,
    /// The payment service has refunded the payment.
    Settled,
}

impl RefundState {
    /// Name of the state in the API and in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Settled => "settled",
        }
    }
}

impl RefundDue {
    /// The refund that a payment makes due.
    #[must_use]
    pub fn new(payment: &Payment, reason: RefundReason) -> Self {
        let Payment { id, amount, .. } = payment.clone();
        Self { payment_id: id, reason, amount, state: RefundState::Due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refund_reasons_have_stable_names() {
        for (reason, name) in [
            (RefundReason::AlreadyPaid, "already_paid"),
            (RefundReason::OrderCancelled, "order_cancelled"),
            (RefundReason::TicketTaken, "ticket_taken"),
            (RefundReason::TicketChanged, "ticket_changed"),
            (RefundReason::TooLate, "too_late"),
            (RefundReason::WrongAmount, "wrong_amount"),
            (RefundReason::OrderRefunded, "order_refunded"),
        ] {
            assert_eq!(reason.name(), name);
        }
    }
}

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
        }
    }
}

/// A payment that did not buy the order and must be refunded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundDue {
    /// Payment to refund.
    pub payment_id: PaymentId,
    /// Reason for the refund.
    pub reason: RefundReason,
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
        ] {
            assert_eq!(reason.name(), name);
        }
    }
}

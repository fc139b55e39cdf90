//! Events of an order, published for the other services.

use crate::{Order, PaymentId, RefundDue, Status};

/// One committed change of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderEvent {
    /// Placed: the ticket is locked.
    Created,
    /// Paid, or placed for a ticket that costs nothing: the lock is permanent.
    Paid {
        /// Payment that bought the order; `None` for a ticket that costs nothing.
        payment_id: Option<PaymentId>,
    },
    /// Cancelled by its owner: the ticket is free.
    Cancelled,
    /// Expired: the ticket is free.
    Expired,
    /// The hold became longer.
    Extended,
    /// A refund became due. Nothing else changed.
    RefundDue(RefundDue),
    /// A refund was settled. Nothing else changed.
    RefundSettled(RefundDue),
    /// The payment that bought the order was refunded: the ticket is void and free.
    Refunded {
        /// Payment that had bought the order.
        payment_id: PaymentId,
    },
}

impl OrderEvent {
    /// The event between two states of an order; `None` if they do not differ. Without an earlier state
    /// the newer state decides.
    #[must_use]
    pub fn between(before: Option<&Order>, after: &Order) -> Option<Self> {
        let Some(before) = before else { return Some(Self::leading_to(after)) };
        // A transition either changes one refund, or the status, or the end of the hold.
        if after.refunds_due.len() > before.refunds_due.len() {
            return after.refunds_due.last().cloned().map(Self::RefundDue);
        }
        let mut refunds = after.refunds_due.iter().zip(&before.refunds_due);
        if let Some((settled, _)) = refunds.find(|(now, then)| now.state != then.state) {
            return Some(Self::RefundSettled(settled.clone()));
        }
        if after.status != before.status {
            return Some(Self::leading_to(after));
        }
        (after.expires_at != before.expires_at).then_some(Self::Extended)
    }

    fn leading_to(order: &Order) -> Self {
        match &order.status {
            Status::AwaitingPayment if order.extended => Self::Extended,
            Status::AwaitingPayment => Self::Created,
            Status::Paid { payment_id } => Self::Paid { payment_id: Some(payment_id.clone()) },
            Status::Free => Self::Paid { payment_id: None },
            Status::Cancelled => Self::Cancelled,
            Status::Expired => Self::Expired,
            Status::Refunded { payment_id } => Self::Refunded { payment_id: payment_id.clone() },
        }
    }

    /// Whether the event starts or moves the order's timer.
    #[must_use]
    pub fn sets_timer(&self) -> bool {
        match self {
            Self::Created | Self::Extended => true,
            Self::Paid { .. }
            | Self::Cancelled
            | Self::Expired
            | Self::RefundDue(_)
            | Self::RefundSettled(_)
            | Self::Refunded { .. } => false,
        }
    }

    /// Whether the event ends the order's hold, so that its timer is no longer needed.
    #[must_use]
    pub fn settles_expiry(&self) -> bool {
        match self {
            Self::Paid { payment_id: Some(_) } | Self::Cancelled | Self::Expired => true,
            // A ticket that costs nothing has no timer, and a refund comes after the payment.
            Self::Paid { payment_id: None }
            | Self::Created
            | Self::Extended
            | Self::RefundDue(_)
            | Self::RefundSettled(_)
            | Self::Refunded { .. } => false,
        }
    }
}

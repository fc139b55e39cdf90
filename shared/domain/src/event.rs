//! Events of an order, published for the other services.

use crate::{Order, PaymentId, RefundDue, Status};

/// One committed change of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderEvent {
    /// Placed: the ticket is locked.
    Created,
    /// Paid: the lock is permanent.
    Paid {
        /// Payment that bought the order.
        payment_id: PaymentId,
    },
    /// Cancelled by its owner: the ticket is free.
    Cancelled,
    /// Expired: the ticket is free.
    Expired,
    /// A refund became due. Nothing else changed.
    RefundDue(RefundDue),
}

impl OrderEvent {
    /// The event between two states of an order; `None` if they do not differ. Without an earlier state
    /// the status of `after` decides.
    #[must_use]
    pub fn between(before: Option<&Order>, after: &Order) -> Option<Self> {
        let Some(before) = before else { return Some(Self::leading_to(&after.status)) };
        // A transition either appends one refund or changes the status, never both.
        if after.refunds_due.len() > before.refunds_due.len() {
            return after.refunds_due.last().cloned().map(Self::RefundDue);
        }
        (after.status != before.status).then(|| Self::leading_to(&after.status))
    }

    fn leading_to(status: &Status) -> Self {
        match status {
            Status::AwaitingPayment => Self::Created,
            Status::Paid { payment_id } => Self::Paid { payment_id: payment_id.clone() },
            Status::Cancelled => Self::Cancelled,
            Status::Expired => Self::Expired,
        }
    }

    /// Whether the event ends the order's hold, so that its timer is no longer needed.
    #[must_use]
    pub fn settles_expiry(&self) -> bool {
        match self {
            Self::Paid { .. } | Self::Cancelled | Self::Expired => true,
            Self::Created | Self::RefundDue(_) => false,
        }
    }
}

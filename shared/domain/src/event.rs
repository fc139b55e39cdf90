//! What has happened to an order, as the other services are told.

use crate::{Order, PaymentId, RefundDue, Status};

/// One committed change of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderEvent {
    /// It was placed: the ticket is locked.
    Created,
    /// It was paid: the ticket is locked for good.
    Paid {
        /// The payment that bought it.
        payment_id: PaymentId,
    },
    /// Its owner let it go: the ticket is free.
    Cancelled,
    /// Its hold lapsed: the ticket is free.
    Expired,
    /// A charge must be given back. Nothing else has changed.
    RefundDue(RefundDue),
}

impl OrderEvent {
    /// What made the order what it is now; nothing, if it is what it was. Of an order that was not one
    /// before, it is what its status says.
    #[must_use]
    pub fn between(before: Option<&Order>, after: &Order) -> Option<Self> {
        let Some(before) = before else { return Some(Self::leading_to(&after.status)) };
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

    /// Whether nothing is left to expire after it.
    #[must_use]
    pub fn settles_expiry(&self) -> bool {
        match self {
            Self::Paid { .. } | Self::Cancelled | Self::Expired => true,
            Self::Created | Self::RefundDue(_) => false,
        }
    }
}

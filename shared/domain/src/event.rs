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
    /// What made the order what it is now; nothing, if it is what it was.
    #[must_use]
    pub fn between(before: Option<&Order>, after: &Order) -> Option<Self> {
        let Some(before) = before else { return Some(Self::Created) };
        if after.refunds_due.len() > before.refunds_due.len() {
            return after.refunds_due.last().cloned().map(Self::RefundDue);
        }
        if after.status == before.status {
            return None;
        }
        match &after.status {
            // No change leads back here.
            Status::AwaitingPayment => None,
            Status::Paid { payment_id } => Some(Self::Paid { payment_id: payment_id.clone() }),
            Status::Cancelled => Some(Self::Cancelled),
            Status::Expired => Some(Self::Expired),
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

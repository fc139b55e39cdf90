//! The order and its state machine.

use std::time::Duration;

use crate::{CorrelationId, OrderId, PaymentId, Ticket, Timestamp, UserId};

/// The count of an order's changes; 0 when it is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderVersion(u64);

impl OrderVersion {
    /// The version of an order that has just been placed.
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

/// How far an order has come. The first two are live: the ticket's lock names the order. The last
/// two are final, but for a payment that comes late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The ticket is held until `expires_at`, for the buyer to pay.
    AwaitingPayment,
    /// The buyer has the ticket.
    Paid {
        /// The payment that bought it.
        payment_id: PaymentId,
    },
    /// The buyer let it go.
    Cancelled,
    /// The hold lapsed.
    Expired,
}

impl Status {
    /// The status's name, on the wire and in storage.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AwaitingPayment => "awaiting_payment",
            Self::Paid { .. } => "paid",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether an order in this status has its ticket.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self {
            Self::AwaitingPayment | Self::Paid { .. } => true,
            Self::Cancelled | Self::Expired => false,
        }
    }
}

/// Why a charge must be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundReason {
    /// Another payment had already paid the order.
    AlreadyPaid,
    /// The order had been cancelled.
    OrderCancelled,
    /// The order had expired and its ticket is with somebody else.
    TicketTaken,
}

impl RefundReason {
    /// The reason's name, on the wire and in storage.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AlreadyPaid => "already_paid",
            Self::OrderCancelled => "order_cancelled",
            Self::TicketTaken => "ticket_taken",
        }
    }
}

/// A charge that bought nothing and must be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundDue {
    /// The payment to give back.
    pub payment_id: PaymentId,
    /// Why.
    pub reason: RefundReason,
}

/// One buyer's attempt to buy one ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which order.
    pub id: OrderId,
    /// Whose it is.
    pub user_id: UserId,
    /// The ticket as it was when it was locked; never changes.
    pub ticket: Ticket,
    /// How far the order has come.
    pub status: Status,
    /// How often it has changed.
    pub version: OrderVersion,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When the hold lapses.
    pub expires_at: Timestamp,
    /// The charges to give back, in the order they came.
    pub refunds_due: Vec<RefundDue>,
    /// The request that placed it.
    pub correlation_id: CorrelationId,
}

/// What a buyer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Which order it is to be.
    pub id: OrderId,
    /// Who asks.
    pub user_id: UserId,
    /// The moment it is asked.
    pub now: Timestamp,
    /// How long to hold the ticket.
    pub hold: Duration,
    /// The request.
    pub correlation_id: CorrelationId,
}

impl Order {
    /// The order for this ticket, as it is at first.
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

    /// Whether the hold has lapsed, from `expires_at` on.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// The status to show: an order that is due is expired, even before that is committed.
    #[must_use]
    pub fn effective_status(&self, now: Timestamp) -> &Status {
        match self.status {
            Status::AwaitingPayment if self.is_due(now) => &Status::Expired,
            Status::AwaitingPayment | Status::Paid { .. } | Status::Cancelled | Status::Expired => {
                &self.status
            }
        }
    }

    fn owes_refund_of(&self, payment: &PaymentId) -> bool {
        self.refunds_due.iter().any(|refund| refund.payment_id == *payment)
    }
}

/// Asks for a change of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Its owner lets it go.
    Cancel,
    /// Its time is up.
    Expire {
        /// The moment it is asked.
        now: Timestamp,
    },
    /// The buyer was charged.
    Pay {
        /// The charge.
        payment_id: PaymentId,
        /// Whether no other order has the ticket now; matters only if the order has expired.
        ticket_is_free: bool,
    },
}

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Commit this.
    Apply(Transition),
    /// The order is already as asked.
    AlreadyDone,
    /// It must not be done.
    Refuse(Refusal),
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The order has been paid.
    Paid,
    /// The hold has not lapsed: try again at this time.
    NotDue {
        /// The order's `expires_at`.
        until: Timestamp,
    },
}

/// A change of one order to its next version. Only [`decide`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    expected_version: OrderVersion,
    order: Order,
    lock: LockChange,
}

/// What a transition does to the ticket's lock, in the same transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockChange {
    /// Nothing.
    Unchanged,
    /// Frees the ticket, if its lock names this order.
    Release,
    /// Makes this order's hold permanent.
    Sell,
    /// Locks the ticket for good, if it is free.
    Relock,
}

impl Transition {
    /// The version that must still be stored for the change to be committed.
    #[must_use]
    pub fn expected_version(&self) -> OrderVersion {
        self.expected_version
    }

    /// The order after the change.
    #[must_use]
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// What happens to the ticket's lock.
    #[must_use]
    pub fn lock(&self) -> LockChange {
        self.lock
    }
}

/// Decides what a command does to an order: the whole state machine.
#[must_use]
pub fn decide(order: &Order, command: &Command) -> Decision {
    use Status::{AwaitingPayment, Cancelled, Expired, Paid};

    match (&order.status, command) {
        (AwaitingPayment, Command::Cancel) => apply(order, Cancelled, LockChange::Release),
        (AwaitingPayment, Command::Expire { now }) if order.is_due(*now) => {
            apply(order, Expired, LockChange::Release)
        }
        (AwaitingPayment, Command::Expire { .. }) => {
            Decision::Refuse(Refusal::NotDue { until: order.expires_at })
        }
        (AwaitingPayment, Command::Pay { payment_id, .. }) => {
            apply(order, Paid { payment_id: payment_id.clone() }, LockChange::Sell)
        }

        (Paid { .. }, Command::Cancel) => Decision::Refuse(Refusal::Paid),
        (Paid { .. }, Command::Expire { .. }) => Decision::AlreadyDone,
        (Paid { payment_id: first }, Command::Pay { payment_id, .. }) if first == payment_id => {
            Decision::AlreadyDone
        }
        (Paid { .. }, Command::Pay { payment_id, .. }) => {
            refund(order, payment_id, RefundReason::AlreadyPaid)
        }

        (Cancelled | Expired, Command::Cancel | Command::Expire { .. }) => Decision::AlreadyDone,
        (Cancelled, Command::Pay { payment_id, .. }) => {
            refund(order, payment_id, RefundReason::OrderCancelled)
        }
        (Expired, Command::Pay { payment_id, ticket_is_free })
            if *ticket_is_free && !order.owes_refund_of(payment_id) =>
        {
            apply(order, Paid { payment_id: payment_id.clone() }, LockChange::Relock)
        }
        (Expired, Command::Pay { payment_id, .. }) => {
            refund(order, payment_id, RefundReason::TicketTaken)
        }
    }
}

fn apply(before: &Order, status: Status, lock: LockChange) -> Decision {
    transition(before, Order { status, ..before.clone() }, lock)
}

/// Keeps the status; a payment whose refund is already due stays counted once.
fn refund(before: &Order, payment_id: &PaymentId, reason: RefundReason) -> Decision {
    if before.owes_refund_of(payment_id) {
        return Decision::AlreadyDone;
    }
    let mut after = before.clone();
    after.refunds_due.push(RefundDue { payment_id: payment_id.clone(), reason });
    transition(before, after, LockChange::Unchanged)
}

fn transition(before: &Order, after: Order, lock: LockChange) -> Decision {
    Decision::Apply(Transition {
        expected_version: before.version,
        order: Order { version: before.version.next(), ..after },
        lock,
    })
}

#[cfg(test)]
mod tests;

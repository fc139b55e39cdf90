//! The order and its state machine.

use std::time::Duration;

use crate::{CorrelationId, OrderId, PaymentId, Ticket, Timestamp, UserId};

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
/// are final, except that a late payment can buy an expired order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The ticket is held until `expires_at`; the buyer has not paid.
    AwaitingPayment,
    /// The buyer has bought the ticket.
    Paid {
        /// Payment that bought the order.
        payment_id: PaymentId,
    },
    /// The buyer cancelled the order.
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

/// Reason for a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundReason {
    /// Another payment had already paid the order.
    AlreadyPaid,
    /// The order had been cancelled.
    OrderCancelled,
    /// The order had expired, and another order has the ticket.
    TicketTaken,
}

impl RefundReason {
    /// Name of the reason in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AlreadyPaid => "already_paid",
            Self::OrderCancelled => "order_cancelled",
            Self::TicketTaken => "ticket_taken",
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

    fn owes_refund_of(&self, payment: &PaymentId) -> bool {
        self.refunds_due.iter().any(|refund| refund.payment_id == *payment)
    }
}

/// Command to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The owner cancels the order.
    Cancel,
    /// The hold of the order ends if it is due.
    Expire {
        /// Time of the command.
        now: Timestamp,
    },
    /// The buyer has paid.
    Pay {
        /// Payment id.
        payment_id: PaymentId,
        /// Whether no other order has the ticket now. Read only if the order has expired.
        ticket_is_free: bool,
    },
}

/// Decision on a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Commit this transition.
    Apply(Transition),
    /// The command has no effect: the order is in the requested state already.
    AlreadyDone,
    /// The command is not allowed.
    Refuse(Refusal),
}

/// Reason why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The order has been paid.
    Paid,
    /// The hold has not lapsed.
    NotDue {
        /// Earliest time of a retry: the order's `expires_at`.
        until: Timestamp,
    },
}

/// A change of an order to its next version. Only [`decide`] creates transitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    expected_version: OrderVersion,
    order: Order,
    lock: LockChange,
}

/// Effect of a transition on the ticket's lock, in the same transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockChange {
    /// The lock stays as it is.
    Unchanged,
    /// The ticket becomes free, if its lock names this order.
    Release,
    /// The order's hold becomes permanent, if the lock names this order.
    Sell,
    /// The ticket is locked permanently, if it is free.
    Relock,
}

impl Transition {
    /// Stored version on which the commit depends.
    #[must_use]
    pub fn expected_version(&self) -> OrderVersion {
        self.expected_version
    }

    /// The order after the transition.
    #[must_use]
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Effect on the ticket's lock.
    #[must_use]
    pub fn lock(&self) -> LockChange {
        self.lock
    }
}

/// Decides the effect of a command on an order: the whole state machine.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use orders_domain::{
///     Command, Decision, LockChange, NewOrder, Order, OrderId, Price, Refusal, Status, Ticket,
///     TicketVersion, Timestamp, decide,
/// };
///
/// let request = NewOrder {
///     id: OrderId::from_bytes([1; 16]),
///     user_id: "alice".parse().unwrap(),
///     now: Timestamp::from_epoch_ms(0).unwrap(),
///     hold: Duration::from_secs(30),
///     correlation_id: "request-1".parse().unwrap(),
/// };
/// let ticket = Ticket {
///     id: "ticket-1".parse().unwrap(),
///     title: "Concert".parse().unwrap(),
///     price: Price::from_minor(1_990).unwrap(),
///     version: TicketVersion::new(0),
/// };
/// let order = Order::new(request, ticket);
///
/// // A cancellation releases the lock and increments the version.
/// let Decision::Apply(cancelled) = decide(&order, &Command::Cancel) else { panic!() };
/// assert_eq!(cancelled.order().status, Status::Cancelled);
/// assert_eq!(cancelled.order().version.number(), 1);
/// assert_eq!(cancelled.lock(), LockChange::Release);
/// assert_eq!(decide(cancelled.order(), &Command::Cancel), Decision::AlreadyDone);
///
/// // An expiry before `expires_at` is refused.
/// let early = Timestamp::from_epoch_ms(29_999).unwrap();
/// let refusal = Refusal::NotDue { until: order.expires_at };
/// assert_eq!(decide(&order, &Command::Expire { now: early }), Decision::Refuse(refusal));
/// ```
#[must_use]
pub fn decide(order: &Order, command: &Command) -> Decision {
    use Status::{AwaitingPayment, Cancelled, Expired, Paid};

    match (&order.status, command) {
        // A due order may be cancelled too: its owner's wish and its expiry have the same effect.
        (AwaitingPayment, Command::Cancel) => apply(order, Cancelled, LockChange::Release),
        (AwaitingPayment, Command::Expire { now }) if order.is_due(*now) => {
            apply(order, Expired, LockChange::Release)
        }
        (AwaitingPayment, Command::Expire { .. }) => {
            Decision::Refuse(Refusal::NotDue { until: order.expires_at })
        }
        // The lock still names the order, due or not: nobody has taken the ticket over.
        (AwaitingPayment, Command::Pay { payment_id, .. }) => {
            apply(order, Paid { payment_id: payment_id.clone() }, LockChange::Sell)
        }

        (Paid { .. }, Command::Cancel) => Decision::Refuse(Refusal::Paid),
        (Paid { .. }, Command::Expire { .. }) => Decision::AlreadyDone,
        // Events repeat: the payment that bought the order is not a second payment.
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
        // A payment with a refund due never buys, even if the ticket has become free since: the refund
        // may have been made already.
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

/// Records a refund due and keeps the status. A repeated payment is recorded once.
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

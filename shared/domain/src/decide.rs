//! The state machine of an order: one pure function.

use std::time::Duration;

use crate::{
    Availability, BookedPayment, FoundTicket, Order, OrderVersion, Payment, PaymentResult,
    RefundDue, RefundReason, Status, Takeover, Timestamp,
};

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
        /// The payment.
        payment: Payment,
        /// Time after the end of the hold in which a payment can still be sent.
        late_limit: Duration,
        /// Time of the command.
        now: Timestamp,
    },
}

/// State of the order's ticket at the time of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketState {
    /// Not read. The lock of a live order is assumed to name the order: the commit checks this.
    Unread,
    /// The ticket is unknown.
    Missing,
    /// The ticket as the order finds it.
    Found(Box<FoundTicket>),
}

/// Decision on a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Commit this transition.
    Apply(Transition),
    /// Commit this transition, then decide again: one command can need two versions.
    ApplyFirst(Transition),
    /// The command has no effect: the order is in the requested state already.
    AlreadyDone,
    /// The command is not allowed.
    Refuse(Refusal),
    /// The decision depends on the ticket: read it, then decide again.
    ReadTicket,
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
    /// The order has [`Order::MAX_REFUNDS`] refunds due.
    TooManyRefunds,
}

/// A change of an order to its next version. Only [`decide`] creates transitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    expected_version: OrderVersion,
    order: Order,
    lock: LockChange,
    booked: Option<BookedPayment>,
}

/// Effect of a transition on the ticket's lock, in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockChange {
    /// The lock stays as it is, whatever it names.
    Unchanged,
    /// The ticket becomes free, if its lock names this order.
    Release,
    /// The lock stays as it is, if it does not name this order.
    NotOwn,
    /// The order's lock becomes permanent, if the lock names this order.
    Sell,
    /// The ticket is locked permanently for this order, if it is still sold at the order's price, and is
    /// free, has this order's lock, or has the lapsed lock of the takeover.
    BuyBack {
        /// The order whose lapsed hold is taken over, if any.
        takeover: Option<Takeover>,
        /// Time of the command.
        now: Timestamp,
    },
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

    /// The order after the transition, by value.
    #[must_use]
    pub fn into_order(self) -> Order {
        self.order
    }

    /// Effect on the ticket's lock.
    #[must_use]
    pub fn lock(&self) -> &LockChange {
        &self.lock
    }

    /// The refund due that the transition appends, if any.
    #[must_use]
    pub fn refund(&self) -> Option<&RefundDue> {
        match self.booked.as_ref()?.result {
            PaymentResult::Bought => None,
            PaymentResult::RefundDue(_) => self.order.refunds_due.last(),
        }
    }

    /// The payment that the transition books, if any.
    #[must_use]
    pub fn booked(&self) -> Option<&BookedPayment> {
        self.booked.as_ref()
    }
}

/// Decides the effect of a command on an order: the whole state machine. A due order counts as expired,
/// whether or not its expiry is committed.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use orders_domain::{
///     Command, Decision, LockChange, NewOrder, Order, OrderId, Price, Refusal, Status, Ticket,
///     TicketState, TicketVersion, Timestamp, decide,
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
/// let unread = TicketState::Unread;
///
/// // A cancellation releases the lock and increments the version.
/// let Decision::Apply(cancelled) = decide(&order, &Command::Cancel, &unread) else { panic!() };
/// assert_eq!(cancelled.order().status, Status::Cancelled);
/// assert_eq!(cancelled.order().version.number(), 1);
/// assert_eq!(cancelled.lock(), &LockChange::Release);
/// assert_eq!(decide(cancelled.order(), &Command::Cancel, &unread), Decision::AlreadyDone);
///
/// // An expiry before `expires_at` is refused.
/// let early = Timestamp::from_epoch_ms(29_999).unwrap();
/// let refusal = Refusal::NotDue { until: order.expires_at };
/// assert_eq!(decide(&order, &Command::Expire { now: early }, &unread), Decision::Refuse(refusal));
/// ```
#[must_use]
pub fn decide(order: &Order, command: &Command, ticket: &TicketState) -> Decision {
    use Status::{AwaitingPayment, Cancelled, Expired, Paid};

    match (&order.status, command) {
        // Events repeat. A payment with a refund due never buys, even if it could now: the refund may
        // have been made already.
        (AwaitingPayment | Paid { .. } | Cancelled | Expired, Command::Pay { payment, .. })
            if order.owes_refund_of(&payment.id) =>
        {
            Decision::AlreadyDone
        }

        (AwaitingPayment, Command::Cancel) => end(order, Cancelled, ticket).into(),
        (AwaitingPayment, Command::Expire { now }) if order.is_due(*now) => {
            end(order, Expired, ticket).into()
        }
        (AwaitingPayment, Command::Expire { .. }) => {
            Decision::Refuse(Refusal::NotDue { until: order.expires_at })
        }
        (AwaitingPayment, Command::Pay { payment, late_limit, now }) if order.is_due(*now) => {
            match buy_back(order, payment, Some(*late_limit), *now, ticket) {
                // The refund is decided on the expired order.
                Err(Unbought::Refund(_)) => Decision::ApplyFirst(end(order, Expired, ticket)),
                lock @ (Ok(_) | Err(Unbought::ReadTicket)) => book(order, payment, lock),
            }
        }
        (AwaitingPayment, Command::Pay { payment, now, .. }) => {
            book(order, payment, sell(order, payment, *now, ticket))
        }

        (Paid { .. }, Command::Cancel) => Decision::Refuse(Refusal::Paid),
        (Paid { .. }, Command::Expire { .. }) => Decision::AlreadyDone,
        // The payment that bought the order is not a second payment.
        (Paid { payment_id }, Command::Pay { payment, .. }) if *payment_id == payment.id => {
            Decision::AlreadyDone
        }
        (Paid { .. }, Command::Pay { payment, .. }) => {
            refund(order, payment, RefundReason::AlreadyPaid)
        }

        (Cancelled, Command::Cancel) | (Cancelled | Expired, Command::Expire { .. }) => {
            Decision::AlreadyDone
        }
        (Cancelled, Command::Pay { payment, .. }) => {
            refund(order, payment, RefundReason::OrderCancelled)
        }
        // A cancellation has the same effect before and after the expiry: no payment can buy the order.
        (Expired, Command::Cancel) => {
            transition(order, Cancelled, LockChange::Unchanged, None).into()
        }
        (Expired, Command::Pay { payment, late_limit, now }) => {
            book(order, payment, buy_back(order, payment, Some(*late_limit), *now, ticket))
        }
    }
}

/// Why a payment does not buy, or not yet.
enum Unbought {
    ReadTicket,
    Refund(RefundReason),
}

/// The lock change of a payment in time. A hold keeps its price, whatever the ticket costs now.
fn sell(
    order: &Order,
    payment: &Payment,
    now: Timestamp,
    ticket: &TicketState,
) -> Result<LockChange, Unbought> {
    if !pays_price(order, payment) {
        return Err(Unbought::Refund(RefundReason::WrongAmount));
    }
    match ticket {
        TicketState::Unread => Ok(LockChange::Sell),
        TicketState::Found(found) if found.availability == Availability::Own => {
            Ok(LockChange::Sell)
        }
        // The lock does not name the order: a table was restored or repaired by hand.
        TicketState::Found(_) | TicketState::Missing => buy_back(order, payment, None, now, ticket),
    }
}

/// The buy-back rule: whether a late payment buys its order. The first condition that fails is the reason
/// for the refund. Without a limit the time of the payment does not matter.
fn buy_back(
    order: &Order,
    payment: &Payment,
    late_limit: Option<Duration>,
    now: Timestamp,
    ticket: &TicketState,
) -> Result<LockChange, Unbought> {
    if !pays_price(order, payment) {
        return Err(Unbought::Refund(RefundReason::WrongAmount));
    }
    // The time of sending decides, not the time of arrival: a payment made in time and delivered after an
    // outage buys.
    if late_limit.is_some_and(|limit| payment.sent_at > order.expires_at.plus(limit)) {
        return Err(Unbought::Refund(RefundReason::TooLate));
    }
    let found = match ticket {
        TicketState::Unread => return Err(Unbought::ReadTicket),
        TicketState::Missing => return Err(Unbought::Refund(RefundReason::TicketChanged)),
        TicketState::Found(found) => found,
    };
    if found.replica.ticket.price != order.ticket.price {
        return Err(Unbought::Refund(RefundReason::TicketChanged));
    }
    match &found.availability {
        Availability::Own | Availability::Free => Ok(LockChange::BuyBack { takeover: None, now }),
        Availability::Lapsed(takeover) => {
            Ok(LockChange::BuyBack { takeover: Some(takeover.clone()), now })
        }
        Availability::Reserved { .. } | Availability::Sold => {
            Err(Unbought::Refund(RefundReason::TicketTaken))
        }
    }
}

/// Whether the amount is the order's price. The service trusts a payment without an amount.
fn pays_price(order: &Order, payment: &Payment) -> bool {
    payment.amount.is_none_or(|amount| amount == order.ticket.price)
}

/// Books a payment: it buys the order, or its refund is due.
fn book(order: &Order, payment: &Payment, lock: Result<LockChange, Unbought>) -> Decision {
    match lock {
        Ok(lock) => buy(order, payment, lock),
        Err(Unbought::ReadTicket) => Decision::ReadTicket,
        Err(Unbought::Refund(reason)) => refund(order, payment, reason),
    }
}

fn buy(order: &Order, payment: &Payment, lock: LockChange) -> Decision {
    let status = Status::Paid { payment_id: payment.id.clone() };
    let booked = BookedPayment { payment: payment.clone(), result: PaymentResult::Bought };
    transition(order, status, lock, Some(booked)).into()
}

/// Ends a live order. The ticket becomes free unless another order has its lock.
fn end(order: &Order, status: Status, ticket: &TicketState) -> Transition {
    let lock = match ticket {
        TicketState::Unread => LockChange::Release,
        TicketState::Found(found) if found.availability == Availability::Own => LockChange::Release,
        TicketState::Found(_) | TicketState::Missing => LockChange::NotOwn,
    };
    transition(order, status, lock, None)
}

/// Records a refund due and keeps status and lock.
fn refund(order: &Order, payment: &Payment, reason: RefundReason) -> Decision {
    if order.refunds_due.len() >= Order::MAX_REFUNDS {
        return Decision::Refuse(Refusal::TooManyRefunds);
    }
    let result = PaymentResult::RefundDue(reason);
    let booked = BookedPayment { payment: payment.clone(), result };
    transition(order, order.status.clone(), LockChange::Unchanged, Some(booked)).into()
}

/// The order's next version. A refund due of the booked payment is appended.
fn transition(
    before: &Order,
    status: Status,
    lock: LockChange,
    booked: Option<BookedPayment>,
) -> Transition {
    let mut order = Order { status, version: before.version.next(), ..before.clone() };
    if let Some(BookedPayment { payment, result: PaymentResult::RefundDue(reason) }) = &booked {
        order.refunds_due.push(RefundDue { payment_id: payment.id.clone(), reason: *reason });
    }
    Transition { expected_version: before.version, order, lock, booked }
}

impl From<Transition> for Decision {
    fn from(transition: Transition) -> Self {
        Self::Apply(transition)
    }
}

#[cfg(test)]
mod tests;

//! The state machine of an order: one pure function.

use std::time::Duration;

use crate::{
    Availability, BookedPayment, FoundTicket, Order, OrderVersion, Payment, PaymentId,
    PaymentResult, Price, RefundDue, RefundReason, RefundState, Slot, Status, Takeover, Timestamp,
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
    /// The buyer has started to pay: the hold becomes longer, once.
    StartPayment {
        /// Time at which the payment service sent the event, in whole seconds.
        sent_at: Timestamp,
        /// Time to pay from `sent_at` on; zero for no longer hold.
        time_to_pay: Duration,
        /// Time of the command.
        now: Timestamp,
    },
    /// A payment has been refunded.
    Refund {
        /// Payment id.
        payment_id: PaymentId,
        /// Refunded amount; `None` if the payment service does not report it: the whole charge.
        amount: Option<Price>,
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
    /// The order has [`Order::MAX_REFUNDS`] refunds.
    TooManyRefunds,
    /// The order does not know the refunded payment: its event is on the way.
    UnknownPayment,
    /// Only a part of the payment has been refunded: the order keeps its ticket.
    PartialRefund,
}

/// A change of an order to its next version. Only [`decide`] creates transitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    expected_version: OrderVersion,
    order: Order,
    change: Change,
    lock: LockChange,
    slot: Option<SlotChange>,
}

/// Change of an order's own attributes. Its version changes too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The status changes, without a payment.
    Status,
    /// A payment is booked: it buys the order, or its refund is due.
    Booked(BookedPayment),
    /// The hold becomes longer.
    Extended,
    /// The refund at this index of `refunds_due` is settled.
    Settled(usize),
}

/// Effect of a transition on the order's slot, in the same transaction, if the slot still holds the order's
/// old `expires_at`. Otherwise the slot stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotChange {
    /// The slot.
    pub slot: Slot,
    /// The order's old `expires_at`.
    pub expected: Timestamp,
    /// The new end; `None` frees the slot.
    pub until: Option<Timestamp>,
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
    /// The order's lock lasts until the order's new `expires_at`, if the lock names this order.
    Extend,
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

    /// Change of the order's own attributes.
    #[must_use]
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Effect on the buyer's slot, if any.
    #[must_use]
    pub fn slot(&self) -> Option<SlotChange> {
        self.slot
    }

    /// The refund due that the transition appends, if any.
    #[must_use]
    pub fn refund(&self) -> Option<&RefundDue> {
        match self.booked()?.result {
            PaymentResult::Bought => None,
            PaymentResult::RefundDue(_) => self.order.refunds_due.last(),
        }
    }

    /// The payment that the transition books, if any.
    #[must_use]
    pub fn booked(&self) -> Option<&BookedPayment> {
        match &self.change {
            Change::Booked(booked) => Some(booked),
            Change::Status | Change::Extended | Change::Settled(_) => None,
        }
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
///     traceparent: None,
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
    use Status::{AwaitingPayment, Cancelled, Expired, Free, Paid, Refunded};

    match (&order.status, command) {
        (AwaitingPayment, Command::Cancel) => end(order, Cancelled, ticket).into(),
        (AwaitingPayment, Command::Expire { now }) if order.is_due(*now) => {
            end(order, Expired, ticket).into()
        }
        (AwaitingPayment, Command::Expire { .. }) => {
            Decision::Refuse(Refusal::NotDue { until: order.expires_at })
        }
        (AwaitingPayment, Command::StartPayment { sent_at, time_to_pay, now }) => {
            // An event from the future would hold a ticket for any time.
            extend(order, (*sent_at).min(*now).plus(*time_to_pay), *now, ticket)
        }

        (Paid { .. }, Command::Cancel) => Decision::Refuse(Refusal::Paid),
        // A ticket that costs nothing can be given back.
        (Free, Command::Cancel) => end(order, Cancelled, ticket).into(),

        (Cancelled | Refunded { .. }, Command::Cancel) => Decision::AlreadyDone,
        // A cancellation has the same effect before and after the expiry: no payment can buy the order.
        (Expired, Command::Cancel) => {
            change(order, Change::Status, Cancelled, LockChange::Unchanged).into()
        }

        (
            Paid { .. } | Free | Cancelled | Expired | Refunded { .. },
            Command::Expire { .. } | Command::StartPayment { .. },
        ) => Decision::AlreadyDone,

        (
            AwaitingPayment | Paid { .. } | Free | Cancelled | Expired | Refunded { .. },
            Command::Pay { payment, late_limit, now },
        ) => pay(order, payment, *late_limit, *now, ticket),
        (
            AwaitingPayment | Paid { .. } | Free | Cancelled | Expired | Refunded { .. },
            Command::Refund { payment_id, amount },
        ) => give_back(order, payment_id, *amount, ticket),
    }
}

/// Decides the effect of a payment.
fn pay(
    order: &Order,
    payment: &Payment,
    late_limit: Duration,
    now: Timestamp,
    ticket: &TicketState,
) -> Decision {
    // Events repeat. A payment with a refund never buys, even if it could now.
    if order.refund_of(&payment.id).is_some() {
        return Decision::AlreadyDone;
    }
    let late_limit = Some(late_limit);
    match &order.status {
        Status::AwaitingPayment if order.is_due(now) => {
            match buy_back(order, payment, late_limit, now, ticket) {
                // The refund is decided on the expired order.
                Err(Unbought::Refund(_)) => {
                    Decision::ApplyFirst(end(order, Status::Expired, ticket))
                }
                lock @ (Ok(_) | Err(Unbought::ReadTicket)) => book(order, payment, lock),
            }
        }
        Status::AwaitingPayment => book(order, payment, sell(order, payment, now, ticket)),
        Status::Expired => book(order, payment, buy_back(order, payment, late_limit, now, ticket)),
        // The payment that bought the order is not a second payment.
        Status::Paid { payment_id } | Status::Refunded { payment_id }
            if *payment_id == payment.id =>
        {
            Decision::AlreadyDone
        }
        Status::Free if payment.amount.is_some_and(Price::is_free) => Decision::AlreadyDone,
        Status::Paid { .. } | Status::Free => refund(order, payment, RefundReason::AlreadyPaid),
        Status::Cancelled => refund(order, payment, RefundReason::OrderCancelled),
        Status::Refunded { .. } => refund(order, payment, RefundReason::OrderRefunded),
    }
}

/// Decides the effect of a refund that has been made.
fn give_back(
    order: &Order,
    payment_id: &PaymentId,
    amount: Option<Price>,
    ticket: &TicketState,
) -> Decision {
    let is_partial = |charge: Price| amount.is_some_and(|amount| amount < charge);
    let refunds = order.refunds_due.iter().enumerate();
    let known = refunds.into_iter().find(|(_, refund)| refund.payment_id == *payment_id);
    match (&order.status, known) {
        (_, Some((_, refund))) if refund.state == RefundState::Settled => Decision::AlreadyDone,
        (_, Some((_, refund))) if is_partial(refund.amount.unwrap_or(order.ticket.price)) => {
            Decision::Refuse(Refusal::PartialRefund)
        }
        (status, Some((index, _))) => {
            let status = status.clone();
            change(order, Change::Settled(index), status, LockChange::Unchanged).into()
        }
        (Status::Refunded { payment_id: bought_by }, None) if bought_by == payment_id => {
            Decision::AlreadyDone
        }
        (Status::Paid { payment_id: bought_by }, None) if bought_by == payment_id => {
            if is_partial(order.ticket.price) {
                return Decision::Refuse(Refusal::PartialRefund);
            }
            end(order, Status::Refunded { payment_id: payment_id.clone() }, ticket).into()
        }
        (
            Status::AwaitingPayment
            | Status::Paid { .. }
            | Status::Free
            | Status::Cancelled
            | Status::Expired
            | Status::Refunded { .. },
            None,
        ) => Decision::Refuse(Refusal::UnknownPayment),
    }
}

/// Extends a hold that has not lapsed, once. A hold without its lock is not extended.
fn extend(order: &Order, until: Timestamp, now: Timestamp, ticket: &TicketState) -> Decision {
    let is_own = match ticket {
        TicketState::Unread => true,
        TicketState::Found(found) => found.availability == Availability::Own,
        TicketState::Missing => false,
    };
    if order.is_due(now) || order.extended || until <= order.expires_at || !is_own {
        return Decision::AlreadyDone;
    }
    let longer = Order { expires_at: until, extended: true, ..order.clone() };
    transition(order, longer, Change::Extended, LockChange::Extend).into()
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
    if found.replica.sale.ticket().map(|ticket| ticket.price) != Some(order.ticket.price) {
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
    change(order, Change::Booked(booked), status, lock).into()
}

/// Ends a live order. The ticket becomes free unless another order has its lock.
fn end(order: &Order, status: Status, ticket: &TicketState) -> Transition {
    let lock = match ticket {
        TicketState::Unread => LockChange::Release,
        TicketState::Found(found) if found.availability == Availability::Own => LockChange::Release,
        TicketState::Found(_) | TicketState::Missing => LockChange::NotOwn,
    };
    change(order, Change::Status, status, lock)
}

/// Records a refund due and keeps status and lock.
fn refund(order: &Order, payment: &Payment, reason: RefundReason) -> Decision {
    if order.refunds_due.len() >= Order::MAX_REFUNDS {
        return Decision::Refuse(Refusal::TooManyRefunds);
    }
    let result = PaymentResult::RefundDue(reason);
    let booked = BookedPayment { payment: payment.clone(), result };
    change(order, Change::Booked(booked), order.status.clone(), LockChange::Unchanged).into()
}

/// A transition to this status, with the refunds that the change appends or settles.
fn change(before: &Order, change: Change, status: Status, lock: LockChange) -> Transition {
    let mut after = Order { status, ..before.clone() };
    match &change {
        Change::Booked(BookedPayment { payment, result: PaymentResult::RefundDue(reason) }) => {
            after.refunds_due.push(RefundDue::new(payment, *reason));
        }
        Change::Settled(index) => {
            if let Some(refund) = after.refunds_due.get_mut(*index) {
                refund.state = RefundState::Settled;
            }
        }
        Change::Status | Change::Booked(_) | Change::Extended => {}
    }
    transition(before, after, change, lock)
}

/// The order's next version. Its slot follows the hold: an unpaid order occupies it until `expires_at`. A
/// lapsed hold has freed its slot already.
fn transition(before: &Order, after: Order, change: Change, lock: LockChange) -> Transition {
    let (expected_version, version) = (before.version, before.version.next());
    let held = |order: &Order| match order.status {
        Status::AwaitingPayment | Status::Free => Some(order.expires_at),
        Status::Paid { .. } | Status::Cancelled | Status::Expired | Status::Refunded { .. } => None,
    };
    let has_lapsed = after.status == Status::Expired || matches!(lock, LockChange::BuyBack { .. });
    let slot = match (before.slot, held(before), held(&after)) {
        (Some(slot), Some(expected), until) if until != Some(expected) && !has_lapsed => {
            Some(SlotChange { slot, expected, until })
        }
        (Some(_) | None, _, _) => None,
    };
    Transition { expected_version, order: Order { version, ..after }, change, lock, slot }
}

impl From<Transition> for Decision {
    fn from(transition: Transition) -> Self {
        Self::Apply(transition)
    }
}

#[cfg(test)]
mod tests;

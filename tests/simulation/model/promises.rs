//! Properties of every state and of every step.

use orders_domain::{BookedPayment, Change, Order, PaymentResult, Status, Transition};

use crate::{
    state::{
        Kind, LONGEST_HOLD, LockState, ORDERS, Operation, OrderNumber, OrderStatus, PAYMENTS, Part,
        PaymentNumber, Refunds, Request, SlotState, State, StoredOrder, Terms, Tick, number, sale,
    },
    steps::{Action, Message, Observed},
};

pub(crate) const PAID_IS_FINAL: &str = "a paid order stays paid until its payment is refunded";
pub(crate) const FREE_IS_FINAL: &str = "a free order stays paid until its owner cancels it";
pub(crate) const CANCELLED_IS_FINAL: &str = "a cancelled order stays cancelled";
pub(crate) const REFUNDED_IS_FINAL: &str = "a refunded order stays refunded";
pub(crate) const ONLY_PAYMENT_REVIVES: &str = "only a payment makes an expired order live";
pub(crate) const NEXT_VERSION: &str = "each change increments the version";
pub(crate) const NO_EARLY_EXPIRY: &str = "no order expires before its time";
pub(crate) const TERMS_PERSIST: &str =
    "no order changes its price, and its end only once, to later";
pub(crate) const REFUNDS_PERSIST: &str = "no refund is lost, or due after it was settled";
pub(crate) const ORDERS_PERSIST: &str = "no order is lost or replaced";
pub(crate) const ON_SALE: &str = "an order is placed only for the ticket on sale";
pub(crate) const PAYMENT_IS_BOOKED: &str = "a payment is done only when booked";
pub(crate) const PAYMENT_HAS_ITS_ROW: &str = "the payments table has the result of each payment";
pub(crate) const LOCK_NAMES_ITS_BUYER: &str = "a lock names its buyer";
pub(crate) const RIGHT_AMOUNT: &str = "a wrong amount never buys";
pub(crate) const CURRENT_PRICE: &str = "a late payment never buys at an old price";
pub(crate) const NOT_TOO_LATE: &str = "a payment sent too late never buys";
pub(crate) const EXTENDED_IN_TIME: &str = "a hold is extended only before its end, by a start";
pub(crate) const REFUND_WAS_MADE: &str = "only the whole refund of a payment settles it";
pub(crate) const READ_IS_CURRENT: &str = "an operation with an outdated read writes nothing";

fn check(holds: bool, promise: &'static str) -> Option<&'static str> {
    (!holds).then_some(promise)
}

/// Returns the property violated by a write.
pub(crate) fn violation_of_write(
    state: &State,
    before: Option<StoredOrder>,
    after: Option<&Order>,
) -> Option<&'static str> {
    let (before, order) = match (before, after) {
        (None, None) => return None,
        (None, Some(placed)) => {
            let is_free = placed.ticket.price.is_free();
            let status = if is_free { Status::Free } else { Status::AwaitingPayment };
            let is_new = placed.version.number() == 0 && placed.status == status;
            let is_on_sale = sale(state.ticket).ticket() == Some(&placed.ticket);
            return check(is_new, ORDERS_PERSIST).or(check(is_on_sale, ON_SALE));
        }
        (Some(_), None) => return Some(ORDERS_PERSIST),
        (Some(before), Some(order)) => (before, order),
    };
    let after = StoredOrder::new(order);
    if before == after {
        return None;
    }
    let keeps_refunds = (0..PAYMENTS).all(|payment| {
        let (Refunds { due, settled }, after) = (before.refunds(payment), after.refunds(payment));
        settled <= after.settled && due + settled <= after.due + after.settled
    });
    check(after.version == before.version + 1, NEXT_VERSION)
        .or(check(keeps_terms(before, order), TERMS_PERSIST))
        .or(check(keeps_refunds, REFUNDS_PERSIST))
        .or(violation_of_status(before, after, state.now))
}

/// Whether an order keeps its price and the end of its hold, or is extended for the first time.
fn keeps_terms(before: StoredOrder, after: &Order) -> bool {
    let after = Terms::new(after);
    before.terms.is_none_or(|terms| {
        let longer = Terms { expires_at: after.expires_at, extended: true, ..terms };
        let is_first = before.status == OrderStatus::AwaitingPayment && !terms.extended;
        after == terms || is_first && after == longer && terms.expires_at < after.expires_at
    })
}

fn violation_of_status(before: StoredOrder, after: StoredOrder, now: Tick) -> Option<&'static str> {
    if before.status == after.status {
        return None;
    }
    let is_paid = matches!(after.status, OrderStatus::Paid { .. });
    match before.status {
        OrderStatus::Paid { payment } => {
            check(after.status == OrderStatus::Refunded { payment }, PAID_IS_FINAL)
        }
        OrderStatus::Free => check(after.status == OrderStatus::Cancelled, FREE_IS_FINAL),
        OrderStatus::Cancelled => Some(CANCELLED_IS_FINAL),
        OrderStatus::Refunded { .. } => Some(REFUNDED_IS_FINAL),
        OrderStatus::Expired => check(!after.is_live() || is_paid, ONLY_PAYMENT_REVIVES),
        OrderStatus::AwaitingPayment => {
            check(after.status != OrderStatus::Expired || before.is_due(now), NO_EARLY_EXPIRY)
        }
    }
}

/// Returns the property violated by a transition of a command. `state` is the state before it.
pub(crate) fn violation_of_transition(
    state: &State,
    command: Operation,
    transition: &Transition,
) -> Option<&'static str> {
    let read = command.read?;
    let is_refund = |payment| command.request == Request::Refund { payment, part: Part::Whole };
    let settles = |payment| {
        StoredOrder::new(transition.order()).refunds(payment).settled
            > read.refunds(payment).settled
    };
    match (transition.change(), StoredOrder::new(transition.order()).status) {
        (Change::Booked(_), _) => violation_of_sale(state, command, transition),
        (Change::Extended, _) => {
            let is_start = command.request == Request::Start;
            check(is_start && !read.is_due(command.now), EXTENDED_IN_TIME)
        }
        (Change::Settled(_), _) => {
            let mut settled = (0..PAYMENTS).filter(|payment| settles(*payment));
            check(settled.all(is_refund), REFUND_WAS_MADE)
        }
        (Change::Status, OrderStatus::Refunded { payment }) => {
            let was_paid = read.status == OrderStatus::Paid { payment };
            check(was_paid && is_refund(payment), REFUND_WAS_MADE)
        }
        (Change::Status, _) => None,
    }
}

/// Returns the property violated by the sale of a transaction, if it is a sale.
fn violation_of_sale(
    state: &State,
    command: Operation,
    transition: &Transition,
) -> Option<&'static str> {
    let is_sale = transition.booked()?.result == PaymentResult::Bought;
    let (Request::Pay { payment }, Some(read), true) = (command.request, command.read, is_sale)
    else {
        return None;
    };
    let (sent, terms) = (state.payment(payment)?, read.terms?);
    let is_late = read.is_due(command.now);
    check(sent.kind != Kind::WrongAmount, RIGHT_AMOUNT)
        .or(check(!is_late || terms.ticket == state.ticket, CURRENT_PRICE))
        .or(check(!is_late || sent.kind != Kind::TooLate, NOT_TOO_LATE))
}

/// Returns the property violated by an operation without a write.
pub(crate) fn violation_of_no_op(
    state: &State,
    command: Operation,
    result: Observed,
) -> Option<&'static str> {
    let (Request::Pay { payment }, Some(read)) = (command.request, command.read) else {
        return None;
    };
    let is_done = match result {
        Observed::BookedBefore => read.bookings(payment) == 1,
        Observed::NothingToPay => pays_nothing(state, payment, read),
        _ => false,
    };
    check(is_done, PAYMENT_IS_BOOKED)
}

/// Whether a payment is of the price of a free order: zero.
fn pays_nothing(state: &State, payment: PaymentNumber, order: StoredOrder) -> bool {
    let is_wrong = state.payment(payment).is_some_and(|sent| sent.kind == Kind::WrongAmount);
    order.status == OrderStatus::Free && !is_wrong
}

/// Returns the property violated by the row of a payment.
pub(crate) fn violation_of_row(
    state: &State,
    payment: PaymentNumber,
    row: Option<&BookedPayment>,
) -> Option<&'static str> {
    let is_bought = |number| state.order(number).is_some_and(|order| order.was_bought_by(payment));
    let booked = state.bookings(payment).map(|(number, _)| (number, is_bought(number))).next();
    let row = row.map(|row| (number(row.payment.order_id), row.result == PaymentResult::Bought));
    check(booked == row, PAYMENT_HAS_ITS_ROW)
}

/// Promise 1.
pub(crate) fn at_most_one_live_order(state: &State) -> bool {
    state.orders().filter(|(_, order)| order.is_live()).count() <= 1
}

/// Promise 2.
pub(crate) fn lock_names_the_live_order(state: &State) -> bool {
    let lock = state.orders().find_map(|(number, order)| match order.status {
        OrderStatus::AwaitingPayment => {
            order.terms.map(|terms| LockState::Held { by: number, until: terms.expires_at })
        }
        OrderStatus::Paid { .. } | OrderStatus::Free => Some(LockState::Sold { to: number }),
        OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::Refunded { .. } => None,
    });
    state.lock == lock.unwrap_or(LockState::Free)
}

/// Promise 8, without the payments in progress: no payment is booked twice, for one order or for
/// two.
pub(crate) fn no_payment_is_booked_twice(state: &State) -> bool {
    (0..PAYMENTS).all(|payment| {
        let is_named = |order| state.payment(payment).is_some_and(|sent| sent.names(order));
        let mut bookings = state.bookings(payment);
        bookings.next().is_none_or(|(order, bookings)| bookings == 1 && is_named(order))
            && bookings.next().is_none()
    })
}

/// Promise 17: the order that holds the ticket, and no other, occupies the buyer's slot, until the
/// end of its hold.
pub(crate) fn slot_follows_the_hold(state: &State) -> bool {
    let occupied = match state.slot {
        SlotState::Unlimited | SlotState::Free => None,
        SlotState::Occupied { until } => Some(until),
    };
    let is_in_future = |until: &Tick| *until > state.now;
    let held = state.orders().find_map(|(_, order)| order.slot_until().filter(is_in_future));
    occupied.filter(is_in_future) == held
}

/// Promise 7, for a buyer alone: a free or lapsed ticket is available at once, any other is not.
pub(crate) fn ticket_is_available_unless_locked(state: &State) -> bool {
    let Some(newcomer) = (0..ORDERS).find(|number| state.order(*number).is_none()) else {
        return true;
    };
    if !state.pending.is_empty() {
        return true;
    }
    let expected = match state.lock {
        _ if sale(state.ticket).ticket().is_none() => Observed::Withdrawn,
        LockState::Free => Observed::Placed,
        LockState::Held { until, .. } if until <= state.now => Observed::PlacedByTakeover,
        LockState::Held { .. } => Observed::Reserved,
        LockState::Sold { .. } => Observed::Sold,
    };
    run_alone(state, Message::Place { order: newcomer }).1 == Some(expected)
}

/// Promises 6, 8 and 14, for a command alone: its result is that of the table, whether or not the
/// expiry of a due order is committed.
pub(crate) fn every_command_has_the_result_of_the_table(state: &State) -> bool {
    let gives = |message, expected| run_alone(state, message).1 == Some(expected);
    !state.pending.is_empty()
        || state.orders().all(|(order, stored)| {
            gives(Message::Cancel { order }, result_of_cancel(stored))
                && gives(Message::Expire { order }, result_of_expiry(stored, state.now))
                && gives(Message::Start { order }, result_of_start(stored, state.now))
        }) && state.sent().all(|(payment, order)| {
            gives(Message::Pay { payment, order }, result_of_payment(state, payment, order))
                && [Part::Whole, Part::Less].into_iter().all(|part| {
                    let result = result_of_refund(state, payment, order, part);
                    gives(Message::Refund { payment, order, part }, result)
                })
        })
}

fn result_of_cancel(order: StoredOrder) -> Observed {
    match order.status {
        OrderStatus::AwaitingPayment => Observed::Cancelled,
        OrderStatus::Paid { .. } => Observed::CancelRefused,
        OrderStatus::Free => Observed::GivenBack,
        OrderStatus::Cancelled | OrderStatus::Refunded { .. } => Observed::CancelledBefore,
        OrderStatus::Expired => Observed::CancelledWhenExpired,
    }
}

fn result_of_expiry(order: StoredOrder, now: Tick) -> Observed {
    match order.status {
        OrderStatus::AwaitingPayment if order.is_due(now) => Observed::Expired,
        OrderStatus::AwaitingPayment => Observed::ExpiryTooEarly,
        OrderStatus::Paid { .. }
        | OrderStatus::Free
        | OrderStatus::Cancelled
        | OrderStatus::Expired
        | OrderStatus::Refunded { .. } => Observed::EndedBefore,
    }
}

fn result_of_start(order: StoredOrder, now: Tick) -> Observed {
    let is_extended = order.terms.is_none_or(|terms| terms.extended);
    if order.status == OrderStatus::AwaitingPayment && !order.is_due(now) && !is_extended {
        Observed::Extended
    } else {
        Observed::NotExtended
    }
}

fn result_of_refund(
    state: &State,
    payment: PaymentNumber,
    number: OrderNumber,
    part: Part,
) -> Observed {
    let Some(order) = state.order(number) else { return Observed::RefundTooEarly };
    let Refunds { due, settled } = order.refunds(payment);
    let is_paid = order.status == OrderStatus::Paid { payment };
    let is_refunded = order.status == OrderStatus::Refunded { payment };
    match part {
        _ if settled > 0 || is_refunded => Observed::RefundedBefore,
        Part::Less if due > 0 || is_paid => Observed::RefundTooSmall,
        Part::Whole if due > 0 => Observed::RefundSettled,
        Part::Whole if is_paid => Observed::Refunded,
        Part::Whole | Part::Less => Observed::RefundTooEarly,
    }
}

fn result_of_payment(state: &State, payment: PaymentNumber, number: OrderNumber) -> Observed {
    let (Some(order), Some(sent)) = (state.order(number), state.payment(payment)) else {
        return Observed::PlacedBefore;
    };
    if let Some((booked_for, _)) = state.bookings(payment).next() {
        return if booked_for == number {
            Observed::BookedBefore
        } else {
            Observed::BookedForAnother
        };
    }
    match (order.status, order.terms) {
        (OrderStatus::AwaitingPayment, _) if !order.is_due(state.now) => match sent.kind {
            Kind::WrongAmount => Observed::WrongAmountOfHold,
            Kind::Right | Kind::TooLate => Observed::Paid,
        },
        (OrderStatus::Cancelled, _) => Observed::OrderCancelled,
        (OrderStatus::Refunded { .. }, _) => Observed::OrderRefunded,
        (OrderStatus::Free, _) if pays_nothing(state, payment, order) => Observed::NothingToPay,
        (OrderStatus::Free | OrderStatus::Paid { .. }, _) | (_, None) => Observed::AlreadyPaid,
        (OrderStatus::AwaitingPayment | OrderStatus::Expired, Some(terms)) => {
            if sent.kind == Kind::WrongAmount {
                Observed::WrongAmount
            } else if sent.kind == Kind::TooLate {
                Observed::TooLate
            } else if state.ticket != terms.ticket {
                Observed::TicketChanged
            } else {
                result_of_buy_back(state, number)
            }
        }
    }
}

fn result_of_buy_back(state: &State, number: OrderNumber) -> Observed {
    match state.lock {
        LockState::Free => Observed::PaidWhenExpired,
        LockState::Held { by, .. } if by == number => Observed::PaidWhenDue,
        LockState::Held { until, .. } if until <= state.now => Observed::PaidByTakeover,
        LockState::Held { .. } | LockState::Sold { .. } => Observed::TicketTaken,
    }
}

/// Promise 2, for reconcile alone: a lapsed hold expires.
pub(crate) fn reconcile_repairs_a_lapsed_hold(state: &State) -> bool {
    let expected = match state.lock {
        LockState::Held { until, .. } if until <= state.now => Observed::Expired,
        LockState::Held { .. } | LockState::Free | LockState::Sold { .. } => {
            Observed::NothingLapsed
        }
    };
    !state.pending.is_empty() || run_alone(state, Message::Reconcile).1 == Some(expected)
}

/// Promise 8, at the end: after the longest hold and one delivery of each remaining message, every order is
/// final and every payment is booked. If the timers are lost, reconcile runs instead.
pub(crate) fn every_order_becomes_final(state: &State, has_lost_timers: bool) -> bool {
    if !state.pending.is_empty() {
        return true;
    }
    let mut end = state.clone();
    end.now += LONGEST_HOLD;
    for _ in 0..ORDERS {
        if has_lost_timers {
            end = run_alone(&end, Message::Reconcile).0;
        } else {
            let expire = |end, order| run_alone(&end, Message::Expire { order }).0;
            end = (0..ORDERS).fold(end, expire);
        }
        for (payment, order) in state.sent() {
            end = run_alone(&end, Message::Pay { payment, order }).0;
        }
    }
    let is_done = |(payment, order)| {
        let pays_nothing = |order| pays_nothing(&end, payment, order);
        end.bookings(payment).next().is_some() || end.order(order).is_some_and(pays_nothing)
    };
    state.sent().all(is_done)
        && end.orders().all(|(_, order)| order.status != OrderStatus::AwaitingPayment)
}

/// Runs an operation without interruption. Returns the state after it and its result.
fn run_alone(state: &State, message: Message) -> (State, Option<Observed>) {
    let (mut state, mut done) = state.after(Action::Begin { message });
    while !state.pending.is_empty() {
        let (after, observed) = state.after(Action::Continue { pending: 0 });
        (state, done) = (after, observed.or(done));
    }
    (state, done)
}

//! Properties of every state and of every step.

use orders_domain::{BookedPayment, Order, PaymentResult, Status, Transition};

use crate::{
    state::{
        Kind, LockState, ORDERS, Operation, OrderNumber, OrderStatus, PAYMENTS, PaymentNumber,
        Request, State, StoredOrder, Terms, Tick, number,
    },
    steps::{Action, Message, Observed},
};

pub(crate) const PAID_IS_FINAL: &str = "a paid order stays paid";
pub(crate) const CANCELLED_IS_FINAL: &str = "a cancelled order stays cancelled";
pub(crate) const ONLY_PAYMENT_REVIVES: &str = "only a payment makes an expired order live";
pub(crate) const NEXT_VERSION: &str = "each change increments the version";
pub(crate) const NO_EARLY_EXPIRY: &str = "no order expires before its time";
pub(crate) const TERMS_PERSIST: &str = "no order changes its price or the end of its hold";
pub(crate) const ORDERS_PERSIST: &str = "no order is lost or replaced";
pub(crate) const PAYMENT_IS_BOOKED: &str = "a payment is done only when booked";
pub(crate) const PAYMENT_HAS_ITS_ROW: &str = "the payments table has the result of each payment";
pub(crate) const LOCK_NAMES_ITS_BUYER: &str = "a lock names its buyer";
pub(crate) const RIGHT_AMOUNT: &str = "a wrong amount never buys";
pub(crate) const CURRENT_PRICE: &str = "a late payment never buys at an old price";
pub(crate) const NOT_TOO_LATE: &str = "a payment sent too late never buys";
pub(crate) const READ_IS_CURRENT: &str = "an operation with an outdated read writes nothing";

fn check(holds: bool, promise: &'static str) -> Option<&'static str> {
    (!holds).then_some(promise)
}

/// Returns the property violated by a write.
pub(crate) fn violation_of_write(
    before: Option<StoredOrder>,
    after: Option<&Order>,
    now: Tick,
) -> Option<&'static str> {
    let (before, order) = match (before, after) {
        (None, None) => return None,
        (None, Some(placed)) => {
            let is_new = placed.version.number() == 0 && placed.status == Status::AwaitingPayment;
            return check(is_new, ORDERS_PERSIST);
        }
        (Some(_), None) => return Some(ORDERS_PERSIST),
        (Some(before), Some(order)) => (before, order),
    };
    let after = StoredOrder::new(order);
    if before == after {
        return None;
    }
    let goes_to = |status| before.status != status && after.status == status;
    let stays = before.status == after.status;
    let was_paid = matches!(before.status, OrderStatus::Paid { .. });
    let is_paid = matches!(after.status, OrderStatus::Paid { .. });
    check(after.version == before.version + 1, NEXT_VERSION)
        .or(check(before.terms.is_none_or(|terms| terms == Terms::new(order)), TERMS_PERSIST))
        .or(check(!was_paid || stays, PAID_IS_FINAL))
        .or(check(before.status != OrderStatus::Cancelled || stays, CANCELLED_IS_FINAL))
        .or(check(before.is_live() || !after.is_live() || is_paid, ONLY_PAYMENT_REVIVES))
        .or(check(!goes_to(OrderStatus::Expired) || before.is_due(now), NO_EARLY_EXPIRY))
}

/// Returns the property violated by the sale of a transaction, if it is a sale. `state` is the
/// state before it.
pub(crate) fn violation_of_sale(
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
pub(crate) fn violation_of_no_op(command: Operation, result: Observed) -> Option<&'static str> {
    let Request::Pay { payment } = command.request else { return None };
    let is_booked = command.read.is_some_and(|read| read.bookings(payment) == 1);
    check(result == Observed::BookedBefore && is_booked, PAYMENT_IS_BOOKED)
}

/// Returns the property violated by the row of a payment.
pub(crate) fn violation_of_row(
    state: &State,
    payment: PaymentNumber,
    row: Option<&BookedPayment>,
) -> Option<&'static str> {
    let status = |number| state.order(number).map(|order| order.status);
    let is_bought = |number| status(number) == Some(OrderStatus::Paid { payment });
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
        OrderStatus::Paid { .. } => Some(LockState::Sold { to: number }),
        OrderStatus::Cancelled | OrderStatus::Expired => None,
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

/// Promise 7, for a buyer alone: a free or lapsed ticket is available at once, any other is not.
pub(crate) fn ticket_is_available_unless_locked(state: &State) -> bool {
    let Some(newcomer) = (0..ORDERS).find(|number| state.order(*number).is_none()) else {
        return true;
    };
    if !state.pending.is_empty() {
        return true;
    }
    let expected = match state.lock {
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
        }) && state.sent().all(|(payment, order)| {
            gives(Message::Pay { payment, order }, result_of_payment(state, payment, order))
        })
}

fn result_of_cancel(order: StoredOrder) -> Observed {
    match order.status {
        OrderStatus::AwaitingPayment => Observed::Cancelled,
        OrderStatus::Paid { .. } => Observed::CancelRefused,
        OrderStatus::Cancelled => Observed::CancelledBefore,
        OrderStatus::Expired => Observed::CancelledWhenExpired,
    }
}

fn result_of_expiry(order: StoredOrder, now: Tick) -> Observed {
    match order.status {
        OrderStatus::AwaitingPayment if order.is_due(now) => Observed::Expired,
        OrderStatus::AwaitingPayment => Observed::ExpiryTooEarly,
        OrderStatus::Paid { .. } | OrderStatus::Cancelled | OrderStatus::Expired => {
            Observed::EndedBefore
        }
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
        (OrderStatus::Paid { .. }, _) | (_, None) => Observed::AlreadyPaid,
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

/// Promise 8, at the end: after a tick and one delivery of each remaining message, every order is
/// final and every payment is booked.
pub(crate) fn every_order_becomes_final(state: &State) -> bool {
    if !state.pending.is_empty() {
        return true;
    }
    let mut end = state.clone();
    end.now += 1;
    for _ in 0..ORDERS {
        for order in 0..ORDERS {
            end = run_alone(&end, Message::Expire { order }).0;
        }
        for (payment, order) in state.sent() {
            end = run_alone(&end, Message::Pay { payment, order }).0;
        }
    }
    state.sent().all(|(payment, _)| end.bookings(payment).next().is_some())
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

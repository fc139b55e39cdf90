//! Properties of every state and of every step.

use crate::{
    state::{LockState, ORDERS, OrderStatus, PAYMENTS, Request, State, StoredOrder, Tick},
    steps::{Action, Message, Observed},
};

pub(crate) const PAID_IS_FINAL: &str = "a paid order stays paid";
pub(crate) const ONLY_PAYMENT_REVIVES: &str = "only a payment makes a final order live";
pub(crate) const NEXT_VERSION: &str = "each change increments the version";
pub(crate) const NO_EARLY_EXPIRY: &str = "no order expires before its time";
pub(crate) const ORDERS_PERSIST: &str = "no order is lost or replaced";
pub(crate) const PAYMENT_IS_BOOKED: &str = "a payment is done only when booked";

/// Returns the property violated by a write.
pub(crate) fn violation_of_write(
    before: Option<StoredOrder>,
    after: Option<StoredOrder>,
    now: Tick,
) -> Option<&'static str> {
    let (before, after) = match (before, after) {
        (None, None) => return None,
        (None, Some(placed)) => {
            let is_new = placed.version == 0 && placed.status == OrderStatus::AwaitingPayment;
            return (!is_new).then_some(ORDERS_PERSIST);
        }
        (Some(_), None) => return Some(ORDERS_PERSIST),
        (Some(before), Some(after)) if before == after => return None,
        (Some(before), Some(after)) => (before, after),
    };
    let check = |holds: bool, promise| (!holds).then_some(promise);
    let goes_to = |status| before.status != status && after.status == status;
    let was_paid = matches!(before.status, OrderStatus::Paid { .. });
    let is_paid = matches!(after.status, OrderStatus::Paid { .. });
    check(after.version == before.version + 1, NEXT_VERSION)
        .or(check(!was_paid || before.status == after.status, PAID_IS_FINAL))
        .or(check(before.is_live() || !after.is_live() || is_paid, ONLY_PAYMENT_REVIVES))
        .or(check(!goes_to(OrderStatus::Expired) || before.is_due(now), NO_EARLY_EXPIRY))
}

/// Returns the property violated by an operation without a write.
pub(crate) fn violation_of_no_op(
    read: &StoredOrder,
    request: Request,
    result: Observed,
) -> Option<&'static str> {
    let Request::Pay { payment, .. } = request else { return None };
    let is_done = result == Observed::BookedBefore && read.bookings(payment) == 1;
    (!is_done).then_some(PAYMENT_IS_BOOKED)
}

/// Promise 1.
pub(crate) fn at_most_one_live_order(state: &State) -> bool {
    state.orders().filter(|(_, order)| order.is_live()).count() <= 1
}

/// Promise 2.
pub(crate) fn lock_names_the_live_order(state: &State) -> bool {
    let lock = state.orders().find_map(|(number, order)| match order.status {
        OrderStatus::AwaitingPayment => {
            order.expires_at.map(|until| LockState::Held { by: number, until })
        }
        OrderStatus::Paid { .. } => Some(LockState::Sold { to: number }),
        OrderStatus::Cancelled | OrderStatus::Expired => None,
    });
    state.lock == lock.unwrap_or(LockState::Free)
}

/// Promise 8, without the payments in progress.
pub(crate) fn no_payment_is_booked_twice(state: &State) -> bool {
    (0..PAYMENTS).all(|payment| {
        state.orders().all(|(number, order)| {
            order.bookings(payment) <= usize::from(state.order_of_payment(payment) == Some(number))
        })
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
        for payment in 0..PAYMENTS {
            if let Some(order) = state.order_of_payment(payment) {
                end = run_alone(&end, Message::Pay { payment, order }).0;
            }
        }
    }
    let is_booked = |payment| {
        let order = state.order_of_payment(payment).map(|order| end.order(order));
        order.is_none_or(|order| order.is_some_and(|order| order.bookings(payment) == 1))
    };
    (0..PAYMENTS).all(is_booked)
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

//! What must hold in every state, and after every step.

use crate::{
    state::{Ask, CHARGES, Locked, ORDERS, Row, Stage, State, Tick},
    steps::{Action, Message, Observed},
};

pub(crate) const LEAVES_PAID: &str = "a paid order stays paid";
pub(crate) const BACK_TO_LIFE: &str = "only a charge brings an order back to life";
pub(crate) const SKIPS_A_VERSION: &str = "each change is the next version";
pub(crate) const TOO_EARLY: &str = "no order expires before its time";
pub(crate) const ORDER_IS_GONE: &str = "no order is ever gone, or placed twice";
pub(crate) const CHARGE_IS_LOST: &str = "a charge is done only when it is booked";

/// The promise that a write has broken, if any.
pub(crate) fn broken_by_writing(
    before: Option<Row>,
    after: Option<Row>,
    now: Tick,
) -> Option<&'static str> {
    let (before, after) = match (before, after) {
        (None, None) => return None,
        (None, Some(placed)) => {
            let is_new = placed.version == 0 && placed.status == Stage::AwaitingPayment;
            return (!is_new).then_some(ORDER_IS_GONE);
        }
        (Some(_), None) => return Some(ORDER_IS_GONE),
        (Some(before), Some(after)) if before == after => return None,
        (Some(before), Some(after)) => (before, after),
    };
    let broken = |holds: bool, promise| (!holds).then_some(promise);
    let goes_to = |status| before.status != status && after.status == status;
    let was_paid = matches!(before.status, Stage::Paid { .. });
    let is_paid = matches!(after.status, Stage::Paid { .. });
    broken(after.version == before.version + 1, SKIPS_A_VERSION)
        .or(broken(!was_paid || before.status == after.status, LEAVES_PAID))
        .or(broken(before.is_live() || !after.is_live() || is_paid, BACK_TO_LIFE))
        .or(broken(!goes_to(Stage::Expired) || before.is_due(now), TOO_EARLY))
}

/// The promise that is broken by doing nothing, if any.
pub(crate) fn broken_by_leaving(read: &Row, ask: Ask, why: Observed) -> Option<&'static str> {
    let Ask::Pay { charge, .. } = ask else { return None };
    let is_done = why == Observed::BookedBefore && read.bookings(charge) == 1;
    (!is_done).then_some(CHARGE_IS_LOST)
}

/// Promise 1.
pub(crate) fn one_live_order_at_most(state: &State) -> bool {
    state.orders().filter(|(_, order)| order.is_live()).count() <= 1
}

/// Promise 2.
pub(crate) fn the_lock_names_the_live_order(state: &State) -> bool {
    let lock = state.orders().find_map(|(number, order)| match order.status {
        Stage::AwaitingPayment => order.expires_at.map(|until| Locked::Held { by: number, until }),
        Stage::Paid { .. } => Some(Locked::Sold { to: number }),
        Stage::Cancelled | Stage::Expired => None,
    });
    state.lock == lock.unwrap_or(Locked::Free)
}

/// Promise 8, but for what is still to come.
pub(crate) fn no_charge_is_booked_twice(state: &State) -> bool {
    (0..CHARGES).all(|charge| {
        state.orders().all(|(number, order)| {
            order.bookings(charge) <= usize::from(state.charged(charge) == Some(number))
        })
    })
}

/// Promise 7, as a buyer meets it who comes alone: what is free or has lapsed can be had at once, and
/// nothing else can.
pub(crate) fn a_ticket_can_be_had_unless_it_is_held(state: &State) -> bool {
    let Some(newcomer) = (0..ORDERS).find(|number| state.order(*number).is_none()) else {
        return true;
    };
    if !state.pending.is_empty() {
        return true;
    }
    let expected = match state.lock {
        Locked::Free => Observed::Placed,
        Locked::Held { until, .. } if until <= state.now => Observed::PlacedByTakeover,
        Locked::Held { .. } => Observed::Reserved,
        Locked::Sold { .. } => Observed::Sold,
    };
    alone(state, Message::Place { order: newcomer }).1 == Some(expected)
}

/// Promise 8, to its end: once time has passed and each message that is left has come, one after the
/// other, every order is final and every charge is booked.
pub(crate) fn all_comes_to_its_end(state: &State) -> bool {
    if !state.pending.is_empty() {
        return true;
    }
    let mut end = state.clone();
    end.now += 1;
    for _ in 0..ORDERS {
        for order in 0..ORDERS {
            end = alone(&end, Message::Expire { order }).0;
        }
        for charge in 0..CHARGES {
            if let Some(order) = state.charged(charge) {
                end = alone(&end, Message::Pay { charge, order }).0;
            }
        }
    }
    let is_booked = |charge| {
        let order = state.charged(charge).map(|order| end.order(order));
        order.is_none_or(|order| order.is_some_and(|order| order.bookings(charge) == 1))
    };
    (0..CHARGES).all(is_booked)
        && end.orders().all(|(_, order)| order.status != Stage::AwaitingPayment)
}

/// The state after an operation that nothing disturbs, and the last thing that it did.
fn alone(state: &State, message: Message) -> (State, Option<Observed>) {
    let (mut state, mut done) = state.after(Action::Begin { message });
    while !state.pending.is_empty() {
        let (after, observed) = state.after(Action::Continue { pending: 0 });
        (state, done) = (after, observed.or(done));
    }
    (state, done)
}

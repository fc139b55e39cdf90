//! Exhaustive search of all states of one ticket.
//!
//! An operation is the work of a function for one message: reads, a decision, a transaction.
//! Between any two calls another operation can run. The decisions are the domain's own code, and
//! the conditions of the transactions are the store's own. Only the sequence of calls is repeated
//! here, in `steps`.
//!
//! Requests and messages come at any time, in any number and order, also concurrently. This covers
//! lost calls and replies: an operation that ends before its transaction has no effect, and an
//! operation with a lost reply or a late transaction is repeated while the first is still in
//! progress.
//!
//! Not in the model: rows that a restore or a manual repair made inconsistent, the retry of a
//! conflict inside an operation, which reads what the same message reads again, and a second ticket.
//! A limit of holds is one slot of one buyer: the search shows that the slot follows the hold. The
//! simulation has buyers with several tickets.
//!
//! Three reductions keep the search small:
//! - an operation whose read has an older version than the store ends at once, and must write
//!   nothing;
//! - an operation in progress keeps the simplest inputs of its decision;
//! - the time of a payment is its relation to the end of the hold: in time at the last moment, or
//!   too late by one tick.

mod promises;
mod state;
mod steps;

use std::sync::atomic::{AtomicU64, Ordering};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::{
    state::{
        CHANGED, FIRST, FREE, Kind, OrderNumber, Part, PaymentNumber, Request, SlotState, State,
        Tick, Version, WITHDRAWN,
    },
    steps::{Action, Message, Observed},
};

/// Limits of a search.
#[derive(Clone, Copy)]
struct Bounds {
    /// Number of orders for the ticket.
    orders: OrderNumber,
    /// Number of payments.
    payments: PaymentNumber,
    /// Number of clock ticks. A hold lasts one tick.
    ticks: Tick,
    /// Number of concurrent operations.
    concurrent: usize,
    /// What else can happen.
    features: &'static [Feature],
}

/// What can happen only in some searches: a search of everything takes too long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Feature {
    /// A payment can name several orders.
    SharedPayments,
    /// A payment can be of a wrong amount, too late or at an old price: the price changes once.
    UnfitPayments,
    /// A payment can be refunded, in whole or in part.
    Refunds,
    /// The start of a payment extends a hold.
    LongerHolds,
    /// The seller can withdraw the ticket.
    Withdrawal,
    /// The ticket costs nothing until its price changes.
    FreeTicket,
    /// All orders are of one buyer, who can hold one ticket at once.
    HoldLimit,
    /// No timer fires; reconcile runs at any time.
    LostTimers,
}

/// Enough ticks for each of three orders to take over the ticket from the previous order. Every
/// payment is fit and names one order: the others are searched with two orders.
const WIDE: Bounds = Bounds { orders: 3, payments: 2, ticks: 2, concurrent: 2, features: &[] };
const DEEP: Bounds =
    Bounds { orders: 2, payments: 2, ticks: 1, concurrent: 3, features: &[Feature::UnfitPayments] };
const SHARED: Bounds =
    Bounds { concurrent: 2, features: &[Feature::SharedPayments, Feature::UnfitPayments], ..DEEP };
/// Enough ticks for an extended hold to lapse.
const REFUNDED: Bounds = Bounds {
    orders: 2,
    payments: 2,
    ticks: 2,
    concurrent: 2,
    features: &[Feature::Refunds, Feature::LongerHolds, Feature::Withdrawal],
};
/// Enough ticks for another order to take over the ticket from an extended hold, and to lapse.
const LIMITED: Bounds = Bounds {
    orders: 2,
    payments: 1,
    ticks: 3,
    concurrent: 2,
    features: &[
        Feature::FreeTicket,
        Feature::HoldLimit,
        Feature::LongerHolds,
        Feature::UnfitPayments,
    ],
};
/// Enough ticks for reconcile to meet a buyer who takes over, a late payment and an extended hold.
const FORGOTTEN: Bounds = Bounds {
    orders: 2,
    payments: 1,
    ticks: 2,
    concurrent: 3,
    features: &[Feature::LostTimers, Feature::LongerHolds],
};

// A change of the state machine, of the store's conditions or of this model changes these numbers.

#[test]
fn every_promise_holds_for_three_orders() {
    assert_eq!(checked_states(WIDE), 197_199);
}

#[test]
fn every_promise_holds_for_three_concurrent_operations() {
    assert_eq!(checked_states(DEEP), 114_024);
}

#[test]
fn every_promise_holds_for_payments_of_two_orders() {
    assert_eq!(checked_states(SHARED), 113_373);
}

#[test]
fn every_promise_holds_for_refunds_and_longer_holds() {
    assert_eq!(checked_states(REFUNDED), 130_664);
}

#[test]
fn every_promise_holds_for_free_tickets_and_a_limit_of_holds() {
    assert_eq!(checked_states(LIMITED), 135_716);
}

#[test]
fn every_promise_holds_for_forgotten_holds() {
    assert_eq!(checked_states(FORGOTTEN), 59_707);
}

fn checked_states(bounds: Bounds) -> usize {
    let search = Ticket::new(bounds, promises()).checker();
    let searched = search.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    searched.assert_properties();
    searched.unique_state_count()
}

#[test]
fn every_result_occurs() {
    // Each search ends when all its results have occurred.
    for (bounds, results) in [
        (Bounds { ticks: 2, ..SHARED }, results()),
        (REFUNDED, results_of_refunds_and_longer_holds()),
        (LIMITED, results_of_free_tickets_and_limits()),
        (FORGOTTEN, results_of_lost_timers()),
    ] {
        Ticket::new(bounds, results).checker().spawn_bfs().join().assert_properties();
    }
}

/// One ticket with all its buyers.
struct Ticket {
    bounds: Bounds,
    properties: Vec<Property<Self>>,
    /// Results that have occurred, one bit each.
    found: AtomicU64,
}

impl Model for Ticket {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let ticket = if self.has(Feature::FreeTicket) { FREE } else { FIRST };
        let is_limited = self.has(Feature::HoldLimit);
        let slot = if is_limited { SlotState::Free } else { SlotState::Unlimited };
        vec![State::first(ticket, slot)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.violation.is_some() {
            return;
        }
        if state.now < self.bounds.ticks {
            actions.push(Action::Tick);
        }
        actions.extend((0..state.pending.len()).map(|pending| Action::Continue { pending }));
        let sales = self.next_sales(state.ticket).into_iter();
        actions.extend(sales.map(|version| Action::ChangeSale { version }));
        actions.extend(self.payments(state));
        if state.pending.len() < self.bounds.concurrent {
            let messages = self.messages(state).into_iter();
            actions.extend(messages.map(|message| Action::Begin { message }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let (after, _) = state.after(action);
        (after != *state).then_some(after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.properties.clone()
    }
}

impl Ticket {
    fn new(bounds: Bounds, properties: Vec<Property<Self>>) -> Self {
        Self { bounds, properties, found: AtomicU64::new(0) }
    }

    fn has(&self, feature: Feature) -> bool {
        self.bounds.features.contains(&feature)
    }

    /// Returns the versions of the ticket that can come after this one.
    fn next_sales(&self, version: Version) -> Vec<Version> {
        let price = match version {
            FREE => Some(FIRST),
            FIRST => self.has(Feature::UnfitPayments).then_some(CHANGED),
            _ => None,
        };
        let can_end = self.has(Feature::Withdrawal) && version < WITHDRAWN;
        price.into_iter().chain(can_end.then_some(WITHDRAWN)).collect()
    }

    fn messages(&self, state: &State) -> Vec<Message> {
        let orders = 0..self.bounds.orders;
        let is_placed = |order: &OrderNumber| state.order(*order).is_some();
        // The buyers are interchangeable: only the next one can arrive.
        let arrived = |order: OrderNumber| is_placed(&order) || is_being_placed(state, order);
        let buyers = orders.clone().filter(|order| *order == 0 || arrived(order - 1));
        let mut messages: Vec<_> = buyers.map(|order| Message::Place { order }).collect();
        let has_lost_timers = self.has(Feature::LostTimers);
        messages.extend(has_lost_timers.then_some(Message::Reconcile));
        for order in orders.clone().filter(is_placed) {
            messages.push(Message::Cancel { order });
            messages.extend((!has_lost_timers).then_some(Message::Expire { order }));
            let can_start = self.has(Feature::LongerHolds);
            messages.extend(can_start.then_some(Message::Start { order }));
        }
        for (payment, order) in state.sent() {
            messages.push(Message::Pay { payment, order });
            let parts = [Part::Whole, Part::Less].into_iter();
            let parts = parts.filter(|_| self.has(Feature::Refunds));
            messages.extend(parts.map(|part| Message::Refund { payment, order, part }));
        }
        messages
    }

    /// Returns the payments that can be made.
    fn payments(&self, state: &State) -> Vec<Action> {
        let mut sends = Vec::new();
        for payment in 0..self.bounds.payments {
            for (order, stored) in state.orders() {
                let kinds = [Kind::Right, Kind::WrongAmount, Kind::TooLate].into_iter();
                let kinds = kinds.filter(|kind| match kind {
                    Kind::Right => self.can_be_right(state, payment, order),
                    Kind::WrongAmount => {
                        self.can_be_unfit(state, payment) && stored.terms.is_some()
                    }
                    Kind::TooLate => self.can_be_unfit(state, payment) && stored.is_due(state.now),
                });
                sends.extend(kinds.map(|kind| Action::Send { payment, order, kind }));
            }
        }
        sends
    }

    /// The right payments are interchangeable: only the next one can be made.
    fn can_be_right(&self, state: &State, payment: PaymentNumber, order: OrderNumber) -> bool {
        match state.payment(payment) {
            Some(sent) => self.has(Feature::SharedPayments) && sent.can_name(order),
            None => payment == 0 || state.payment(payment - 1).is_some(),
        }
    }

    /// Only the last payment can be unfit: enough for an unfit payment before or after a right one.
    fn can_be_unfit(&self, state: &State, payment: PaymentNumber) -> bool {
        let is_last = payment + 1 == self.bounds.payments;
        self.has(Feature::UnfitPayments) && is_last && state.payment(payment).is_none()
    }

    /// Whether this result can occur next, for the first time.
    fn occurs_first(&self, state: &State, result: Observed) -> bool {
        let bit = 1 << result as u64;
        if self.found.load(Ordering::Relaxed) & bit != 0 {
            return false;
        }
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        let occurs = actions.into_iter().any(|action| state.after(action).1 == Some(result));
        if occurs {
            self.found.fetch_or(bit, Ordering::Relaxed);
        }
        occurs
    }
}

fn is_being_placed(state: &State, number: OrderNumber) -> bool {
    state.pending.iter().any(|pending| {
        let operation = pending.operation();
        operation.order == number && matches!(operation.request, Request::Place)
    })
}

fn promises() -> Vec<Property<Ticket>> {
    vec![
        Property::always("at most one order is live", |_, state| {
            promises::at_most_one_live_order(state)
        }),
        Property::always("the lock names the live order", |_, state| {
            promises::lock_names_the_live_order(state)
        }),
        Property::always("every change is allowed", |_, state: &State| state.violation.is_none()),
        Property::always("no payment is booked twice", |_, state| {
            promises::no_payment_is_booked_twice(state)
        }),
        Property::always("the slot follows the hold", |_, state| {
            promises::slot_follows_the_hold(state)
        }),
        Property::always("a ticket is available unless locked", |_, state| {
            promises::ticket_is_available_unless_locked(state)
        }),
        Property::always("every command has the result of the table", |_, state| {
            promises::every_command_has_the_result_of_the_table(state)
        }),
        Property::always("every order becomes final", |ticket: &Ticket, state| {
            promises::every_order_becomes_final(state, ticket.has(Feature::LostTimers))
        }),
        Property::always("reconcile repairs a lapsed hold", |_, state| {
            promises::reconcile_repairs_a_lapsed_hold(state)
        }),
    ]
}

// The results that must be possible, so that the properties are not vacuous.

macro_rules! occurs {
    ($name:literal, $observed:ident) => {
        Property::sometimes($name, |ticket: &Ticket, state| {
            ticket.occurs_first(state, Observed::$observed)
        })
    };
}

fn results() -> Vec<Property<Ticket>> {
    vec![
        occurs!("placed", Placed),
        occurs!("placed by takeover", PlacedByTakeover),
        occurs!("already placed", PlacedBefore),
        occurs!("not placed: reserved", Reserved),
        occurs!("not placed: sold", Sold),
        occurs!("cancelled", Cancelled),
        occurs!("cancelled after it had expired", CancelledWhenExpired),
        occurs!("cancelled before", CancelledBefore),
        occurs!("not cancelled: paid", CancelRefused),
        occurs!("expired", Expired),
        occurs!("expired before the refund of a payment is due", ExpiredFirst),
        occurs!("ended before", EndedBefore),
        occurs!("not expired: too early", ExpiryTooEarly),
        occurs!("paid", Paid),
        occurs!("paid when it was due", PaidWhenDue),
        occurs!("paid after it had expired", PaidWhenExpired),
        occurs!("paid by takeover of another lapsed hold", PaidByTakeover),
        occurs!("booked before", BookedBefore),
        occurs!("booked for another order", BookedForAnother),
        occurs!("refund due: wrong amount, the hold continues", WrongAmountOfHold),
        occurs!("refund due: wrong amount", WrongAmount),
        occurs!("refund due: too late", TooLate),
        occurs!("refund due: ticket changed", TicketChanged),
        occurs!("refund due: ticket taken", TicketTaken),
        occurs!("refund due: already paid", AlreadyPaid),
        occurs!("refund due: order cancelled", OrderCancelled),
        occurs!("conflict with a changed read", Overtaken),
    ]
}

fn results_of_refunds_and_longer_holds() -> Vec<Property<Ticket>> {
    vec![
        occurs!("not placed: withdrawn", Withdrawn),
        occurs!("refund due: withdrawn", TicketChanged),
        occurs!("extended", Extended),
        occurs!("not extended", NotExtended),
        occurs!("refunded", Refunded),
        occurs!("refund settled", RefundSettled),
        occurs!("refunded before", RefundedBefore),
        occurs!("not refunded: too small", RefundTooSmall),
        occurs!("not refunded: its payment is on the way", RefundTooEarly),
        occurs!("refund due: order refunded", OrderRefunded),
    ]
}

fn results_of_free_tickets_and_limits() -> Vec<Property<Ticket>> {
    vec![
        occurs!("not placed: too many holds", TooManyHolds),
        occurs!("placed by takeover", PlacedByTakeover),
        occurs!("given back", GivenBack),
        occurs!("nothing to pay", NothingToPay),
        occurs!("refund due: free", AlreadyPaid),
        occurs!("extended", Extended),
        occurs!("paid", Paid),
    ]
}

fn results_of_lost_timers() -> Vec<Property<Ticket>> {
    vec![
        occurs!("expired by reconcile", Expired),
        occurs!("not repaired: no lapsed hold", NothingLapsed),
        occurs!("not repaired: paid since", FoundPaid),
        occurs!("not repaired: changed since", Overtaken),
        occurs!("placed by takeover", PlacedByTakeover),
        occurs!("paid when it was due", PaidWhenDue),
        occurs!("paid by takeover of another lapsed hold", PaidByTakeover),
        occurs!("extended", Extended),
    ]
}

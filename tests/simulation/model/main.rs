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

mod promises;
mod state;
mod steps;

use std::sync::atomic::{AtomicU32, Ordering};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::{
    state::{OrderNumber, PaymentNumber, Pending, State, Tick},
    steps::{Action, Message, Observed},
};

/// Limits of a search.
#[derive(Clone, Copy)]
struct Bounds {
    /// Number of orders for the ticket.
    orders: OrderNumber,
    /// Number of payments, for one order or for two.
    payments: PaymentNumber,
    /// Number of clock ticks. A hold lasts one tick.
    ticks: Tick,
    /// Number of concurrent operations.
    concurrent: usize,
}

/// Enough ticks for each of three orders to take over the ticket from the previous order.
const WIDE: Bounds = Bounds { orders: 3, payments: 2, ticks: 2, concurrent: 2 };
const DEEP: Bounds = Bounds { orders: 2, payments: 2, ticks: 1, concurrent: 3 };

// A change of the state machine, of the store's conditions or of this model changes these numbers.

#[test]
fn every_promise_holds_for_three_orders() {
    assert_eq!(checked_states(WIDE), 380_675);
}

#[test]
fn every_promise_holds_for_three_concurrent_operations() {
    assert_eq!(checked_states(DEEP), 103_834);
}

fn checked_states(bounds: Bounds) -> usize {
    let search = Ticket::new(bounds, promises()).checker();
    let searched = search.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    searched.assert_properties();
    searched.unique_state_count()
}

#[test]
fn every_result_occurs() {
    // Ends when all results have occurred.
    Ticket::new(WIDE, results()).checker().spawn_bfs().join().assert_properties();
}

/// One ticket with all its buyers.
struct Ticket {
    bounds: Bounds,
    properties: Vec<Property<Self>>,
    /// Results that have occurred, one bit each.
    found: AtomicU32,
}

impl Model for Ticket {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.violation.is_some() {
            return;
        }
        if state.now < self.bounds.ticks {
            actions.push(Action::Tick);
        }
        actions.extend((0..state.pending.len()).map(|pending| Action::Continue { pending }));
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
        Self { bounds, properties, found: AtomicU32::new(0) }
    }

    fn messages(&self, state: &State) -> Vec<Message> {
        let orders = 0..self.bounds.orders;
        let is_placed = |order: &OrderNumber| state.order(*order).is_some();
        // The buyers are interchangeable: only the next one can arrive.
        let arrived = |order: OrderNumber| is_placed(&order) || is_being_placed(state, order);
        let buyers = orders.clone().filter(|order| *order == 0 || arrived(order - 1));
        let mut messages: Vec<_> = buyers.map(|order| Message::Place { order }).collect();
        for order in orders.clone().filter(is_placed) {
            messages.extend([Message::Cancel { order }, Message::Expire { order }]);
        }
        for payment in 0..self.bounds.payments {
            if let Some(order) = state.order_of_payment(payment) {
                messages.push(Message::Pay { payment, order });
                continue;
            }
            // A new payment, for any order. The payments are interchangeable.
            let new = orders.filter(is_placed).map(|order| Message::Pay { payment, order });
            messages.extend(new);
            break;
        }
        messages
    }

    /// Whether this result can occur next, for the first time.
    fn occurs_first(&self, state: &State, result: Observed) -> bool {
        let bit = 1 << result as u32;
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
    state.pending.iter().any(|pending| match pending {
        Pending::Place { order, .. } | Pending::ReadLapsed { order, .. } => *order == number,
        Pending::ReadLock { .. } | Pending::Commit { .. } => false,
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
        Property::always("a ticket is available unless locked", |_, state| {
            promises::ticket_is_available_unless_locked(state)
        }),
        Property::always("every order becomes final", |_, state| {
            promises::every_order_becomes_final(state)
        }),
    ]
}

/// The results that must be possible, so that the properties are not vacuous.
fn results() -> Vec<Property<Ticket>> {
    macro_rules! occurs {
        ($name:literal, $observed:ident) => {
            Property::sometimes($name, |ticket: &Ticket, state| {
                ticket.occurs_first(state, Observed::$observed)
            })
        };
    }
    vec![
        occurs!("placed", Placed),
        occurs!("placed by takeover", PlacedByTakeover),
        occurs!("already placed", PlacedBefore),
        occurs!("not placed: reserved", Reserved),
        occurs!("not placed: sold", Sold),
        occurs!("cancelled", Cancelled),
        occurs!("cancelled before", CancelledBefore),
        occurs!("not cancelled: paid", CancelRefused),
        occurs!("expired", Expired),
        occurs!("expired before", ExpiredBefore),
        occurs!("not expired: too early", ExpiryTooEarly),
        occurs!("paid", Paid),
        occurs!("paid when it was due", PaidWhenDue),
        occurs!("paid after it had expired", PaidLate),
        occurs!("booked before", BookedBefore),
        occurs!("refund due: already paid", AlreadyPaid),
        occurs!("refund due: order cancelled", OrderCancelled),
        occurs!("refund due: ticket taken", TicketTaken),
        occurs!("conflict with a changed read", Overtaken),
    ]
}

//! All that can happen to one ticket: an exhaustive search of the states that the service can be in.
//!
//! An operation is what a function does for one message: reads, a decision, one transaction. Between
//! any two of its calls another may come. The decisions are the domain's own, and the conditions of
//! the transactions are the store's own; only the way from one call to the next is told again, in
//! `steps`.
//!
//! Requests and messages come at any time, as often as they like, in any order, and more than one at
//! once. So nothing need be said of what gets lost: an operation that ends before its transaction is
//! one that never began; one whose reply is lost, or whose transaction takes effect after its caller
//! has given it up, is one that is begun again while it is still under way.

mod promises;
mod state;
mod steps;

use std::sync::atomic::{AtomicU32, Ordering};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::{
    state::{ChargeNumber, OrderNumber, Pending, State, Tick},
    steps::{Action, Message, Observed},
};

/// How far the search goes.
#[derive(Clone, Copy)]
struct Bounds {
    /// How many orders for the ticket there may be.
    orders: OrderNumber,
    /// How many charges, for one of the orders or for two.
    charges: ChargeNumber,
    /// How often the clock ticks. A hold lasts one tick.
    ticks: Tick,
    /// How many operations are under way at once.
    at_once: usize,
}

/// Time enough for each of three orders to take the ticket over from the one before.
const WIDE: Bounds = Bounds { orders: 3, charges: 2, ticks: 2, at_once: 2 };
const DEEP: Bounds = Bounds { orders: 2, charges: 2, ticks: 1, at_once: 3 };

// Any change of the state machine, of the store's conditions or of this model is seen in a number.

#[test]
fn every_promise_holds_in_every_state_of_three_orders() {
    assert_eq!(states_that_keep_every_promise(WIDE), 380_675);
}

#[test]
fn every_promise_holds_in_every_state_of_two_orders_and_three_operations_at_once() {
    assert_eq!(states_that_keep_every_promise(DEEP), 103_834);
}

fn states_that_keep_every_promise(bounds: Bounds) -> usize {
    let search = Ticket::new(bounds, promises()).checker();
    let searched = search.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    searched.assert_properties();
    searched.unique_state_count()
}

#[test]
fn whatever_can_happen_is_met() {
    // Ends once it has met all.
    Ticket::new(WIDE, observed()).checker().spawn_bfs().join().assert_properties();
}

/// One ticket and all who want it.
struct Ticket {
    bounds: Bounds,
    properties: Vec<Property<Self>>,
    /// What has been seen to happen, a bit for each.
    seen: AtomicU32,
}

impl Model for Ticket {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        if state.now < self.bounds.ticks {
            actions.push(Action::Tick);
        }
        actions.extend((0..state.pending.len()).map(|pending| Action::Continue { pending }));
        if state.pending.len() < self.bounds.at_once {
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
        Self { bounds, properties, seen: AtomicU32::new(0) }
    }

    fn messages(&self, state: &State) -> Vec<Message> {
        let orders = 0..self.bounds.orders;
        let is_placed = |order: &OrderNumber| state.order(*order).is_some();
        // Which buyer is the next to come makes no difference.
        let came = |order: OrderNumber| is_placed(&order) || is_being_placed(state, order);
        let buyers = orders.clone().filter(|order| *order == 0 || came(order - 1));
        let mut messages: Vec<_> = buyers.map(|order| Message::Place { order }).collect();
        for order in orders.clone().filter(is_placed) {
            messages.extend([Message::Cancel { order }, Message::Expire { order }]);
        }
        for charge in 0..self.bounds.charges {
            if let Some(order) = state.charged(charge) {
                messages.push(Message::Pay { charge, order });
                continue;
            }
            // A new charge, for any order. Which of two is made first makes no difference.
            let new = orders.filter(is_placed).map(|order| Message::Pay { charge, order });
            messages.extend(new);
            break;
        }
        messages
    }

    /// Whether this can happen next, and is not seen to happen before.
    fn shows_first(&self, state: &State, what: Observed) -> bool {
        let bit = 1 << what as u32;
        if self.seen.load(Ordering::Relaxed) & bit != 0 {
            return false;
        }
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        let happens = actions.into_iter().any(|action| state.after(action).1 == Some(what));
        if happens {
            self.seen.fetch_or(bit, Ordering::Relaxed);
        }
        happens
    }
}

fn is_being_placed(state: &State, wanted: OrderNumber) -> bool {
    state.pending.iter().any(|pending| match pending {
        Pending::Place { order, .. } | Pending::ReadLapsed { order, .. } => *order == wanted,
        Pending::ReadLock { .. } | Pending::Commit { .. } => false,
    })
}

fn promises() -> Vec<Property<Ticket>> {
    vec![
        Property::always("at most one order is live", |_, state| {
            promises::one_live_order_at_most(state)
        }),
        Property::always("the lock names the live order", |_, state| {
            promises::the_lock_names_the_live_order(state)
        }),
        Property::always("every change is allowed", |_, state: &State| state.broken.is_none()),
        Property::always("no charge is booked twice", |_, state| {
            promises::no_charge_is_booked_twice(state)
        }),
        Property::always("a ticket can be had unless it is held", |_, state| {
            promises::a_ticket_can_be_had_unless_it_is_held(state)
        }),
        Property::always("all comes to its end", |_, state| promises::all_comes_to_its_end(state)),
    ]
}

/// What must be possible, or else the promises would say little.
fn observed() -> Vec<Property<Ticket>> {
    macro_rules! happens {
        ($what:literal, $observed:ident) => {
            Property::sometimes($what, |ticket: &Ticket, state| {
                ticket.shows_first(state, Observed::$observed)
            })
        };
    }
    vec![
        happens!("placed", Placed),
        happens!("placed by takeover", PlacedByTakeover),
        happens!("placed before: the repeat finds its order", PlacedBefore),
        happens!("not placed: reserved", Reserved),
        happens!("not placed: sold", Sold),
        happens!("cancelled", Cancelled),
        happens!("cancelled before", CancelledBefore),
        happens!("not cancelled: paid", CancelRefused),
        happens!("expired", Expired),
        happens!("expired before", ExpiredBefore),
        happens!("not expired: too early", ExpiryTooEarly),
        happens!("paid", Paid),
        happens!("paid when it was due", PaidWhenDue),
        happens!("paid after it had expired", PaidLate),
        happens!("booked before", BookedBefore),
        happens!("refund due: already paid", AlreadyPaid),
        happens!("refund due: order cancelled", OrderCancelled),
        happens!("refund due: ticket taken", TicketTaken),
        happens!("not committed: what was read has changed", Overtaken),
    ]
}

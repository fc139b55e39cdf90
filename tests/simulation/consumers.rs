//! The ticket service and the payment service, as consumers of the events: they know only the
//! events that a bus delivers out of order, repeated, and with losses of older versions. They share
//! no code with the service.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde::Deserialize;

/// The state of an order in an event.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderState {
    id: String,
    version: u64,
    status: String,
    created_at: String,
    ticket: Ticket,
    refunds: Vec<Refund>,
}

#[derive(Clone, Deserialize)]
struct Ticket {
    id: String,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refund {
    payment_id: String,
    reason: String,
    state: String,
}

impl OrderState {
    fn read(detail: &str) -> Self {
        serde_json::from_str(detail).expect("an event with the whole order")
    }

    /// The newer of two states has the higher age.
    fn age(&self) -> (&str, u64) {
        (&self.created_at, self.version)
    }
}

/// What both services do with an event: keep the newest state of each order.
#[derive(Default)]
pub(crate) struct Consumers {
    newest: BTreeMap<String, OrderState>,
    /// Payments to refund, with the reason and the state of the refund.
    refunds: BTreeMap<String, String>,
}

impl Consumers {
    /// Handles one delivery.
    fn receive(&mut self, detail: &str) {
        let state = OrderState::read(detail);
        if self.newest.get(&state.id).is_some_and(|known| known.age() >= state.age()) {
            return;
        }
        // A refund is identified by its payment id, so a repeat refunds nothing twice.
        let refunds = state.refunds.iter().map(|refund| {
            let Refund { payment_id, reason, state } = refund;
            (payment_id.clone(), format!("{reason}, {state}"))
        });
        self.refunds.extend(refunds);
        self.newest.insert(state.id.clone(), state);
    }

    /// Sold tickets with their orders: the newest state of one of the ticket's orders is paid.
    pub(crate) fn sold(&self) -> BTreeMap<String, String> {
        self.with_status("paid")
    }

    /// Held tickets with their orders.
    pub(crate) fn held(&self) -> BTreeMap<String, String> {
        self.with_status("awaiting_payment")
    }

    fn with_status(&self, status: &str) -> BTreeMap<String, String> {
        let orders = self.newest.values().filter(|state| state.status == status);
        orders.map(|state| (state.ticket.id.clone(), state.id.clone())).collect()
    }

    /// Payments to refund, with the reason and the state of the refund.
    pub(crate) fn refunds(&self) -> &BTreeMap<String, String> {
        &self.refunds
    }
}

/// Delivers the published events in a random order, repeated, and without some of the older
/// versions. The random numbers are the delivery's own, so that the run itself stays the same. No
/// event is on its way when an order is forgotten, so each group comes after the group before it.
pub(crate) fn deliver(published: &[Vec<String>], seed: u64) -> Consumers {
    let (mut rng, mut consumers) = (Rng::with_seed(seed), Consumers::default());
    for group in published {
        for detail in deliveries(group, &mut rng) {
            consumers.receive(detail);
        }
    }
    consumers
}

fn deliveries<'a>(published: &'a [String], rng: &mut Rng) -> Vec<&'a String> {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let states: Vec<OrderState> = published.iter().map(|detail| OrderState::read(detail)).collect();
    for state in &states {
        let version = newest.entry(state.id.clone()).or_default();
        *version = state.version.max(*version);
    }
    let mut deliveries = Vec::new();
    for (detail, state) in published.iter().zip(&states) {
        let is_newest = newest[&state.id] == state.version;
        if is_newest || rng.u8(0..10) > 2 {
            let times = if rng.u8(0..10) > 7 { 2 } else { 1 };
            deliveries.extend(std::iter::repeat_n(detail, times));
        }
    }
    rng.shuffle(&mut deliveries);
    deliveries
}

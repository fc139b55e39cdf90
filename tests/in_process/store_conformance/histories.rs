//! Random operations: the DynamoDB store has the same outcomes as the in-memory store, and ends
//! with the same rows.

use std::time::Duration;

use fastrand::Rng;
use orders_domain::{
    Availability, Command, Decision, Order, OrderId, OrderStore, Placement, TicketId, TicketRule,
    Timestamp, decide,
};
use orders_testing::{MemoryStore, at, new_order};

use crate::{stores, suite::ticket};

const SEEDS: u64 = 30;
const STEPS: usize = 120;
const TICKETS: u64 = 3;

#[tokio::test]
async fn random_operations_match_the_in_memory_store() {
    for seed in 0..SEEDS {
        let mut history = History {
            rng: Rng::with_seed(seed),
            memory: MemoryStore::default(),
            dynamo: stores::in_process().await,
            now: at(0),
            placed: Vec::new(),
        };
        for step in 0..STEPS {
            history.step(&format!("seed {seed}, step {step}")).await;
        }
        history.compare_all(&format!("seed {seed}")).await;
    }
}

struct History<S> {
    rng: Rng,
    memory: MemoryStore,
    dynamo: S,
    now: Timestamp,
    placed: Vec<OrderId>,
}

impl<S: OrderStore> History<S> {
    async fn step(&mut self, place: &str) {
        match self.rng.u8(0..10) {
            0..3 => self.apply_ticket(place).await,
            3..6 => self.place(place).await,
            6..9 => self.commit(place).await,
            _ => self.now = self.now.plus(Duration::from_secs(self.rng.u64(0..40))),
        }
    }

    fn any_ticket_id(&mut self) -> TicketId {
        format!("ticket-{}", self.rng.u64(0..TICKETS)).parse().unwrap()
    }

    async fn apply_ticket(&mut self, place: &str) {
        let id = self.any_ticket_id();
        let ticket = ticket(&id, self.rng.u64(0..12));
        let rules = [TicketRule::Next, TicketRule::FirstOrNext, TicketRule::AnyNewer];
        let rule = *self.rng.choice(&rules).unwrap();
        let expected = self.memory.apply_ticket(&ticket, rule).await.unwrap();
        assert_eq!(self.dynamo.apply_ticket(&ticket, rule).await.unwrap(), expected, "{place}");
    }

    /// Places an order on a current read or, sometimes, on an invalid one.
    async fn place(&mut self, place: &str) {
        let id = self.any_ticket_id();
        let Some(replica) = self.memory.find_ticket(&id).await.unwrap() else { return };
        let takeover = match replica.lock.availability(self.now) {
            Availability::Lapsed(by) => {
                match self.transition_of(by, &Command::Expire { now: self.now }).await {
                    Some(Decision::Apply(expiry)) => Some(expiry),
                    _ => None,
                }
            }
            Availability::Free | Availability::Reserved { .. } | Availability::Sold => None,
        };
        let reused = self.rng.u8(0..5) == 0;
        let order_id = match self.rng.choice(&self.placed) {
            Some(earlier) if reused => *earlier,
            _ => OrderId::from_bytes(self.rng.u128(..).to_be_bytes()),
        };
        if takeover.as_ref().is_some_and(|expiry| expiry.order().id == order_id) {
            return;
        }
        let read =
            if self.rng.u8(0..5) == 0 { ticket(&id, self.rng.u64(0..12)) } else { replica.ticket };
        let order = Order::new(new_order(order_id, self.now), read);
        let placement = Placement { order, takeover };
        let expected = self.memory.place(&placement).await.unwrap();
        assert_eq!(self.dynamo.place(&placement).await.unwrap(), expected, "{place}");
        self.placed.push(order_id);
    }

    /// Commits a transition once or twice.
    async fn commit(&mut self, place: &str) {
        let Some(&id) = self.rng.choice(&self.placed) else { return };
        let command = match self.rng.u8(0..3) {
            0 => Command::Cancel,
            1 => Command::Expire { now: self.now },
            _ => Command::Pay {
                payment_id: format!("p{}", self.rng.u8(0..3)).parse().unwrap(),
                ticket_is_free: self.rng.bool(),
            },
        };
        let Some(Decision::Apply(change)) = self.transition_of(id, &command).await else { return };
        for _ in 0..self.rng.u8(1..3) {
            let expected = self.memory.commit(&change).await.unwrap();
            assert_eq!(self.dynamo.commit(&change).await.unwrap(), expected, "{place}");
        }
    }

    async fn transition_of(&self, id: OrderId, command: &Command) -> Option<Decision> {
        let order = self.memory.find(id).await.unwrap()?;
        Some(decide(&order, command))
    }

    async fn compare_all(&self, place: &str) {
        for number in 0..TICKETS {
            let id = format!("ticket-{number}").parse().unwrap();
            let expected = self.memory.find_ticket(&id).await.unwrap();
            assert_eq!(self.dynamo.find_ticket(&id).await.unwrap(), expected, "{place}");
        }
        for id in &self.placed {
            let expected = self.memory.find(*id).await.unwrap();
            assert_eq!(self.dynamo.find(*id).await.unwrap(), expected, "{place}");
        }
    }
}

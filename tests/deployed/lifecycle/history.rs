//! The history of a deployed run, verified by the history checker.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use orders_tests::{
    bus::Listener,
    buyers::{Buyer, TestStack, new_buyers, ticket},
    history::{History, Operation, Outcome, check_history},
    recording::{Record, record_events, wait_until_published},
};
use tokio::{sync::OnceCell, task::JoinSet};

use crate::holds::Hold;

const SEED: u64 = 20;
const BUYERS: usize = 24;
const TICKETS: usize = 10;
const ACTIONS: usize = 9;
const HOLD_SECONDS: u64 = 4;
/// Largest difference between the service's clocks and this machine's.
const CLOCK_TOLERANCE_MS: u64 = 200;
/// File with the recorded history.
const FILE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/history.json");

#[tokio::test]
async fn deployed_run_has_a_valid_history() {
    let history = recorded().await;
    if let Err(contradiction) = check_history(history) {
        panic!("{contradiction}; history: {FILE}");
    }
}

#[tokio::test]
async fn forged_record_makes_the_history_invalid() {
    let history = recorded().await;
    for (name, change) in FORGERIES {
        let mut forged = history.clone();
        assert!(change(&mut forged).is_some(), "the run has no record for: {name}");
        assert!(check_history(&forged).is_err(), "not detected: {name}; history: {FILE}");
    }
}

type Forgery = fn(&mut History) -> Option<()>;

const FORGERIES: [(&str, Forgery); 6] = [
    ("an order without its event", |run| drop_event(run, "OrderCreated")),
    ("a sale without its event", |run| drop_event(run, "OrderPaid")),
    ("a refund due without its event", |run| drop_event(run, "OrderRefundDue")),
    ("an expiry a second early", |run| {
        let expired = run.events.iter_mut().find(|event| event.kind == "OrderExpired")?;
        expired.at_ms = expired.expires_at_ms - 1_000;
        Some(())
    }),
    ("a sold ticket before its payment", sold_too_early),
    ("a ticket for two buyers", |run| {
        let winner = run.requests.iter().find_map(|request| match &request.outcome {
            Outcome::Placed(order) => Some(order.clone()),
            _ => None,
        })?;
        let mut refused = run.requests.iter_mut().filter(|it| it.outcome == Outcome::Reserved);
        let loser = refused.find(|request| request.buyer != winner.buyer)?;
        loser.outcome = Outcome::Placed(winner);
        Some(())
    }),
];

fn sold_too_early(run: &mut History) -> Option<()> {
    let paid_at_ms =
        |payment: &str| run.payments.iter().find(|it| it.id == payment).map(|it| it.at_ms);
    let sold_from = |ticket: &str| {
        let sold = run.events.iter().find(|it| it.ticket == ticket && it.kind == "OrderPaid")?;
        paid_at_ms(sold.payment.as_deref()?)
    };
    let at = run.requests.iter().position(|request| match &request.operation {
        Operation::Place { ticket, .. } if request.outcome == Outcome::Reserved => {
            sold_from(ticket).is_none_or(|sold_ms| request.to_ms < sold_ms)
        }
        _ => false,
    })?;
    run.requests[at].outcome = Outcome::Sold;
    Some(())
}

fn drop_event(run: &mut History, kind: &str) -> Option<()> {
    let at = run.events.iter().position(|event| event.kind == kind)?;
    run.events.remove(at);
    Some(())
}

/// Returns the history. The run is shared by all tests.
async fn recorded() -> &'static History {
    static RUN: OnceCell<History> = OnceCell::const_new();
    RUN.get_or_init(run).await
}

async fn run() -> History {
    let test_stack = Arc::new(TestStack::connect().await);
    let record = Arc::new(Record::default());
    let tickets = record.new_tickets(&test_stack, TICKETS).await;
    let hold = Hold::take().await;
    hold.set(HOLD_SECONDS).await;
    let listener = Listener::start().await;
    let all = async {
        let buyers = buyers(&test_stack, &record, &tickets);
        change_prices(&test_stack, &record, &tickets).await;
        buyers.join_all().await;
        hold.set(30).await;
        wait_until_published(&test_stack, &record, &tickets).await;
    };
    tokio::select! {
        () = all => {}
        never = record_events(&listener, &record, &tickets) => match never {},
    }
    listener.delete().await;
    let history = record.complete(CLOCK_TOLERANCE_MS);
    std::fs::write(FILE, serde_json::to_string_pretty(&history).unwrap()).unwrap();
    history
}

/// Starts the buyers.
fn buyers(test_stack: &Arc<TestStack>, record: &Arc<Record>, tickets: &[String]) -> JoinSet<()> {
    let mut buyers = JoinSet::new();
    for (buyer, number) in new_buyers(BUYERS).into_iter().zip(1..) {
        let buyer_task = SimulatedBuyer {
            rng: Rng::with_seed(SEED + number),
            buyer,
            test_stack: Arc::clone(test_stack),
            record: Arc::clone(record),
            tickets: tickets.to_vec(),
            orders: Vec::new(),
            keys: Vec::new(),
        };
        buyers.spawn(buyer_task.run());
    }
    buyers
}

/// Publishes new prices while the buyers are active.
async fn change_prices(test_stack: &TestStack, record: &Record, tickets: &[String]) {
    for version in 1..4 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        record.ticket_published(tickets, version);
        let all: Vec<_> = tickets.iter().map(|id| ticket(id, version)).collect();
        test_stack.publish_tickets(&all).await;
    }
}

/// A buyer with a seed.
struct SimulatedBuyer {
    rng: Rng,
    buyer: Buyer,
    test_stack: Arc<TestStack>,
    record: Arc<Record>,
    tickets: Vec<String>,
    orders: Vec<String>,
    /// Used keys, each with its ticket.
    keys: Vec<(String, String)>,
}

impl SimulatedBuyer {
    async fn run(mut self) {
        for _ in 0..ACTIONS {
            self.pause().await;
            match self.rng.u8(0..20) {
                0..9 => self.buy().await,
                9..12 => self.pay().await,
                12..15 => self.call_for_order(|order| Operation::Cancel { order }).await,
                15..17 => self.call_for_order(|order| Operation::Show { order }).await,
                17..19 => self.reuse_key().await,
                _ => drop(self.record.call_api(&self.buyer, Operation::List).await),
            }
        }
    }

    /// Waits a moment, or up to a little more than a hold.
    async fn pause(&mut self) {
        let longest_ms = if self.rng.u8(0..3) == 0 { HOLD_SECONDS * 1_200 } else { 100 };
        tokio::time::sleep(Duration::from_millis(self.rng.u64(0..longest_ms))).await;
    }

    /// Orders a ticket with one request or two, and pays in time, late, or not at all.
    async fn buy(&mut self) {
        let ticket = self.rng.choice(&self.tickets).unwrap().clone();
        let key = self.rng.bool().then(|| format!("key-{}", self.keys.len()));
        self.keys.extend(key.iter().map(|key| (key.clone(), ticket.clone())));
        let operation = Operation::Place { ticket, key, version: None };
        let is_double_click = self.rng.u8(0..4) == 0;
        let (one, other) =
            tokio::join!(self.record.call_api(&self.buyer, operation.clone()), async {
                if is_double_click {
                    self.record.call_api(&self.buyer, operation.clone()).await
                } else {
                    Outcome::Unknown
                }
            });
        self.remember([one, other]);
        match self.rng.u8(0..4) {
            0 => self.pay().await,
            1 => {
                tokio::time::sleep(Duration::from_millis(HOLD_SECONDS * 1_000 + 500)).await;
                self.pay().await;
            }
            _ => {}
        }
    }

    fn remember(&mut self, outcomes: [Outcome; 2]) {
        for outcome in outcomes {
            if let Some(order) = outcome.order()
                && !self.orders.contains(&order.order)
            {
                self.orders.push(order.order.clone());
            }
        }
    }

    /// Repeats an earlier key, sometimes for another ticket.
    async fn reuse_key(&mut self) {
        let Some((key, mut ticket)) = self.rng.choice(&self.keys).cloned() else { return };
        if self.rng.u8(0..4) == 0 {
            ticket.clone_from(self.rng.choice(&self.tickets).unwrap());
        }
        let operation = Operation::Place { ticket, key: Some(key), version: None };
        let outcome = self.record.call_api(&self.buyer, operation).await;
        self.remember([outcome, Outcome::Unknown]);
    }

    /// Pays for an order, with one event or two.
    async fn pay(&mut self) {
        let Some(order) = self.rng.choice(&self.orders).cloned() else { return };
        self.record.pay(&self.test_stack, &order, self.rng.u8(1..=2)).await;
    }

    /// Sends a request about an own order or, sometimes, about another buyer's.
    async fn call_for_order(&mut self, operation: impl FnOnce(String) -> Operation) {
        let others = self.record.history().events;
        let order = match self.rng.choice(&others) {
            Some(other) if self.rng.u8(0..4) == 0 => Some(other.order.clone()),
            _ => self.rng.choice(&self.orders).cloned(),
        };
        if let Some(order) = order {
            self.record.call_api(&self.buyer, operation(order)).await;
        }
    }
}

//! A run of the deployed service, written down as buyers and the bus saw it, and explained.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use orders_tests::{
    bus::Listener,
    buyers::{Buyer, TestStack, new_buyers, ticket},
    history::{Answer, Asked, History, explain},
    recording::{Record, everything_is_told, listen},
};
use tokio::{sync::OnceCell, task::JoinSet};

use crate::holds::Hold;

const SEED: u64 = 20;
const BUYERS: usize = 24;
const TICKETS: usize = 10;
const ERRANDS: usize = 9;
const HOLD_SECONDS: u64 = 4;
/// How far the service's clocks may be off from this machine's.
const CLOCK_TOLERANCE_MS: u64 = 200;
/// Where the run is written down, for people.
const FILE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/history.json");

#[tokio::test]
async fn what_buyers_and_the_bus_saw_fits_one_order_of_operations() {
    let history = recorded().await;
    if let Err(contradiction) = explain(history) {
        panic!("{contradiction}; {FILE} has it all");
    }
}

#[tokio::test]
async fn a_run_of_which_one_record_is_forged_fits_no_order_of_operations() {
    let history = recorded().await;
    for (what, forge) in FORGERIES {
        let mut forged = history.clone();
        assert!(forge(&mut forged).is_some(), "the run has nothing for this: {what}");
        assert!(explain(&forged).is_err(), "it is not seen: {what}; {FILE} has it all");
    }
}

type Forgery = fn(&mut History) -> Option<()>;

const FORGERIES: [(&str, Forgery); 6] = [
    ("an order was never told of", |run| drop_event(run, "OrderCreated")),
    ("a sale was never told of", |run| drop_event(run, "OrderPaid")),
    ("a charge to give back was never told of", |run| drop_event(run, "OrderRefundDue")),
    ("an order expired a second too early", |run| {
        let expired = run.events.iter_mut().find(|event| event.kind == "OrderExpired")?;
        expired.at_ms = expired.expires_at_ms - 1_000;
        Some(())
    }),
    ("a ticket is said to be sold before anybody has paid for it", sell_too_soon),
    ("two buyers got one ticket", |run| {
        let winner = run.requests.iter().find_map(|request| match &request.answer {
            Answer::Order(order) if order.status == "awaiting_payment" => Some(order.clone()),
            _ => None,
        })?;
        let mut refused = run.requests.iter_mut().filter(|it| it.answer == Answer::Reserved);
        let loser = refused.find(|request| request.buyer != winner.buyer)?;
        loser.answer = Answer::Order(winner);
        Some(())
    }),
];

fn sell_too_soon(run: &mut History) -> Option<()> {
    let charged_at = |payment: &str| {
        run.charges.iter().find(|charge| charge.payment == payment).map(|charge| charge.at_ms)
    };
    let sold_from = |ticket: &str| {
        let sold = run.events.iter().find(|it| it.ticket == ticket && it.kind == "OrderPaid")?;
        charged_at(sold.payment.as_deref()?)
    };
    let at = run.requests.iter().position(|request| match &request.asked {
        Asked::Place { ticket, .. } if request.answer == Answer::Reserved => {
            sold_from(ticket).is_none_or(|sold_ms| request.to_ms < sold_ms)
        }
        _ => false,
    })?;
    run.requests[at].answer = Answer::Sold;
    Some(())
}

fn drop_event(run: &mut History, kind: &str) -> Option<()> {
    let at = run.events.iter().position(|event| event.kind == kind)?;
    run.events.remove(at);
    Some(())
}

/// The run; made once, for all who ask.
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
        let shoppers = shoppers(&test_stack, &record, &tickets);
        change_prices(&test_stack, &record, &tickets).await;
        shoppers.join_all().await;
        hold.set(30).await;
        everything_is_told(&test_stack, &record, &tickets).await;
    };
    tokio::select! {
        () = all => {}
        never = listen(&listener, &record, &tickets) => match never {},
    }
    listener.forget().await;
    let history = record.complete(CLOCK_TOLERANCE_MS);
    std::fs::write(FILE, serde_json::to_string_pretty(&history).unwrap()).unwrap();
    history
}

/// The buyers, who have begun.
fn shoppers(test_stack: &Arc<TestStack>, record: &Arc<Record>, tickets: &[String]) -> JoinSet<()> {
    let mut shoppers = JoinSet::new();
    for (buyer, number) in new_buyers(BUYERS).into_iter().zip(1..) {
        let shopper = Shopper {
            rng: Rng::with_seed(SEED + number),
            buyer,
            test_stack: Arc::clone(test_stack),
            record: Arc::clone(record),
            tickets: tickets.to_vec(),
            orders: Vec::new(),
            keys: Vec::new(),
        };
        shoppers.spawn(shopper.shop());
    }
    shoppers
}

/// While they buy, the ticket service raises its prices.
async fn change_prices(test_stack: &TestStack, record: &Record, tickets: &[String]) {
    for version in 1..4 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        record.says(tickets, version);
        let all: Vec<_> = tickets.iter().map(|id| ticket(id, version)).collect();
        test_stack.announce(&all).await;
    }
}

/// A buyer with a will of their own, though always the same one.
struct Shopper {
    rng: Rng,
    buyer: Buyer,
    test_stack: Arc<TestStack>,
    record: Arc<Record>,
    tickets: Vec<String>,
    orders: Vec<String>,
    /// Which key was used for which ticket.
    keys: Vec<(String, String)>,
}

impl Shopper {
    async fn shop(mut self) {
        for _ in 0..ERRANDS {
            self.think().await;
            match self.rng.u8(0..20) {
                0..9 => self.buy().await,
                9..12 => self.pay().await,
                12..15 => self.about_an_order(|order| Asked::Cancel { order }).await,
                15..17 => self.about_an_order(|order| Asked::Show { order }).await,
                17..19 => self.send_old_key().await,
                _ => drop(self.record.ask(&self.buyer, Asked::List).await),
            }
        }
    }

    /// Waits: hardly at all, or for up to a little more than a hold.
    async fn think(&mut self) {
        let longest_ms = if self.rng.u8(0..3) == 0 { HOLD_SECONDS * 1_200 } else { 100 };
        tokio::time::sleep(Duration::from_millis(self.rng.u64(0..longest_ms))).await;
    }

    /// One click or two; and then pays in time, or late, or not at all.
    async fn buy(&mut self) {
        let ticket = self.rng.choice(&self.tickets).unwrap().clone();
        let key = self.rng.bool().then(|| format!("key-{}", self.keys.len()));
        self.keys.extend(key.iter().map(|key| (key.clone(), ticket.clone())));
        let asked = Asked::Place { ticket, key };
        let is_double_click = self.rng.u8(0..4) == 0;
        let (one, other) = tokio::join!(self.record.ask(&self.buyer, asked.clone()), async {
            if is_double_click {
                self.record.ask(&self.buyer, asked.clone()).await
            } else {
                Answer::Unknown
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

    fn remember(&mut self, answers: [Answer; 2]) {
        for answer in answers {
            if let Answer::Order(order) = answer
                && !self.orders.contains(&order.order)
            {
                self.orders.push(order.order);
            }
        }
    }

    /// Repeats an earlier request, or uses its key for another ticket.
    async fn send_old_key(&mut self) {
        let Some((key, mut ticket)) = self.rng.choice(&self.keys).cloned() else { return };
        if self.rng.u8(0..4) == 0 {
            ticket.clone_from(self.rng.choice(&self.tickets).unwrap());
        }
        let answer = self.record.ask(&self.buyer, Asked::Place { ticket, key: Some(key) }).await;
        self.remember([answer, Answer::Unknown]);
    }

    /// Is charged for an order; and is told so once or twice.
    async fn pay(&mut self) {
        let Some(order) = self.rng.choice(&self.orders).cloned() else { return };
        self.record.charge(&self.test_stack, &order, self.rng.u8(1..=2)).await;
    }

    /// Mostly an order of their own; at times another's.
    async fn about_an_order(&mut self, ask: impl FnOnce(String) -> Asked) {
        let others = self.record.history().events;
        let order = match self.rng.choice(&others) {
            Some(other) if self.rng.u8(0..4) == 0 => Some(other.order.clone()),
            _ => self.rng.choice(&self.orders).cloned(),
        };
        if let Some(order) = order {
            self.record.ask(&self.buyer, ask(order)).await;
        }
    }
}

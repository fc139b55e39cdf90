//! A run of the deployed service, written down as buyers and the bus saw it, and explained.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use orders_tests::{
    bus::{Listener, use_of_charge},
    buyers::{Backstage, Buyer, eventually, new_buyers, ticket},
    history::{Answer, Asked, Charge, Event, History, Request, TicketSaid, explain},
};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
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
    let backstage = Arc::new(Backstage::enter().await);
    let record = Arc::new(Record::default());
    let from_ms = now_ms();
    let tickets = backstage.new_tickets(TICKETS).await;
    record.said(&tickets, 0, from_ms);
    let hold = Hold::take().await;
    hold.set(HOLD_SECONDS).await;
    let listener = Listener::start().await;
    let all = async {
        let shoppers = shoppers(&backstage, &record, &tickets);
        change_prices(&backstage, &record, &tickets).await;
        shoppers.join_all().await;
        hold.set(30).await;
        everything_is_told(&backstage, &record, &tickets).await;
    };
    tokio::select! {
        () = all => {}
        () = listen(&listener, &record, &tickets) => {}
    }
    listener.forget().await;
    let mut history = record.history();
    history.clock_tolerance_ms = CLOCK_TOLERANCE_MS;
    history.complete = true;
    std::fs::write(FILE, serde_json::to_string_pretty(&history).unwrap()).unwrap();
    history
}

/// The buyers, who have begun.
fn shoppers(backstage: &Arc<Backstage>, record: &Arc<Record>, tickets: &[String]) -> JoinSet<()> {
    let mut shoppers = JoinSet::new();
    for (buyer, number) in new_buyers(BUYERS).into_iter().zip(1..) {
        let shopper = Shopper {
            rng: Rng::with_seed(SEED + number),
            buyer,
            backstage: Arc::clone(backstage),
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
async fn change_prices(backstage: &Backstage, record: &Record, tickets: &[String]) {
    for version in 1..4 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        record.said(tickets, version, now_ms());
        let all: Vec<_> = tickets.iter().map(|id| ticket(id, version)).collect();
        backstage.announce(&all).await;
    }
}

/// Writes down what comes over the bus about these tickets, as it comes.
async fn listen(listener: &Listener, record: &Record, tickets: &[String]) {
    loop {
        for event in listener.hear().await {
            let kind = event["detail-type"].as_str().unwrap();
            let event = Event::read(kind, &event["detail"].to_string(), now_ms());
            if tickets.contains(&event.ticket) {
                record.add(|history| history.events.push(event));
            }
        }
    }
}

/// Waits until every order is final, every charge is booked, and every version was on the bus.
async fn everything_is_told(backstage: &Backstage, record: &Record, tickets: &[String]) {
    eventually(async || {
        let mut rows = Vec::new();
        for ticket in tickets {
            rows.extend(backstage.orders_for(ticket).await);
        }
        let History { events, charges, .. } = record.history();
        let is_told = |row: &serde_json::Value| {
            let (id, version) = (&row["id"], &row["version"]);
            events.iter().any(|event| *id == event.order && *version == event.version)
        };
        let is_booked = |charge: &Charge| {
            let row = rows.iter().find(|row| row["id"] == charge.order);
            row.is_some_and(|row| use_of_charge(row, &charge.payment).is_some())
        };
        rows.iter().all(|row| row["status"] != "awaiting_payment" && is_told(row))
            && charges.iter().all(is_booked)
    })
    .await;
}

/// What is seen, by this machine's clock.
#[derive(Default)]
struct Record(Mutex<History>);

impl Record {
    fn add(&self, what: impl FnOnce(&mut History)) {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn history(&self) -> History {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What [`ticket`] makes of a version.
    fn said(&self, tickets: &[String], version: u64, at_ms: u64) {
        let said = tickets.iter().map(|ticket| TicketSaid {
            ticket: ticket.clone(),
            version,
            title: format!("Version {version}"),
            price_cents: version * 100 + 50,
            at_ms,
        });
        self.add(|history| history.tickets.extend(said));
    }
}

/// A buyer with a will of their own, though always the same one.
struct Shopper {
    rng: Rng,
    buyer: Buyer,
    backstage: Arc<Backstage>,
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
                _ => drop(self.ask(Asked::List).await),
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
        let (one, other) = tokio::join!(self.ask(asked.clone()), async {
            if is_double_click { self.ask(asked.clone()).await } else { Answer::Unknown }
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
        let answer = self.ask(Asked::Place { ticket, key: Some(key) }).await;
        self.remember([answer, Answer::Unknown]);
    }

    /// Is charged for an order; and is told so once or twice.
    async fn pay(&mut self) {
        let Some(order) = self.rng.choice(&self.orders).cloned() else { return };
        let payment = format!("payment-{}", uuid::Uuid::new_v4());
        let charge = Charge { payment: payment.clone(), order: order.clone(), at_ms: now_ms() };
        self.record.add(|history| history.charges.push(charge));
        for _ in 0..self.rng.u8(1..=2) {
            self.backstage.charge(&payment, &order).await;
        }
    }

    /// Mostly an order of their own; at times another's.
    async fn about_an_order(&mut self, ask: impl FnOnce(String) -> Asked) {
        let others = self.record.history().events;
        let order = match self.rng.choice(&others) {
            Some(other) if self.rng.u8(0..4) == 0 => Some(other.order.clone()),
            _ => self.rng.choice(&self.orders).cloned(),
        };
        if let Some(order) = order {
            self.ask(ask(order)).await;
        }
    }

    /// Asks, and writes down what was asked and answered.
    async fn ask(&self, asked: Asked) -> Answer {
        let from_ms = now_ms();
        let answer = match self.request(&asked).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let body = response.text().await.unwrap_or_default();
                let answer = Answer::read(&asked, status, &body);
                answer.unwrap_or_else(|| panic!("{asked:?} is answered {status} {body}"))
            }
            Err(_) => Answer::Unknown,
        };
        let (buyer, to_ms) = (self.buyer.sub.clone(), now_ms());
        let request = Request { buyer, asked, from_ms, to_ms, answer: answer.clone() };
        self.record.add(|history| history.requests.push(request));
        answer
    }

    fn request(&self, asked: &Asked) -> RequestBuilder {
        let buyer = &self.buyer;
        match asked {
            Asked::Place { ticket, key } => {
                let request = buyer.request(Method::POST, "/api/orders");
                let request = request.json(&json!({ "ticketId": ticket }));
                match key {
                    Some(key) => request.header("Idempotency-Key", key),
                    None => request,
                }
            }
            Asked::Show { order } => buyer.request(Method::GET, &format!("/api/orders/{order}")),
            Asked::List => buyer.request(Method::GET, "/api/orders?limit=100"),
            Asked::Cancel { order } => {
                buyer.request(Method::DELETE, &format!("/api/orders/{order}"))
            }
        }
    }
}

fn now_ms() -> u64 {
    orders_lambda::clock::now().epoch_ms()
}

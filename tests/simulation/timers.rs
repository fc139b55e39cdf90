//! Timer independence (promise 14) as a metamorphic test: the same history has the same result with
//! timers that fire at once, late or never, with and without reconcile, and with messages that are handled at once or wait.
//!
//! A seed makes a script for two tickets, of which a buyer can hold one: orders, payments with
//! their starts and refunds, cancellations, prices and withdrawals, with their times. The script
//! runs once for each policy, through the functions' own code, on a store in memory and without a
//! clock. Compared are all answers, orders, payments and locks. Versions are not compared: a fired
//! timer is a version.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use create_order::{CreateOrder, Created, create_order};
use fastrand::Rng;
use orders_contracts::ExpiryMessage;
use orders_domain::{
    Availability, Command, NewOrder, Order, OrderId, OrderStore, PaymentResult, Price, Sale,
    SlotCount, Ticket, TicketId, TicketReplica, TicketRule, TicketVersion, Timestamp,
};
use orders_lambda::{
    command::{CommandOutcome, execute},
    queue::Message,
};
use orders_testing::{HOLD, LATE_LIMIT, MemoryStore, at, new_order, ticket};
use orders_tests::history::{Payment, PaymentStart, Refund};
use payment_events::Limits;
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

use crate::{
    payments::{payment_event, refund_event, start_event},
    world::{ready, timestamp},
};

const SEEDS: u64 = 4_000;
const STEPS: u64 = 16;
const TIME_TO_PAY: Duration = Duration::from_secs(100);
const RECONCILE_EVERY: Duration = Duration::from_mins(5);
const TICKETS: [&str; 2] = ["ticket-1", "ticket-2"];

/// Behavior of the timers.
#[derive(Clone, Copy, Debug)]
enum Timers {
    /// Each timer fires when its order is due.
    Fast,
    /// Each timer fires this much later.
    Slow(Duration),
    /// No timer fires.
    Stopped,
    /// No timer fires, and reconcile runs regularly.
    Lost,
}

/// Time at which a message of the payment service is handled.
#[derive(Clone, Copy, Debug)]
enum Messages {
    AtOnce,
    /// Just before the next step, unless the wait matters by design: a payment that is handled
    /// after the end of the hold buys only if the order's price is still asked and no other order
    /// has the ticket, and the start of a payment that is handled after the end of the hold has no
    /// effect.
    Waiting,
}

/// A step of a script.
#[derive(Clone, Debug)]
enum Step {
    /// The buyer orders a ticket.
    Place { buyer: u8, ticket: &'static str },
    /// A payment names the buyer's newest order.
    Pay { buyer: u8, payment: u64, amount_cents: Option<u64>, sent_ms: u64 },
    /// A payment for the buyer's newest order is started.
    StartPayment { buyer: u8, sent_ms: u64 },
    /// A payment of the buyer's newest order is refunded.
    Refund { buyer: u8, payment: u64, amount_cents: Option<u64> },
    /// The buyer cancels the newest order.
    Cancel { buyer: u8 },
    /// The ticket gets a new version with this price.
    NewPrice { ticket: &'static str, cents: u64 },
    /// The ticket is withdrawn.
    Withdraw { ticket: &'static str },
}

/// Steps with their times, in epoch milliseconds.
type Script = Vec<(u64, Step)>;

/// Result of a script.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Answers to the steps.
    answers: Vec<String>,
    /// Status, end, payment and refunds of each order.
    orders: Vec<String>,
    /// Results of the payments.
    payments: BTreeMap<String, String>,
    /// Orders that have the tickets.
    owners: Vec<Option<OrderId>>,
}

// Fails, for example, if `decide` treats the payment of an awaiting order that is due like one in
// time.
#[test]
fn results_do_not_depend_on_timers_or_waiting() {
    let runtime = runtime();
    let _inside = runtime.enter();
    for seed in 0..SEEDS {
        let script = script(seed);
        let expected = play(&runtime, &script, Timers::Fast, Messages::AtOnce);
        for (timers, messages) in [
            (Timers::Slow(Duration::from_secs(45)), Messages::AtOnce),
            (Timers::Stopped, Messages::AtOnce),
            (Timers::Fast, Messages::Waiting),
            (Timers::Slow(Duration::from_secs(45)), Messages::Waiting),
            (Timers::Stopped, Messages::Waiting),
            (Timers::Lost, Messages::AtOnce),
            (Timers::Lost, Messages::Waiting),
        ] {
            let outcome = play(&runtime, &script, timers, messages);
            assert_eq!(outcome, expected, "seed {seed}, {timers:?}, {messages:?}: {script:#?}");
        }
    }
}

#[test]
fn scripts_reach_every_result() {
    let mut results = BTreeMap::<String, u64>::new();
    let mut missing: BTreeSet<&str> = [
        "TooManyHolds",
        "Withdrawn",
        "Reserved",
        "Sold",
        "Free",
        "extended",
        "Refunded",
        "Settled",
        "PartialRefund",
        "Retry(",
    ]
    .into();
    let runtime = runtime();
    for seed in 0..SEEDS {
        let outcome = play(&runtime, &script(seed), Timers::Fast, Messages::AtOnce);
        let text = format!("{outcome:?}");
        missing.retain(|word| !text.contains(word));
        for result in outcome.payments.into_values() {
            *results.entry(result).or_default() += 1;
        }
    }
    assert!(missing.is_empty(), "never occurred: {missing:?}");
    let names: Vec<_> = results.keys().map(String::as_str).collect();
    let expected = [
        "bought",
        "already_paid",
        "order_cancelled",
        "order_refunded",
        "ticket_changed",
        "ticket_taken",
        "too_late",
        "wrong_amount",
    ];
    assert!(expected.iter().all(|result| names.contains(result)), "{results:?}");
    assert_eq!(names.len(), expected.len(), "{results:?}");
}

fn script(seed: u64) -> Script {
    let mut rng = Rng::with_seed(seed);
    let mut now_ms = at(0).epoch_ms();
    let mut script = Script::new();
    for number in 0..STEPS {
        // A moment, up to a hold, or up to longer than hold and late limit together.
        let longest_ms = *rng.choice(&[2_000, 31_000, 31_000, 700_000]).expect("a choice");
        now_ms += rng.u64(1..=longest_ms);
        script.push((now_ms, step(&mut rng, number, now_ms)));
    }
    script
}

fn step(rng: &mut Rng, number: u64, now_ms: u64) -> Step {
    let buyer = rng.u8(0..2);
    let ticket = *rng.choice(&TICKETS).expect("a choice");
    // The event was on its way for a while.
    let sent_ms = now_ms - rng.u64(0..=20_000);
    match rng.u8(0..14) {
        0..4 => Step::Place { buyer, ticket },
        4..8 => Step::Pay {
            buyer,
            // Sometimes the payment of an earlier step, which can name another order now.
            payment: if rng.u8(0..8) == 0 { rng.u64(0..=number) } else { number },
            amount_cents: *rng.choice(&[None, None, Some(1_990), Some(1)]).expect("a choice"),
            sent_ms,
        },
        8 => Step::StartPayment { buyer, sent_ms },
        // Most likely the payment of the step before.
        9..11 => Step::Refund {
            buyer,
            payment: number.saturating_sub(rng.u64(1..=3)),
            amount_cents: *rng.choice(&[None, None, Some(1_990), Some(1)]).expect("a choice"),
        },
        11 => Step::Cancel { buyer },
        12 => Step::NewPrice {
            ticket,
            cents: *rng.choice(&[1_990, 1_990, 2_500, 0]).expect("a choice"),
        },
        _ => Step::Withdraw { ticket },
    }
}

/// Plays a script to its end, and until an hour later.
fn play(runtime: &Runtime, script: &Script, timers: Timers, messages: Messages) -> Outcome {
    let (store, pending) = (MemoryStore::default(), BTreeSet::new());
    let next_run = at(0).plus(RECONCILE_EVERY);
    let mut play = Play { runtime, store, timers, orders: Vec::new(), pending, next_run };
    for id in TICKETS {
        play.publish(&Sale::Open(ticket(id, 0)));
    }
    let end_ms = script.last().map_or(0, |(at_ms, _)| at_ms + 3_600_000);
    let next_ms = script.iter().skip(1).map(|(at_ms, _)| *at_ms).chain([end_ms]);
    let mut answers = Vec::new();
    for ((at_ms, step), next_ms) in script.iter().zip(next_ms) {
        play.fire_timers(*at_ms);
        let waits = matches!(messages, Messages::Waiting);
        let can_wait = waits && play.can_wait(step, *at_ms, next_ms - 1);
        let now_ms = if can_wait { next_ms - 1 } else { *at_ms };
        play.fire_timers(now_ms);
        answers.push(play.handle(step, now_ms));
    }
    play.fire_timers(end_ms);
    play.outcome(answers, timestamp(end_ms))
}

/// The deadline of reconcile and the wait before a takeover need a clock.
fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime")
}

struct Play<'a> {
    runtime: &'a Runtime,
    store: MemoryStore,
    timers: Timers,
    /// Orders with their buyers, by time of placing.
    orders: Vec<(u8, OrderId)>,
    /// Timers that have not fired: each is for one end of a hold.
    pending: BTreeSet<(Timestamp, OrderId)>,
    /// Time of the next run of reconcile, if the timers are lost.
    next_run: Timestamp,
}

impl Play<'_> {
    /// Runs reconcile up to this time.
    fn reconcile(&mut self, until_ms: u64) {
        while self.next_run <= timestamp(until_ms) {
            let deadline = Instant::now() + RECONCILE_EVERY;
            let report = ready(reconcile::reconcile(
                &self.store,
                reconcile::Request::default(),
                self.next_run,
                deadline,
            ));
            assert!(report.finished, "{report:?}");
            self.next_run = self.next_run.plus(RECONCILE_EVERY);
        }
    }

    /// Fires the timers up to this time.
    fn fire_timers(&mut self, until_ms: u64) {
        let late = match self.timers {
            Timers::Fast => Duration::ZERO,
            Timers::Slow(late) => late,
            Timers::Stopped => return,
            Timers::Lost => return self.reconcile(until_ms),
        };
        while let Some((expires_at, order_id)) = self.pending.first().copied() {
            let fires_at = expires_at.plus(late);
            if fires_at > timestamp(until_ms) {
                return;
            }
            let message = ExpiryMessage { order_id, expires_at: Some(expires_at) };
            let body = message.to_text().unwrap();
            let message = Message::new(&body);
            ready(expire_orders::handle(&self.store, fires_at, message)).unwrap();
            self.pending.pop_first();
        }
    }

    fn order(&self, id: OrderId) -> Order {
        ready(self.store.find(id)).unwrap().expect("an order that was placed")
    }

    fn newest_order(&self, buyer: u8) -> Option<Order> {
        let newest = self.orders.iter().rev().find(|(owner, _)| *owner == buyer);
        newest.map(|(_, id)| self.order(*id))
    }

    fn replica(&self, id: &str) -> TicketReplica {
        let id: TicketId = id.parse().unwrap();
        ready(self.store.find_ticket(&id)).unwrap().expect("a ticket of the script")
    }

    /// Whether the result of the step is the same at a later time before the next step.
    fn can_wait(&self, step: &Step, now_ms: u64, later_ms: u64) -> bool {
        let order_of = |buyer: u8| self.newest_order(buyer);
        match step {
            // The buyer could buy the ticket now at the order's price.
            Step::Pay { buyer, .. } => order_of(*buyer).is_some_and(|order| {
                let replica = self.replica(order.ticket.id.as_str());
                let is_available = match replica.lock.availability(order.id, timestamp(now_ms)) {
                    Availability::Own | Availability::Free | Availability::Lapsed(_) => true,
                    Availability::Reserved { .. } | Availability::Sold => false,
                };
                let price = replica.sale.ticket().map(|ticket| ticket.price);
                is_available && price == Some(order.ticket.price)
            }),
            Step::StartPayment { buyer, .. } => {
                order_of(*buyer).is_some_and(|order| !order.is_due(timestamp(later_ms)))
            }
            Step::Refund { .. } => true,
            Step::Place { .. }
            | Step::Cancel { .. }
            | Step::NewPrice { .. }
            | Step::Withdraw { .. } => false,
        }
    }

    fn handle(&mut self, step: &Step, now_ms: u64) -> String {
        let now = timestamp(now_ms);
        match step {
            Step::Place { buyer, ticket } => self.place(*buyer, ticket, now),
            Step::Pay { buyer, .. }
            | Step::StartPayment { buyer, .. }
            | Step::Refund { buyer, .. }
            | Step::Cancel { buyer } => match self.newest_order(*buyer) {
                Some(order) => self.handle_order(step, order, now),
                None => "no order".to_owned(),
            },
            Step::NewPrice { ticket: id, cents } => {
                let price = Price::from_minor(*cents).unwrap();
                let version = self.next_version(id);
                self.publish(&Sale::Open(Ticket { price, version, ..ticket(id, 0) }))
            }
            Step::Withdraw { ticket: id } => {
                let (id, version) = (id.parse().unwrap(), self.next_version(id));
                self.publish(&Sale::Withdrawn { id, version })
            }
        }
    }

    fn next_version(&self, ticket: &str) -> TicketVersion {
        TicketVersion::new(self.replica(ticket).sale.version().number() + 1)
    }

    fn publish(&self, sale: &Sale) -> String {
        ready(self.store.apply_ticket(sale, TicketRule::FirstOrNext)).unwrap();
        format!("published {sale:?}")
    }

    fn handle_order(&mut self, step: &Step, order: Order, now: Timestamp) -> String {
        let id = order.id.to_string();
        match step {
            Step::Pay { payment, amount_cents, sent_ms, .. } => self.receive(
                &payment_event(&Payment {
                    id: format!("payment-{payment}"),
                    order: id,
                    amount_cents: *amount_cents,
                    at_ms: *sent_ms,
                }),
                now,
            ),
            Step::Refund { payment, amount_cents, .. } => self.receive(
                &refund_event(&Refund {
                    payment: format!("payment-{payment}"),
                    order: id,
                    amount_cents: *amount_cents,
                    at_ms: now.epoch_ms(),
                }),
                now,
            ),
            Step::StartPayment { sent_ms, .. } => {
                let start = PaymentStart { order: id, at_ms: *sent_ms };
                let answer = self.receive(&start_event(&start), now);
                self.pending.insert((self.order(order.id).expires_at, order.id));
                answer
            }
            _ => {
                let cancelled = ready(execute(&self.store, order, &Command::Cancel, now)).unwrap();
                // Whether the order was cancelled by this request or before.
                let is_refused = matches!(cancelled, CommandOutcome::Refused(_));
                if is_refused { "paid".to_owned() } else { "cancelled".to_owned() }
            }
        }
    }

    /// Handles an event of the payment service.
    fn receive(&self, event: &str, now: Timestamp) -> String {
        let message = Message::new(event);
        let limits = Limits { late_payment: LATE_LIMIT, time_to_pay: TIME_TO_PAY };
        format!("{:?}", ready(payment_events::handle(&self.store, limits, now, message)))
    }

    fn place(&mut self, buyer: u8, ticket: &str, now: Timestamp) -> String {
        let number = u8::try_from(self.orders.len()).expect("a short script");
        let id = OrderId::from_bytes([number + 1; 16]);
        let user_id = format!("buyer-{buyer}").parse().unwrap();
        let request = CreateOrder {
            ticket_id: ticket.parse().unwrap(),
            ticket_version: None,
            has_key: false,
            holds_per_buyer: SlotCount::try_from(1).unwrap(),
            order: NewOrder { user_id, hold: HOLD, ..new_order(id, now) },
        };
        match self.runtime.block_on(create_order(&self.store, &request)) {
            Ok(Created::New(order)) => {
                self.orders.push((buyer, order.id));
                self.pending.insert((order.expires_at, order.id));
                format!("placed {} for {}", order.id, order.ticket.price)
            }
            Ok(Created::Existing(order)) => {
                format!("has {}, {}", order.id, order.effective_status(now).name())
            }
            Err(refused) => format!("{refused:?}"),
        }
    }

    /// The result at this time. A due order counts as expired, and a lapsed lock as free.
    fn outcome(&self, answers: Vec<String>, now: Timestamp) -> Outcome {
        let describe = |(_, id): &(u8, OrderId)| {
            let order = self.order(*id);
            let (status, extended) =
                (order.effective_status(now), if order.extended { "extended" } else { "" });
            format!("{id}: {status:?}, {extended} {:?}, {:?}", order.expires_at, order.refunds_due)
        };
        let payments = self.store.payments().into_iter().map(|booked| {
            let result = match booked.result {
                PaymentResult::Bought => "bought",
                PaymentResult::RefundDue(reason) => reason.name(),
            };
            (booked.payment.id.to_string(), result.to_owned())
        });
        let owner = |id: &str| {
            let lock = self.replica(id).lock;
            lock.holder().filter(|_| !lock.has_lapsed(now))
        };
        Outcome {
            answers,
            orders: self.orders.iter().map(describe).collect(),
            payments: payments.collect(),
            owners: TICKETS.into_iter().map(owner).collect(),
        }
    }
}

//! Timer independence (promise 14) as a metamorphic test: the same history has the same result with timers
//! that fire at once, late or never, and with payments that are handled at once or wait.
//!
//! A seed makes a script for one ticket: orders, payments, cancellations and prices, with their times. The
//! script runs once for each policy, through the functions' own code, on a store in memory and without a
//! clock. Compared are all answers, orders, payments and the lock. Versions are not compared: a fired timer
//! is a version.

use std::{collections::BTreeMap, time::Duration};

use create_order::{CreateOrder, Created, create_order};
use fastrand::Rng;
use orders_contracts::ExpiryMessage;
use orders_domain::{
    Availability, Command, Lock, NewOrder, Order, OrderId, OrderStore, PaymentResult, Price,
    Ticket, TicketRule, TicketVersion, Timestamp,
};
use orders_lambda::{
    command::{CommandOutcome, execute},
    queue::Message,
};
use orders_testing::{HOLD, LATE_LIMIT, MemoryStore, at, new_order, ticket};

use crate::{
    buyers::payment_event,
    world::{ready, timestamp},
};

const SEEDS: u64 = 4_000;
const STEPS: u64 = 14;

/// Behavior of the timers.
#[derive(Clone, Copy, Debug)]
enum Timers {
    /// Each timer fires when its order is due.
    Fast,
    /// Each timer fires this much later.
    Slow(Duration),
    /// No timer fires.
    Stopped,
}

/// Time at which a payment is handled.
#[derive(Clone, Copy, Debug)]
enum Payments {
    AtOnce,
    /// Just before the next step, unless the wait matters by design: a payment that is handled after the
    /// end of the hold buys only if the order's price is still asked and no other order has the ticket.
    Waiting,
}

/// A step of a script.
#[derive(Clone, Debug)]
enum Step {
    /// The buyer orders the ticket.
    Place { buyer: u8 },
    /// A payment names the buyer's newest order.
    Pay { buyer: u8, payment: u64, amount_cents: Option<u64>, sent_ms: u64 },
    /// The buyer cancels the newest order.
    Cancel { buyer: u8 },
    /// The ticket gets a new version with this price.
    NewPrice { cents: u64 },
}

/// Steps with their times, in epoch milliseconds.
type Script = Vec<(u64, Step)>;

/// Result of a script.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Answers to the steps.
    answers: Vec<String>,
    /// Status, payment and refunds of each order.
    orders: Vec<String>,
    /// Results of the payments.
    payments: BTreeMap<String, String>,
    /// Order that has the ticket.
    owner: Option<OrderId>,
}

// Fails, for example, if `decide` treats the payment of an awaiting order that is due like one in time.
#[test]
fn results_do_not_depend_on_timers_or_waiting() {
    for seed in 0..SEEDS {
        let script = script(seed);
        let expected = play(&script, Timers::Fast, Payments::AtOnce);
        for (timers, payments) in [
            (Timers::Slow(Duration::from_secs(45)), Payments::AtOnce),
            (Timers::Stopped, Payments::AtOnce),
            (Timers::Fast, Payments::Waiting),
            (Timers::Slow(Duration::from_secs(45)), Payments::Waiting),
            (Timers::Stopped, Payments::Waiting),
        ] {
            let outcome = play(&script, timers, payments);
            assert_eq!(outcome, expected, "seed {seed}, {timers:?}, {payments:?}: {script:#?}");
        }
    }
}

#[test]
fn scripts_reach_every_result_of_a_payment() {
    let mut results = BTreeMap::<String, u64>::new();
    for seed in 0..SEEDS {
        for result in play(&script(seed), Timers::Fast, Payments::AtOnce).payments.into_values() {
            *results.entry(result).or_default() += 1;
        }
    }
    let names: Vec<_> = results.keys().map(String::as_str).collect();
    let expected = [
        "bought",
        "already_paid",
        "order_cancelled",
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
    for payment in 0..STEPS {
        // A moment, up to a hold, or up to longer than hold and late limit together.
        let longest_ms = *rng.choice(&[2_000, 31_000, 31_000, 700_000]).expect("a choice");
        now_ms += rng.u64(1..=longest_ms);
        let buyer = rng.u8(0..2);
        let step = match rng.u8(0..10) {
            0..4 => Step::Place { buyer },
            4..8 => Step::Pay {
                buyer,
                // Sometimes the payment of an earlier step, which can name another order now.
                payment: if rng.u8(0..8) == 0 { rng.u64(0..=payment) } else { payment },
                amount_cents: *rng.choice(&[None, None, Some(1_990), Some(1)]).expect("a choice"),
                // The event was on its way for a while.
                sent_ms: now_ms - rng.u64(0..=20_000),
            },
            8 => Step::Cancel { buyer },
            _ => Step::NewPrice { cents: if rng.bool() { 1_990 } else { 2_500 } },
        };
        script.push((now_ms, step));
    }
    script
}

/// Plays a script to its end, and until an hour later.
fn play(script: &Script, timers: Timers, payments: Payments) -> Outcome {
    let mut play = Play { store: MemoryStore::default(), timers, orders: Vec::new(), fired: 0 };
    ready(play.store.apply_ticket(&ticket("ticket-1", 0), TicketRule::AnyNewer)).unwrap();
    let end_ms = script.last().map_or(0, |(at_ms, _)| at_ms + 3_600_000);
    let next_ms = script.iter().skip(1).map(|(at_ms, _)| *at_ms).chain([end_ms]);
    let mut answers = Vec::new();
    for ((at_ms, step), next_ms) in script.iter().zip(next_ms) {
        play.fire_timers(*at_ms);
        let can_wait = matches!(payments, Payments::Waiting) && play.can_wait(step, *at_ms);
        let now_ms = if can_wait { next_ms - 1 } else { *at_ms };
        play.fire_timers(now_ms);
        answers.push(play.handle(step, now_ms));
    }
    play.fire_timers(end_ms);
    play.outcome(answers, timestamp(end_ms))
}

struct Play {
    store: MemoryStore,
    timers: Timers,
    /// Orders with their buyers, by time of placing.
    orders: Vec<(u8, OrderId)>,
    /// Number of orders whose timer has fired.
    fired: usize,
}

impl Play {
    /// Fires the timers up to this time.
    fn fire_timers(&mut self, until_ms: u64) {
        let late = match self.timers {
            Timers::Fast => Duration::ZERO,
            Timers::Slow(late) => late,
            Timers::Stopped => return,
        };
        while let Some((_, id)) = self.orders.get(self.fired) {
            let fires_at = self.order(*id).expires_at.plus(late);
            if fires_at > timestamp(until_ms) {
                return;
            }
            let body = ExpiryMessage { order_id: *id }.to_text().unwrap();
            let message = Message { body: &body, receive_count: 1 };
            ready(expire_orders::handle(&self.store, fires_at, message)).unwrap();
            self.fired += 1;
        }
    }

    fn order(&self, id: OrderId) -> Order {
        ready(self.store.find(id)).unwrap().expect("an order that was placed")
    }

    fn newest_order(&self, buyer: u8) -> Option<Order> {
        let newest = self.orders.iter().rev().find(|(owner, _)| *owner == buyer);
        newest.map(|(_, id)| self.order(*id))
    }

    fn ticket(&self) -> (Ticket, Lock) {
        let replica = ready(self.store.find_ticket(&"ticket-1".parse().unwrap())).unwrap();
        let replica = replica.expect("the ticket of the script");
        (replica.ticket, replica.lock)
    }

    /// Whether the step is a payment, and the buyer could buy the ticket now at the order's price.
    fn can_wait(&self, step: &Step, now_ms: u64) -> bool {
        let Step::Pay { buyer, .. } = step else { return false };
        let Some(order) = self.newest_order(*buyer) else { return false };
        let (ticket, lock) = self.ticket();
        let is_available = match lock.availability(order.id, timestamp(now_ms)) {
            Availability::Own | Availability::Free | Availability::Lapsed(_) => true,
            Availability::Reserved { .. } | Availability::Sold => false,
        };
        is_available && order.ticket.price == ticket.price
    }

    fn handle(&mut self, step: &Step, now_ms: u64) -> String {
        match step {
            Step::Place { buyer } => self.place(*buyer, timestamp(now_ms)),
            Step::Pay { buyer, payment, amount_cents, sent_ms } => {
                let Some(order) = self.newest_order(*buyer) else { return "no order".to_owned() };
                let event = payment_event(&orders_tests::history::Payment {
                    id: format!("payment-{payment}"),
                    order: order.id.to_string(),
                    amount_cents: *amount_cents,
                    at_ms: *sent_ms,
                });
                let message = Message { body: &event, receive_count: 1 };
                let now = timestamp(now_ms);
                let handled = payment_events::handle(&self.store, LATE_LIMIT, now, message);
                format!("{:?}", ready(handled))
            }
            Step::Cancel { buyer } => {
                let Some(order) = self.newest_order(*buyer) else { return "no order".to_owned() };
                let now = timestamp(now_ms);
                let cancelled = ready(execute(&self.store, order, &Command::Cancel, now)).unwrap();
                // Whether the order was cancelled by this request or before.
                let is_refused = matches!(cancelled, CommandOutcome::Refused(_));
                if is_refused { "paid".to_owned() } else { "cancelled".to_owned() }
            }
            Step::NewPrice { cents } => {
                let (ticket, _) = self.ticket();
                let version = TicketVersion::new(ticket.version.number() + 1);
                let price = Price::from_minor(*cents).unwrap();
                let ticket = Ticket { price, version, ..ticket };
                ready(self.store.apply_ticket(&ticket, TicketRule::Next)).unwrap();
                "published".to_owned()
            }
        }
    }

    fn place(&mut self, buyer: u8, now: Timestamp) -> String {
        let number = u8::try_from(self.orders.len()).expect("a short script");
        let id = OrderId::from_bytes([number + 1; 16]);
        let user_id = format!("buyer-{buyer}").parse().unwrap();
        let request = CreateOrder {
            ticket_id: "ticket-1".parse().unwrap(),
            has_key: false,
            order: NewOrder { user_id, hold: HOLD, ..new_order(id, now) },
        };
        match ready(create_order(&self.store, &request)) {
            Ok(Created::New(order)) => {
                self.orders.push((buyer, order.id));
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
            format!("{id}: {:?}, {:?}", order.effective_status(now), order.refunds_due)
        };
        let payments = self.store.payments().into_iter().map(|booked| {
            let result = match booked.result {
                PaymentResult::Bought => "bought",
                PaymentResult::RefundDue(reason) => reason.name(),
            };
            (booked.payment.id.to_string(), result.to_owned())
        });
        let (_, lock) = self.ticket();
        Outcome {
            answers,
            orders: self.orders.iter().map(describe).collect(),
            payments: payments.collect(),
            owner: if lock.has_lapsed(now) { None } else { lock.holder() },
        }
    }
}

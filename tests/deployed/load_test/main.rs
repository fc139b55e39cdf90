//! Load test: many buyers compete for few tickets, while holds lapse and payments arrive. Prints
//! throughput, latencies and CPU time, and verifies the history.
//!
//! `make load-test BUYERS=1000 TICKETS=40`; with `HOLD=600`, the timers are schedules; with `LAPSE=1`, each
//! buyer orders a ticket of its own and lets the hold lapse.

mod cpu;
mod report;

use std::{
    env,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fastrand::Rng;
use orders_tests::{
    bus::Listener,
    buyers::{Buyer, TestStack, new_buyers},
    history::{Operation, OrderView, Outcome, check_history},
    recording::{Record, record_events, wait_until_published},
};
use tokio::task::JoinSet;

use crate::{cpu::Cpu, report::Report};

/// Concurrent requests.
const CONNECTIONS: usize = 32;
/// Tickets tried by a buyer.
const TICKETS_PER_BUYER: usize = 3;
/// Attempts of a request with an unknown outcome.
const MAX_TRIES: usize = 5;
/// Largest difference between the service's clocks and this machine's.
const CLOCK_TOLERANCE_MS: u64 = 200;

/// What the buyers do.
#[derive(Clone, Copy)]
enum Plan {
    /// They compete for the tickets, then pay, cancel, or let the hold lapse.
    Compete,
    /// The same, without a hold that lapses: it would last too long.
    CompeteAndEnd,
    /// Each buyer orders a ticket and lets the hold lapse.
    Lapse,
}

/// The longest hold, in seconds, that may lapse in a run.
const LONGEST_HOLD: usize = 60;

#[tokio::main]
async fn main() {
    let plan = match (number("LAPSE", 0), number("HOLD", 30)) {
        (0, hold) if hold > LONGEST_HOLD => Plan::CompeteAndEnd,
        (0, _) => Plan::Compete,
        (_, _) => Plan::Lapse,
    };
    let buyers = new_buyers(number("BUYERS", 1_000));
    let tickets = match plan {
        Plan::Compete | Plan::CompeteAndEnd => number("TICKETS", 40),
        Plan::Lapse => buyers.len(),
    };
    let test_stack = Arc::new(TestStack::connect().await);
    let record = Arc::new(Record::default());
    let tickets = record.new_tickets(&test_stack, tickets).await;
    let listener = Listener::start().await;
    let load = async {
        let (before, started) = (Cpu::now(), Instant::now());
        run_buyers(&test_stack, &record, &tickets, buyers, plan).await;
        let (duration, cpu) = (started.elapsed(), Cpu::now().since(&before));
        wait_until_published(&test_stack, &record, &tickets).await;
        (duration, cpu)
    };
    let (duration, cpu) = tokio::select! {
        done = load => done,
        never = record_events(&listener, &record, &tickets) => match never {},
    };
    listener.delete().await;
    let history = record.complete(CLOCK_TOLERANCE_MS);
    Report { history: &history, tickets: tickets.len(), duration, cpu }.print();
    check_history(&history).expect("a valid history");
}

fn number(name: &str, default: usize) -> usize {
    let text = env::var(name).ok().filter(|text| !text.is_empty());
    text.map_or(default, |text| {
        text.parse().expect("a whole number in BUYERS, TICKETS, HOLD and LAPSE")
    })
}

/// Runs all buyers, with one buyer per connection at a time.
async fn run_buyers(
    test_stack: &Arc<TestStack>,
    record: &Arc<Record>,
    tickets: &[String],
    buyers: Vec<Buyer>,
    plan: Plan,
) {
    let buyers: Vec<_> = buyers.into_iter().zip(tickets.to_vec().into_iter().cycle()).collect();
    let queue = Arc::new(Mutex::new(buyers));
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (queue, test_stack, record) =
            (Arc::clone(&queue), Arc::clone(test_stack), Arc::clone(record));
        let (tickets, mut rng) = (tickets.to_vec(), Rng::with_seed(number as u64));
        connections.spawn(async move {
            let next = || queue.lock().expect("an unpoisoned lock").pop();
            while let Some((buyer, ticket)) = next() {
                let ends = match plan {
                    Plan::Compete => 4,
                    Plan::CompeteAndEnd => 3,
                    Plan::Lapse => {
                        place(&record, &buyer, ticket, 0).await;
                        continue;
                    }
                };
                compete(&test_stack, &record, &tickets, &mut rng, &buyer, ends).await;
            }
        });
    }
    connections.join_all().await;
}

/// A buyer tries tickets until an order is placed, and then chooses one of the first `ends` of four ends: pay
/// (twice as likely), cancel, or let the hold lapse.
async fn compete(
    test_stack: &TestStack,
    record: &Record,
    tickets: &[String],
    rng: &mut Rng,
    buyer: &Buyer,
    ends: u8,
) {
    for attempt in 0..TICKETS_PER_BUYER {
        let ticket = rng.choice(tickets).expect("a ticket").clone();
        let outcome = place(record, buyer, ticket, attempt).await;
        let Some(OrderView { order, .. }) = outcome.order().cloned() else { continue };
        let next = match rng.u8(0..ends) {
            0 | 1 => return record.pay(test_stack, &order, 1).await,
            2 => Operation::Cancel { order },
            _ => Operation::Show { order },
        };
        call_until_known(record, buyer, next).await;
        return;
    }
}

async fn place(record: &Record, buyer: &Buyer, ticket: String, attempt: usize) -> Outcome {
    let key = Some(format!("attempt-{attempt}"));
    call_until_known(record, buyer, Operation::Place { ticket, key, version: None }).await
}

/// Sends a request, and repeats it while the outcome is unknown.
async fn call_until_known(record: &Record, buyer: &Buyer, operation: Operation) -> Outcome {
    for _ in 1..MAX_TRIES {
        match record.call_api(buyer, operation.clone()).await {
            Outcome::Unknown => tokio::time::sleep(Duration::from_millis(200)).await,
            outcome => return outcome,
        }
    }
    record.call_api(buyer, operation).await
}

//! An on-sale: many buyers want few tickets, all at once, while holds lapse and payments come in.
//! Prints how fast it went and what kept it from going faster, and looks that the promises were kept.
//!
//! `make onsale BUYERS=1000 TICKETS=40`

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
    history::{Answer, Asked, explain},
    recording::{Record, everything_is_told, listen},
};
use tokio::task::JoinSet;

use crate::{cpu::Cpu, report::Report};

/// How many requests are under way at once.
const CONNECTIONS: usize = 32;
/// How many tickets a buyer tries to get before giving up.
const WISHES: usize = 3;
/// How often a request is sent whose outcome is not known.
const TRIES: usize = 5;
/// How far the service's clocks may be off from this machine's.
const CLOCK_TOLERANCE_MS: u64 = 200;

#[tokio::main]
async fn main() {
    let (buyers, tickets) = (new_buyers(number("BUYERS", 1_000)), number("TICKETS", 40));
    let test_stack = Arc::new(TestStack::connect().await);
    let record = Arc::new(Record::default());
    let tickets = record.new_tickets(&test_stack, tickets).await;
    let listener = Listener::start().await;
    let on_sale = async {
        let (before, begun) = (Cpu::now(), Instant::now());
        sell(&test_stack, &record, &tickets, buyers).await;
        let (took, cpu) = (begun.elapsed(), Cpu::now().since(&before));
        everything_is_told(&test_stack, &record, &tickets).await;
        (took, cpu)
    };
    let (took, cpu) = tokio::select! {
        done = on_sale => done,
        never = listen(&listener, &record, &tickets) => match never {},
    };
    listener.forget().await;
    let history = record.complete(CLOCK_TOLERANCE_MS);
    Report { history: &history, tickets: tickets.len(), took, cpu }.print();
    explain(&history).expect("all that was seen fits one order of operations");
}

fn number(name: &str, default: usize) -> usize {
    let text = env::var(name).ok().filter(|text| !text.is_empty());
    text.map_or(default, |text| text.parse().expect("BUYERS and TICKETS are whole numbers"))
}

/// Lets the buyers in, as many at a time as there are connections.
async fn sell(
    test_stack: &Arc<TestStack>,
    record: &Arc<Record>,
    tickets: &[String],
    buyers: Vec<Buyer>,
) {
    let queue = Arc::new(Mutex::new(buyers));
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (queue, test_stack, record) =
            (Arc::clone(&queue), Arc::clone(test_stack), Arc::clone(record));
        let (tickets, mut rng) = (tickets.to_vec(), Rng::with_seed(number as u64));
        connections.spawn(async move {
            let next = || queue.lock().expect("no buyer panics").pop();
            while let Some(buyer) = next() {
                shop(&test_stack, &record, &tickets, &mut rng, &buyer).await;
            }
        });
    }
    connections.join_all().await;
}

/// A buyer tries for one ticket after the other, and pays for what they get, lets it go, or forgets it.
async fn shop(
    test_stack: &TestStack,
    record: &Record,
    tickets: &[String],
    rng: &mut Rng,
    buyer: &Buyer,
) {
    for wish in 0..WISHES {
        let ticket = rng.choice(tickets).expect("there are tickets").clone();
        let asked = Asked::Place { ticket, key: Some(format!("wish-{wish}")) };
        let Answer::Order(order) = insist(record, buyer, asked).await else { continue };
        match rng.u8(0..4) {
            0 | 1 => record.charge(test_stack, &order.order, 1).await,
            2 => drop(insist(record, buyer, Asked::Cancel { order: order.order }).await),
            _ => drop(insist(record, buyer, Asked::Show { order: order.order }).await),
        }
        return;
    }
}

/// Asks, and asks again while the outcome is not known.
async fn insist(record: &Record, buyer: &Buyer, asked: Asked) -> Answer {
    for _ in 1..TRIES {
        match record.ask(buyer, asked.clone()).await {
            Answer::Unknown => tokio::time::sleep(Duration::from_millis(200)).await,
            answer => return answer,
        }
    }
    record.ask(buyer, asked).await
}

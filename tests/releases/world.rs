//! The world of a run: tables, queues, stream, random numbers and the split of the traffic.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use dynoxide::Database;
use fastrand::Rng;
use lambda_http::Context;
use orders_dynamo::TableNames;
use serde_json::Value;
use tokio::{sync::Notify, time::Instant};

use crate::release::{Pair, Release};

/// Start of every run, in epoch milliseconds.
pub(crate) const START_MS: u64 = 1_700_000_000_000;
/// Hold of an order.
pub(crate) const HOLD: Duration = Duration::from_secs(30);
/// Time after the end of a hold in which a payment can still be sent.
pub(crate) const LATE_LIMIT: Duration = Duration::from_mins(1);
/// Time to pay from the start of a payment on: long enough for a schedule.
pub(crate) const TIME_TO_PAY: Duration = Duration::from_secs(100);
/// Timeout of the functions, as in the template.
const TIMEOUT_MS: u64 = 10_000;

/// A function of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Create,
    Show,
    List,
    Cancel,
}

/// Name of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueName {
    Tickets,
    Payments,
    Expiries,
}

impl QueueName {
    pub(crate) const ALL: [Self; 3] = [Self::Tickets, Self::Payments, Self::Expiries];
}

/// A message in a queue.
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) sent_at_ms: u64,
    pub(crate) visible_at_ms: u64,
    pub(crate) receive_count: u32,
}

/// Table and id of an item.
pub(crate) type Key = (String, String);

/// The world of a run.
pub(crate) struct World {
    pub(crate) pair: Pair,
    pub(crate) database: Database,
    pub(crate) tables: TableNames,
    /// Wakes the functions: a message or a record is new, or a visibility timeout has changed.
    pub(crate) arrivals: Notify,
    started: Instant,
    state: Mutex<State>,
}

/// Mutable state of a world.
pub(crate) struct State {
    pub(crate) rng: Rng,
    /// Share of the traffic of each release, in percent.
    pub(crate) shares: Vec<(Release, u64)>,
    pub(crate) queues: [Vec<Message>; 3],
    /// Dead letters of the queues.
    pub(crate) dead: Vec<(QueueName, String)>,
    next_message: u64,
    /// The stream of the orders table: one shard.
    pub(crate) records: Vec<String>,
    /// Number of finished records.
    pub(crate) relayed: usize,
    /// Dead letters of the relay.
    pub(crate) dead_records: Vec<String>,
    /// Events of dead-lettered records.
    pub(crate) dead_events: BTreeSet<(String, u64)>,
    pub(crate) published: BTreeSet<(String, u64)>,
    /// Payments with their order, and whether they are refunded.
    pub(crate) payments: Vec<(String, String, bool)>,
    /// Every item, in the JSON form of DynamoDB.
    pub(crate) items: BTreeMap<Key, Value>,
    /// Number of committed write requests.
    pub(crate) writes: u64,
    /// Number of unreadable items that the store has found.
    pub(crate) unreadable: u64,
    /// Number of occurrences of each situation.
    pub(crate) seen: BTreeMap<&'static str, u64>,
    pub(crate) violation: Option<String>,
    pub(crate) log: Option<Vec<String>>,
}

impl State {
    /// Reports a violation. The first counts.
    pub(crate) fn report(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }

    pub(crate) fn see(&mut self, situation: &'static str) {
        *self.seen.entry(situation).or_default() += 1;
    }

    pub(crate) fn queue(&mut self, name: QueueName) -> &mut Vec<Message> {
        &mut self.queues[name as usize]
    }

    /// The release that gets the next invocation.
    pub(crate) fn next_release(&mut self) -> Release {
        let point = self.rng.u64(0..100);
        let mut end = 0;
        let chosen = self.shares.iter().find(|(_, share)| {
            end += share;
            point < end
        });
        chosen.expect("shares of 100 percent").0
    }
}

impl World {
    pub(crate) fn new(
        seed: u64,
        pair: Pair,
        database: Database,
        tables: TableNames,
        with_log: bool,
    ) -> Self {
        let state = State {
            rng: Rng::with_seed(seed),
            shares: vec![(pair.releases()[0], 100)],
            queues: QueueName::ALL.map(|_| Vec::new()),
            dead: Vec::new(),
            next_message: 0,
            records: Vec::new(),
            relayed: 0,
            dead_records: Vec::new(),
            dead_events: BTreeSet::new(),
            published: BTreeSet::new(),
            payments: Vec::new(),
            items: BTreeMap::new(),
            writes: 0,
            unreadable: 0,
            seen: BTreeMap::new(),
            violation: None,
            log: with_log.then(Vec::new),
        };
        let (arrivals, started) = (Notify::new(), Instant::now());
        Self { pair, database, tables, arrivals, started, state: Mutex::new(state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("an unpoisoned lock")
    }

    pub(crate) fn now_ms(&self) -> u64 {
        let elapsed = self.started.elapsed().as_millis();
        START_MS + u64::try_from(elapsed).expect("a short run")
    }

    pub(crate) fn random(&self, range: RangeInclusive<u64>) -> u64 {
        self.state().rng.u64(range)
    }

    /// Returns `true` with this probability.
    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.random(1..=100) <= percent
    }

    pub(crate) fn random_bytes(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        self.state().rng.fill(&mut bytes);
        bytes
    }

    pub(crate) async fn sleep_ms(&self, range: RangeInclusive<u64>) {
        let ms = self.random(range);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    pub(crate) fn log(&self, line: impl FnOnce() -> String) {
        let elapsed = self.started.elapsed().as_secs_f64();
        if let Some(log) = &mut self.state().log {
            log.push(format!("{elapsed:>9.3}  {}", line()));
        }
    }

    pub(crate) fn report(&self, violation: String) {
        self.state().report(violation);
    }

    /// Sends a message with a delay, in whole seconds as in SQS.
    pub(crate) fn send(&self, queue: QueueName, body: String, delay: Duration) {
        let sent_at_ms = self.now_ms();
        let visible_at_ms = sent_at_ms + delay.as_secs() * 1_000;
        let mut state = self.state();
        state.next_message += 1;
        let id = state.next_message.to_string();
        let message = Message { id, body, sent_at_ms, visible_at_ms, receive_count: 0 };
        state.queue(queue).push(message);
        self.arrivals.notify_waiters();
    }

    /// Hides a message for this time. The id of a message is its receipt handle.
    pub(crate) fn set_visibility_timeout(&self, queue: QueueName, id: &str, time: Duration) {
        let until_ms = self.now_ms() + time.as_secs() * 1_000;
        let mut state = self.state();
        if let Some(message) = state.queue(queue).iter_mut().find(|message| message.id == id) {
            message.visible_at_ms = until_ms;
            self.arrivals.notify_waiters();
        }
    }
}

/// Lambda context of an invocation that starts now.
pub(crate) fn context(now_ms: u64) -> Context {
    let mut context = Context::default();
    "simulated".clone_into(&mut context.request_id);
    context.deadline = now_ms + TIMEOUT_MS;
    context
}

/// A shared world.
pub(crate) type Shared = Arc<World>;

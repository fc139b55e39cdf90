//! The stream of the orders table: a shard for each partition, and `ParallelizationFactor` lanes in each,
//! which keep the order of the changes of one order.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use orders_domain::Order;
use orders_lambda::stream::{Change, Content, Record};
use tokio::{sync::Notify, task::spawn_local, time::sleep};

use crate::{
    lambda::{Function, Throttled, invoke},
    latency::{FAILED_RECORDS, THROTTLED_BATCH, cpu_us},
    limits::SHARD_POLL,
    meter::{Pool, Usage},
    scheduler::Sink,
    world::{World, timestamp},
};

/// A change of an order.
#[derive(Clone)]
pub(crate) struct Written {
    pub(crate) before: Option<Order>,
    pub(crate) after: Order,
    pub(crate) at_ms: u64,
}

/// The stream.
pub(crate) struct Stream {
    lanes: Vec<Lane>,
    shards: usize,
    busy: Mutex<Pool>,
}

#[derive(Default)]
struct Lane {
    records: Mutex<VecDeque<Written>>,
    arrived: Notify,
}

impl Stream {
    pub(crate) fn new(shards: usize, parallelization_factor: usize) -> Self {
        let lanes = shards * parallelization_factor;
        Self {
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            shards,
            busy: Mutex::new(Pool::new(lanes)),
        }
    }

    /// Adds a change to the lane of its order.
    pub(crate) fn push(&self, before: Option<Order>, after: Order, at_ms: u64) {
        let key =
            after.id.to_bytes()[8..].iter().fold(0, |sum, byte| sum * 31 + usize::from(*byte));
        let lane = &self.lanes[key % self.lanes.len()];
        lane.records().push_back(Written { before, after, at_ms });
        lane.arrived.notify_one();
    }

    /// Number of changes that are not relayed.
    pub(crate) fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.records().len()).sum()
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn usage(&self) -> Usage {
        let Self { lanes, shards, .. } = self;
        let factor = lanes.len() / shards;
        self.busy().usage(format!("Orders stream, {shards} shards x {factor}"))
    }
}

impl Lane {
    fn records(&self) -> std::sync::MutexGuard<'_, VecDeque<Written>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the relay on each lane for the whole run.
pub(crate) fn start_relay(world: &Arc<World>) {
    for lane in 0..world.stream.lanes.len() {
        spawn_local(read_lane(Arc::clone(world), lane));
    }
}

async fn read_lane(world: Arc<World>, lane: usize) {
    let size = world.settings.stream_batch;
    let lane = &world.stream.lanes[lane];
    let (mut throttled_wait, longest) = THROTTLED_BATCH;
    let mut polls = true;
    loop {
        if lane.records().is_empty() {
            lane.arrived.notified().await;
            polls = true;
            continue;
        }
        // A shard without records is read again after a moment.
        if std::mem::take(&mut polls) {
            sleep(SHARD_POLL.mul_f64(world.random())).await;
        }
        let batch: Vec<Written> = lane.records().iter().take(size).cloned().collect();
        world.stream.busy().start(world.now_ms());
        let done = relay(&world, &batch).await;
        world.stream.busy().finish(world.now_ms());
        let Ok(done) = done else {
            sleep(throttled_wait.mul_f64(0.5 + world.random() / 2.0)).await;
            throttled_wait = (throttled_wait * 2).min(longest);
            continue;
        };
        throttled_wait = THROTTLED_BATCH.0;
        lane.records().drain(..done);
        if done < batch.len() {
            sleep(FAILED_RECORDS).await;
        }
    }
}

/// Relays a batch. Returns the number of finished records.
async fn relay(world: &Arc<World>, batch: &[Written]) -> Result<usize, Throttled> {
    let first_failed = invoke(world, Function::OrderRelay, async |invocation| {
        let records: Vec<Record<'_>> = batch.iter().enumerate().map(record).collect();
        for _ in batch {
            invocation.compute(cpu_us::RELAYED).await;
        }
        let now = timestamp(world.now_ms());
        order_relay::relay(&Sink { world, batch }, now, invocation.deadline(), &records).await
    })
    .await?;
    Ok(match first_failed {
        None => 0,
        Some(None) => batch.len(),
        Some(Some(number)) => number.parse().unwrap_or(0),
    })
}

/// A record as the relay reads it. Its sequence number is its index in the batch.
fn record((index, written): (usize, &Written)) -> Record<'static> {
    let change = Change {
        before: written.before.clone(),
        after: written.after.clone(),
        // DynamoDB reports whole seconds.
        at: timestamp(written.at_ms / 1_000 * 1_000),
    };
    Record {
        raw: "",
        sequence_number: index.to_string(),
        content: Ok(Content::Change(Box::new(change))),
    }
}

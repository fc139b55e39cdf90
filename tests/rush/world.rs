//! The world of a run: the clock, random numbers, the store in memory, and the state of each AWS service.
//! All tasks run on one thread with tokio's paused clock, so the seed determines the run.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use orders_domain::Timestamp;
use orders_testing::{MemoryStore, START_MS};
use tokio::{sync::Notify, time::Instant};

use crate::{
    dynamo::Dynamo,
    gateway::Gateway,
    lambda::Lambda,
    latency::Latency,
    scheduler::{Bus, Scheduler},
    settings::Settings,
    sqs::{Queue, QueueName},
    stream::Stream,
};

/// The world of a run.
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) store: MemoryStore,
    pub(crate) stream: Stream,
    /// Wakes a mapping when its queue or its pollers have changed.
    pub(crate) messages: [Notify; 3],
    /// Wakes the scheduler when it has an earlier schedule.
    pub(crate) schedules: Notify,
    started: Instant,
    rng: Mutex<Rng>,
    dynamo: Mutex<Dynamo>,
    lambda: Mutex<Lambda>,
    gateway: Mutex<Gateway>,
    queues: [Mutex<Queue>; 3],
    scheduler: Mutex<Scheduler>,
    bus: Mutex<Bus>,
    seen: Mutex<Seen>,
}

/// Measurements, in milliseconds.
#[derive(Default)]
pub(crate) struct Seen {
    /// Responses by status.
    pub(crate) statuses: BTreeMap<&'static str, u64>,
    /// Responses to the bot.
    pub(crate) of_bot: BTreeMap<&'static str, u64>,
    /// Latency of the requests that got what they asked for.
    pub(crate) successes: Vec<u32>,
    /// Latency of all requests that reached a function.
    pub(crate) responses: Vec<u32>,
    /// From the commit of a change to its event on the bus.
    pub(crate) events: Vec<u32>,
    /// From the commit of a new or longer hold to its timer.
    pub(crate) timers: Vec<u32>,
    /// From the end of a hold to its `OrderExpired` on the bus.
    pub(crate) expiries: Vec<u32>,
    /// From the event of a payment on the bus to its booking.
    pub(crate) payments: Vec<u32>,
    /// From the event of a ticket on the bus to the ticket on sale.
    pub(crate) tickets: Vec<u32>,
    /// Payments that bought their order, and those that must be refunded.
    pub(crate) bought: u64,
    pub(crate) refunds_due: u64,
    /// Times at which tickets became locked (true) or free.
    pub(crate) locks: Vec<(u64, bool)>,
}

impl World {
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        let dynamo = Dynamo::new(settings.table_writes);
        Self {
            store: MemoryStore::default(),
            stream: Stream::new(dynamo.partitions(), settings.parallelization_factor),
            messages: [const { Notify::const_new() }; 3],
            schedules: Notify::const_new(),
            started: Instant::now(),
            rng: Mutex::new(Rng::with_seed(seed)),
            dynamo: Mutex::new(dynamo),
            lambda: Mutex::new(Lambda::new(&settings)),
            gateway: Mutex::new(Gateway::new(&settings)),
            queues: QueueName::ALL.map(|name| Mutex::new(Queue::new(&settings, name))),
            scheduler: Mutex::new(Scheduler::default()),
            bus: Mutex::new(Bus::new(&settings)),
            seen: Mutex::new(Seen::default()),
            settings,
        }
    }

    /// Time since the start of the run.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn sample(&self, latency: Latency) -> Duration {
        latency.sample(&mut self.rng())
    }

    /// Sleeps until a time after the start of the run.
    pub(crate) async fn sleep_until(&self, at_ms: u64) {
        tokio::time::sleep_until(self.started + Duration::from_millis(at_ms)).await;
    }

    /// A random number from 0 to 1.
    pub(crate) fn random(&self) -> f64 {
        self.rng().f64()
    }

    /// Not for a statement that waits: the guard would last until its end.
    pub(crate) fn rng(&self) -> MutexGuard<'_, Rng> {
        lock(&self.rng)
    }

    pub(crate) fn dynamo(&self) -> MutexGuard<'_, Dynamo> {
        lock(&self.dynamo)
    }

    pub(crate) fn lambda(&self) -> MutexGuard<'_, Lambda> {
        lock(&self.lambda)
    }

    pub(crate) fn gateway(&self) -> MutexGuard<'_, Gateway> {
        lock(&self.gateway)
    }

    pub(crate) fn queue(&self, name: QueueName) -> MutexGuard<'_, Queue> {
        lock(&self.queues[name as usize])
    }

    pub(crate) fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        lock(&self.scheduler)
    }

    pub(crate) fn bus(&self) -> MutexGuard<'_, Bus> {
        lock(&self.bus)
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time of the service's clocks, so long after the start of the run.
pub(crate) fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from_epoch_ms(START_MS + ms).unwrap_or(Timestamp::MAX)
}

/// The time since the start of the run.
pub(crate) fn since_start_ms(time: Timestamp) -> u64 {
    time.epoch_ms().saturating_sub(START_MS)
}

/// Milliseconds as a measured value.
pub(crate) fn measured(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

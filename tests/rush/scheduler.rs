//! EventBridge and EventBridge Scheduler, and the outputs of the relay.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use order_relay::sink::{Expiry, RelaySink};
use orders_contracts::{ExpiryMessage, OutgoingEvent};
use orders_domain::Timestamp;
use orders_lambda::{BoxError, queue::MAX_DELAY};
use tokio::{
    task::spawn_local,
    time::{sleep, timeout},
};

use crate::{
    latency::{self, BUS, Latency, SCHEDULE, SQS},
    limits,
    meter::{Rate, Usage},
    settings::Settings,
    sqs::QueueName,
    stream::Written,
    world::{World, measured, since_start_ms},
};

/// The event bus.
pub(crate) struct Bus {
    put: Rate,
}

impl Bus {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { put: Rate::new(settings.put_events) }
    }

    pub(crate) fn usage(&self) -> Usage {
        self.put.usage("EventBridge, PutEvents entries")
    }

    /// Number of events.
    pub(crate) fn events(&self) -> f64 {
        self.put.total
    }
}

/// The schedules.
pub(crate) struct Scheduler {
    create: Rate,
    delete: Rate,
    fire: Rate,
    /// Schedules by the time at which they fire.
    by_time: BTreeSet<(u64, Expiry)>,
    fires_ms: HashMap<Expiry, u64>,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            create: Rate::new(limits::SCHEDULE_CHANGES),
            delete: Rate::new(limits::SCHEDULE_CHANGES),
            fire: Rate::new(limits::SCHEDULE_INVOCATIONS),
            by_time: BTreeSet::new(),
            fires_ms: HashMap::new(),
        }
    }
}

impl Scheduler {
    pub(crate) fn usage(&self) -> Vec<Usage> {
        vec![
            self.create.usage("Scheduler, CreateSchedule"),
            self.delete.usage("Scheduler, DeleteSchedule"),
            self.fire.usage("Scheduler, invocations"),
        ]
    }

    /// Number of schedules that have fired.
    pub(crate) fn fired(&self) -> f64 {
        self.fire.total
    }

    fn insert(&mut self, expiry: Expiry, fires_ms: u64) {
        if self.fires_ms.insert(expiry, fires_ms).is_none() {
            self.by_time.insert((fires_ms, expiry));
        }
    }

    fn remove(&mut self, expiry: Expiry) {
        if let Some(fires_ms) = self.fires_ms.remove(&expiry) {
            self.by_time.remove(&(fires_ms, expiry));
        }
    }
}

/// Fires the schedules for the whole run.
pub(crate) fn start_scheduler(world: &Arc<World>) {
    let world = Arc::clone(world);
    spawn_local(async move {
        loop {
            let now_ms = world.now_ms();
            let next = world.scheduler().by_time.first().copied();
            let wait_ms = match next {
                Some((fires_ms, expiry)) if fires_ms <= now_ms => {
                    let mut scheduler = world.scheduler();
                    if scheduler.fire.try_take(1.0, now_ms) {
                        scheduler.remove(expiry);
                        drop(scheduler);
                        world.send(QueueName::Expiry, message(expiry), 0);
                        continue;
                    }
                    1
                }
                Some((fires_ms, _)) => fires_ms - now_ms,
                None => u64::from(u32::MAX),
            };
            drop(timeout(Duration::from_millis(wait_ms), world.schedules.notified()).await);
        }
    });
}

fn message((order_id, expires_at): Expiry) -> String {
    let message = ExpiryMessage { order_id, expires_at: Some(expires_at) };
    message.to_text().expect("a message")
}

/// Outputs of the relay for one batch.
pub(crate) struct Sink<'a> {
    pub(crate) world: &'a Arc<World>,
    pub(crate) batch: &'a [Written],
}

impl Sink<'_> {
    /// A call of an AWS service with the retries of the SDK.
    async fn call(&self, latency: Latency, accepts: impl Fn(u64) -> bool) -> bool {
        let (world, settings) = (self.world, &self.world.settings);
        let mut backoff = settings.sdk_backoff;
        for attempt in 1..=settings.sdk_attempts {
            sleep(world.sample(latency)).await;
            if accepts(world.now_ms()) {
                return true;
            }
            if attempt < settings.sdk_attempts {
                sleep(backoff.mul_f64(world.random())).await;
                backoff *= 2;
            }
        }
        false
    }

    /// Time since the commit of a hold.
    fn count_timer(&self, expiry: Expiry) {
        let is_hold = |written: &&Written| (written.after.id, written.after.expires_at) == expiry;
        if let Some(written) = self.batch.iter().find(is_hold) {
            let took = measured(self.world.now_ms() - written.at_ms);
            self.world.seen().timers.push(took);
        }
    }

    fn count_event(&self, event: &OutgoingEvent) {
        let now_ms = self.world.now_ms();
        let (id, version) = event.event_id.rsplit_once(':').unwrap_or_default();
        let change = (id.parse().ok(), version.parse().ok());
        let is_change = |written: &&Written| {
            (Some(written.after.id), Some(written.after.version.number())) == change
        };
        let Some(written) = self.batch.iter().find(is_change) else { return };
        let mut seen = self.world.seen();
        seen.events.push(measured(now_ms - written.at_ms));
        if event.detail_type == "OrderExpired" {
            let end_ms = since_start_ms(written.after.expires_at);
            seen.expiries.push(measured(now_ms.saturating_sub(end_ms)));
        }
    }
}

impl RelaySink for Sink<'_> {
    async fn publish(&self, events: &[OutgoingEvent]) -> Vec<bool> {
        let entries = crate::meter::count(events.len());
        let put = |now_ms| self.world.bus().put.try_take(entries, now_ms);
        let accepted = self.call(latency::PUT_EVENTS, put).await;
        if accepted {
            for event in events {
                self.count_event(event);
            }
        }
        vec![accepted; events.len()]
    }

    async fn schedule_expiry(&self, expiry: Expiry, at: Timestamp) -> Result<(), BoxError> {
        let create = |now_ms| self.world.scheduler().create.try_take(1.0, now_ms);
        if !self.call(SCHEDULE, create).await {
            return Err("CreateSchedule is throttled".into());
        }
        let late = limits::SCHEDULE_PRECISION.mul_f64(self.world.random());
        let late_ms = u64::try_from(late.as_millis())?;
        self.world.scheduler().insert(expiry, since_start_ms(at) + late_ms);
        self.world.schedules.notify_one();
        self.count_timer(expiry);
        Ok(())
    }

    async fn unschedule_expiry(&self, expiry: Expiry) -> Result<(), BoxError> {
        let delete = |now_ms| self.world.scheduler().delete.try_take(1.0, now_ms);
        if !self.call(SCHEDULE, delete).await {
            return Err("DeleteSchedule is throttled".into());
        }
        self.world.scheduler().remove(expiry);
        Ok(())
    }

    async fn send_expiries(&self, expiries: &[Expiry]) -> Vec<bool> {
        let now_ms = self.world.now_ms();
        sleep(self.world.sample(SQS)).await;
        for &expiry in expiries {
            let left_ms = since_start_ms(expiry.1).saturating_sub(now_ms);
            let delay_ms = Duration::from_millis(left_ms).min(MAX_DELAY).as_secs() * 1_000;
            self.world.send(QueueName::Expiry, message(expiry), delay_ms);
            self.count_timer(expiry);
        }
        vec![true; expiries.len()]
    }

    async fn dead_letter(&self, _: &str) -> Result<(), BoxError> {
        Err("every record is valid".into())
    }
}

impl World {
    /// Sends an event of another service through the bus to a queue.
    pub(crate) fn deliver(&self, name: QueueName, body: String) {
        let late = self.sample(BUS);
        self.send(name, body, u64::try_from(late.as_millis()).unwrap_or_default());
    }
}

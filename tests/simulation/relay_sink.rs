//! The relay's destinations: bus, scheduler, expiry queue and dead-letter queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use order_relay::sink::{Expiry, RelaySink};
use orders_contracts::{ExpiryMessage, OutgoingEvent};
use orders_domain::{BoxError, Timestamp};
use orders_lambda::queue::MAX_DELAY;
use orders_tests::history::Event;

use crate::{
    coverage::{Fault, Observed},
    invocation::Invocation,
    queues::QueueName,
    world::World,
};

/// EventBridge Scheduler fires within a minute after the scheduled time.
const SCHEDULE_JITTER_MS: u64 = 60_000;

/// State of the scheduler and the dead-letter queue.
pub(crate) struct External {
    /// Schedules by order and `expires_at`, with their times.
    pub(crate) schedules: BTreeMap<Expiry, Timestamp>,
    pub(crate) dead_records: Vec<String>,
    /// Messages of timers that have disappeared.
    pub(crate) lost_expiries: BTreeSet<String>,
    /// Details of all published events, in groups: an order is forgotten between two groups.
    pub(crate) published: Vec<Vec<String>>,
}

impl Default for External {
    fn default() -> Self {
        Self {
            schedules: BTreeMap::new(),
            dead_records: Vec::new(),
            lost_expiries: BTreeSet::new(),
            published: vec![Vec::new()],
        }
    }
}

/// Sink access of an invocation.
pub(crate) struct SimulatedRelaySink(pub(crate) Arc<Invocation>);

impl SimulatedRelaySink {
    /// A call that succeeds, fails, or fails after its effect.
    async fn call(&self, effect: impl FnOnce(&Arc<World>)) -> Result<(), BoxError> {
        let world = &self.0.world;
        self.0.pause().await;
        let fails = world.fault(Fault::RelaySinkFailed);
        if !fails || world.chance(30) {
            effect(world);
        }
        self.0.pause().await;
        if fails { Err(Fault::RelaySinkFailed.name().into()) } else { Ok(()) }
    }
}

impl RelaySink for SimulatedRelaySink {
    async fn publish(&self, events: &[OutgoingEvent]) -> Vec<bool> {
        let world = &self.0.world;
        self.0.pause().await;
        if world.fault(Fault::PutFailed) {
            return vec![false; events.len()];
        }
        let rejects_some = world.fault(Fault::EventRefused);
        let mut accepted = Vec::new();
        for event in events {
            let rejected = rejects_some && world.chance(50);
            if !rejected {
                world.publish(event);
            }
            accepted.push(!rejected);
        }
        if world.fault(Fault::PutReplyLost) {
            self.0.time_out().await;
            return vec![false; events.len()];
        }
        self.0.pause().await;
        accepted
    }

    async fn schedule_expiry(&self, expiry: Expiry, at: Timestamp) -> Result<(), BoxError> {
        self.call(|world| world.schedule(expiry, at)).await
    }

    async fn unschedule_expiry(&self, expiry: Expiry) -> Result<(), BoxError> {
        self.call(|world| {
            world.count(Observed::ScheduleDeleted);
            world.state().external.schedules.remove(&expiry);
        })
        .await
    }

    async fn send_expiries(&self, expiries: &[Expiry]) -> Vec<bool> {
        let now = self.0.now();
        let rejects_some = self.0.world.fault(Fault::ExpiryRefused);
        let mut accepted = vec![false; expiries.len()];
        let call = self.call(|world| {
            for (accepted, &expiry) in accepted.iter_mut().zip(expiries) {
                if rejects_some && world.chance(50) {
                    continue;
                }
                let delay = now.until(expiry.1).min(MAX_DELAY);
                world.count(Observed::ExpiryQueued);
                world.send(QueueName::Expiries, message(expiry), delay.as_secs() * 1_000);
                *accepted = true;
            }
        });
        if call.await.is_err() { vec![false; expiries.len()] } else { accepted }
    }

    async fn dead_letter(&self, record: &str) -> Result<(), BoxError> {
        self.call(|world| {
            world.count(Observed::RecordDeadLettered);
            world.state().external.dead_records.push(record.to_owned());
        })
        .await
    }
}

impl World {
    fn publish(self: &Arc<Self>, event: &OutgoingEvent) {
        let detail = event.detail.clone();
        self.notify_payment_service(&detail);
        let event = Event::read(event.detail_type, &event.detail, self.now_ms());
        self.log(|| format!("bus: {} {} v{}", event.kind, event.order, event.version));
        let mut state = self.state();
        state.promises.trace_published(&event.order, event.version, &detail);
        if !state.promises.published(&event) {
            state.coverage.observed(Observed::PublishedAgain);
        }
        state.external.published.last_mut().expect("a group").push(detail);
        state.history.events.push(event);
    }

    /// Creates a schedule. No effect if the schedule exists.
    fn schedule(self: &Arc<Self>, expiry: Expiry, at: Timestamp) {
        self.count(Observed::Scheduled);
        let known = self.state().external.schedules.insert(expiry, at).is_some();
        if !known {
            tokio::task::spawn_local(fire(Arc::clone(self), expiry, at));
        }
    }
}

/// The message of a timer.
pub(crate) fn message((order_id, expires_at): Expiry) -> String {
    let message = ExpiryMessage { order_id, expires_at: Some(expires_at) };
    message.to_text().expect("a JSON message")
}

/// Fires a schedule within a minute after its time, unless it was deleted, or with a fault.
async fn fire(world: Arc<World>, expiry: Expiry, at: Timestamp) {
    let wait_ms = at.epoch_ms().saturating_sub(world.now_ms());
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    world.sleep_ms(0..=SCHEDULE_JITTER_MS).await;
    if world.fault(Fault::ScheduleLate) {
        world.sleep_ms(0..=20 * SCHEDULE_JITTER_MS).await;
    }
    if !world.state().external.schedules.contains_key(&expiry) {
        return;
    }
    world.log(|| format!("schedule of {expiry:?} fires"));
    let message = message(expiry);
    if world.fault(Fault::ScheduleNever) {
        // Its retries are exhausted.
        world.state().queue(QueueName::Expiries).dead.push(message);
    } else {
        let times = if world.fault(Fault::ScheduleTwice) { 2 } else { 1 };
        (0..times).for_each(|_| world.send(QueueName::Expiries, message.clone(), 0));
    }
    world.state().external.schedules.remove(&expiry);
}

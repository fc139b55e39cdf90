//! Where the relay puts things: the bus, the scheduler, the queue of expiries, the dead letters.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use order_relay::sink::{MAX_DELAY, RelaySink};
use orders_contracts::{ExpiryMessage, OutgoingEvent};
use orders_domain::BoxError;
use orders_domain::{OrderId, Timestamp};
use orders_tests::history::Event;

use crate::{
    coverage::{Fault, Observed},
    invocation::Invocation,
    queues::QueueName,
    world::World,
};

/// EventBridge Scheduler fires within a minute after its time.
const SCHEDULE_JITTER_MS: u64 = 60_000;

/// What the relay has put outside.
#[derive(Default)]
pub(crate) struct Outside {
    /// When the schedule of an order is to fire.
    pub(crate) schedules: BTreeMap<OrderId, Timestamp>,
    pub(crate) buried: Vec<String>,
}

/// The sink, as one invocation reaches it.
pub(crate) struct SimulatedRelaySink(pub(crate) Arc<Invocation>);

impl SimulatedRelaySink {
    /// A call that fails, or has its effect; or both.
    async fn call(&self, effect: impl FnOnce(&Arc<World>)) -> Result<(), BoxError> {
        let world = &self.0.world;
        self.0.pause().await;
        let fails = world.fault(Fault::RelaySinkFailed);
        if !fails || world.comes_to(30) {
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
        let refuses_some = world.fault(Fault::EventRefused);
        let mut taken = Vec::new();
        for event in events {
            let refused = refuses_some && world.comes_to(50);
            if !refused {
                world.publish(event);
            }
            taken.push(!refused);
        }
        if world.fault(Fault::PutReplyLost) {
            self.0.time_out().await;
            return vec![false; events.len()];
        }
        self.0.pause().await;
        taken
    }

    async fn schedule_expiry(&self, order_id: OrderId, at: Timestamp) -> Result<(), BoxError> {
        self.call(|world| world.schedule(order_id, at)).await
    }

    async fn unschedule_expiry(&self, order_id: OrderId) -> Result<(), BoxError> {
        self.call(|world| {
            world.count(Observed::Unscheduled);
            world.state().outside.schedules.remove(&order_id);
        })
        .await
    }

    async fn send_expiries(&self, expiries: &[(OrderId, Timestamp)]) -> Vec<bool> {
        let now = self.0.now();
        let refuses_some = self.0.world.fault(Fault::ExpiryRefused);
        let mut taken = vec![false; expiries.len()];
        let call = self.call(|world| {
            for (taken, &(order_id, at)) in taken.iter_mut().zip(expiries) {
                if refuses_some && world.comes_to(50) {
                    continue;
                }
                let message = ExpiryMessage { order_id }.to_text().expect("an id is JSON");
                let delay = now.until(at).min(MAX_DELAY);
                world.count(Observed::SentStraight);
                world.send(QueueName::Expiries, message, delay.as_secs() * 1_000);
                *taken = true;
            }
        });
        if call.await.is_err() { vec![false; expiries.len()] } else { taken }
    }

    async fn dead_letter(&self, record: &str) -> Result<(), BoxError> {
        self.call(|world| {
            world.count(Observed::Buried);
            world.state().outside.buried.push(record.to_owned());
        })
        .await
    }
}

impl World {
    fn publish(&self, event: &OutgoingEvent) {
        let event = Event::read(event.detail_type, &event.detail, self.now_ms());
        self.tell(|| format!("bus: {} {} v{}", event.kind, event.order, event.version));
        let mut state = self.state();
        if !state.promises.published(&event) {
            state.coverage.observed(Observed::PublishedAgain);
        }
        state.history.events.push(event);
    }

    /// Makes a schedule, unless it is there.
    fn schedule(self: &Arc<Self>, order_id: OrderId, at: Timestamp) {
        self.count(Observed::Scheduled);
        let known = self.state().outside.schedules.insert(order_id, at).is_some();
        if !known {
            tokio::task::spawn_local(fire(Arc::clone(self), order_id, at));
        }
    }
}

/// Fires a schedule within a minute after its time, if it is still there; or as it goes wrong.
async fn fire(world: Arc<World>, order_id: OrderId, at: Timestamp) {
    let wait_ms = at.epoch_ms().saturating_sub(world.now_ms());
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    world.sleep_ms(0..=SCHEDULE_JITTER_MS).await;
    if world.fault(Fault::ScheduleLate) {
        world.sleep_ms(0..=20 * SCHEDULE_JITTER_MS).await;
    }
    if !world.state().outside.schedules.contains_key(&order_id) {
        return;
    }
    world.tell(|| format!("schedule of {order_id} fires"));
    let message = ExpiryMessage { order_id }.to_text().expect("an id is JSON");
    if world.fault(Fault::ScheduleNever) {
        // Its retries are used up, and so it is in the dead-letter queue for someone to see to.
        world.state().queue(QueueName::Expiries).dead.push(message);
    } else {
        let times = if world.fault(Fault::ScheduleTwice) { 2 } else { 1 };
        (0..times).for_each(|_| world.send(QueueName::Expiries, message.clone(), 0));
    }
    world.state().outside.schedules.remove(&order_id);
}

//! The three functions with a queue: receive, handle, and delete the finished messages.

use std::{sync::Arc, time::Duration};

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use orders_lambda::{
    BoxError,
    queue::{MAX_DELAY, Queue, process},
};

use crate::{
    coverage::{Fault, Observed},
    invocation::{Invocation, invoke},
    queues::{QueueName, Received},
    world::World,
};

/// Time for which a failed message is retried.
const HALF_A_DAY_MS: u64 = 43_200_000;
/// Longest delay of a message by an outage.
const LONGEST_OUTAGE_MS: u64 = 1_200_000;

/// Concurrent invocations of a function.
const CONCURRENCY: usize = 2;

/// Queue access of a function.
struct SimulatedQueue(Arc<Invocation>, QueueName);

impl Queue for SimulatedQueue {
    async fn set_visibility_timeout(
        &self,
        receipt_handle: &str,
        time: Duration,
    ) -> Result<(), BoxError> {
        let Self(invocation, queue) = self;
        let world = &invocation.world;
        invocation.pause().await;
        if world.fault(Fault::VisibilityFailed) {
            return Err(Fault::VisibilityFailed.name().into());
        }
        let until_ms = world.now_ms() + time.as_secs() * 1_000;
        world.state().queue(*queue).set_visibility(receipt_handle.parse()?, until_ms)?;
        world.count(Observed::RetryScheduled);
        world.messages[*queue as usize].notify_waiters();
        invocation.pause().await;
        Ok(())
    }

    /// A call that succeeds, fails, or fails after its effect: the message is then in the queue
    /// twice.
    async fn send(&self, body: &str, delay: Duration) -> Result<(), BoxError> {
        let Self(invocation, queue) = self;
        let world = &invocation.world;
        invocation.pause().await;
        if world.fault(Fault::SendFailed) {
            return Err(Fault::SendFailed.name().into());
        }
        world.send(*queue, body.to_owned(), delay.min(MAX_DELAY).as_secs() * 1_000);
        world.count(Observed::SentAgainLater);
        if world.fault(Fault::SendReplyLost) {
            invocation.time_out().await;
            return Err(Fault::SendReplyLost.name().into());
        }
        invocation.pause().await;
        Ok(())
    }

    /// A call that succeeds, or fails after its effect: the message is then dead-lettered twice.
    async fn dead_letter(&self, body: &str) -> Result<(), BoxError> {
        let Self(invocation, queue) = self;
        let world = &invocation.world;
        invocation.pause().await;
        if world.fault(Fault::SendFailed) {
            return Err(Fault::SendFailed.name().into());
        }
        world.dead_letter(*queue, body);
        if world.fault(Fault::SendReplyLost) {
            invocation.time_out().await;
            return Err(Fault::SendReplyLost.name().into());
        }
        invocation.pause().await;
        Ok(())
    }
}

/// Starts the functions for the whole run.
pub(crate) fn start_consumers(world: &Arc<World>) {
    for queue in QueueName::ALL {
        for _ in 0..CONCURRENCY {
            tokio::task::spawn_local(handle_queue(Arc::clone(world), queue));
        }
    }
}

async fn handle_queue(world: Arc<World>, queue: QueueName) {
    let arrivals = &world.messages[queue as usize];
    loop {
        let now_ms = world.now_ms();
        let next_ms = world.state().queue(queue).next_visible_ms();
        match next_ms {
            Some(next_ms) if next_ms <= now_ms => {}
            Some(next_ms) => {
                let wait = Duration::from_millis(next_ms - now_ms);
                drop(tokio::time::timeout(wait, arrivals.notified()).await);
                continue;
            }
            None => {
                arrivals.notified().await;
                continue;
            }
        }
        world.sleep_ms(0..=20).await;
        let batch = world.receive(queue);
        if !batch.is_empty() {
            handle_batch(&world, queue, &batch).await;
        }
    }
}

/// Handles a batch and deletes the messages not reported as failed.
async fn handle_batch(world: &Arc<World>, queue: QueueName, batch: &[Received]) {
    let event = sqs_event(batch);
    let Some(failed) = handle(world, queue, &event).await else { return };
    for message in batch {
        let id = message.id.to_string();
        if !failed.contains(&id) && !world.fault(Fault::DeleteLost) {
            world.state().queue(queue).delete(message.receipt);
        }
    }
}

/// Returns the ids of the failed messages, or `None` if the whole batch failed.
async fn handle(world: &Arc<World>, queue: QueueName, event: &SqsEvent) -> Option<Vec<String>> {
    let function = match queue {
        QueueName::Tickets => "ticket-events",
        QueueName::Payments => "payment-events",
        QueueName::Expiries => "expire-orders",
    };
    let response = invoke(world, function, async |invocation| {
        let (context, now) = (invocation.context(), invocation.now());
        let access = SimulatedQueue(Arc::clone(&invocation), queue);
        let response = match queue {
            QueueName::Tickets => {
                process(event, &context, now, &access, &async |message| {
                    ticket_events::handle(&invocation.begin_command(), message).await
                })
                .await
            }
            QueueName::Payments => {
                process(event, &context, now, &access, &async |message| {
                    let (store, limits) = (invocation.begin_command(), world.plan.payment_limits());
                    payment_events::handle(&store, limits, store.began(), message).await
                })
                .await
            }
            QueueName::Expiries => {
                process(event, &context, now, &access, &async |message| {
                    let store = invocation.begin_command();
                    expire_orders::handle(&store, store.began(), message).await
                })
                .await
            }
        };
        invocation.pause().await;
        response
    });
    let failures = response.await?.ok()?.batch_item_failures;
    // An empty id fails the whole batch.
    let ids: Vec<String> = failures.into_iter().map(|failure| failure.item_identifier).collect();
    (!ids.iter().any(String::is_empty)).then_some(ids)
}

fn sqs_event(batch: &[Received]) -> SqsEvent {
    let mut event = SqsEvent::default();
    for received in batch {
        let mut message = SqsMessage::default();
        message.message_id = Some(received.id.to_string());
        message.receipt_handle = Some(received.receipt.to_string());
        message.body = Some(received.body.clone());
        let count = received.receive_count.to_string();
        let sent_at_ms = received.sent_at_ms.to_string();
        message.attributes.insert("ApproximateReceiveCount".to_owned(), count);
        message.attributes.insert("SentTimestamp".to_owned(), sent_at_ms);
        event.records.push(message);
    }
    event
}

impl World {
    /// Sends a message with a delay. The message of a timer can disappear.
    pub(crate) fn send(&self, queue: QueueName, body: String, delay_ms: u64) {
        if queue == QueueName::Expiries && self.fault(Fault::ExpiryLost) {
            self.state().external.lost_expiries.insert(body);
            return;
        }
        let now_ms = self.now_ms();
        self.state().queue(queue).send(body, now_ms, delay_ms);
        self.messages[queue as usize].notify_waiters();
    }

    /// Delivers an event from the bus to a queue, at least once, at a random time.
    pub(crate) fn deliver(&self, queue: QueueName, body: &str) {
        let times = if self.fault(Fault::DuplicateDelivery) { 2 } else { 1 };
        for _ in 0..times {
            let longest_ms = if self.fault(Fault::Outage) {
                LONGEST_OUTAGE_MS
            } else if self.fault(Fault::DelayedDelivery) {
                120_000
            } else {
                500
            };
            let delay_ms = self.random(0..=longest_ms);
            self.send(queue, body.to_owned(), delay_ms);
        }
        if self.fault(Fault::PoisonMessage) {
            let poison = format!("poison {}", self.random(0..=999_999));
            self.state().promises.poison.push((queue, poison.clone()));
            self.send(queue, poison, 0);
        }
    }

    /// A function dead-letters a message. Checks promise 11: the message is invalid, or has failed for half
    /// a day, by the function's clock.
    fn dead_letter(&self, queue: QueueName, body: &str) {
        let now_ms = self.now_ms();
        let mut guard = self.state();
        let state = &mut *guard;
        state.coverage.observed(Observed::DeadLettered);
        let sent_at_ms = state.queue(queue).sent_at_ms(body).unwrap_or(now_ms);
        let half_a_day_ms = HALF_A_DAY_MS - self.plan.skew_ms.unsigned_abs();
        let is_old = now_ms.saturating_sub(sent_at_ms) > half_a_day_ms;
        let may_be = is_old || state.promises.is_rejected(queue, body);
        state.promises.require(may_be, || format!("promise 11: {body} is dead-lettered too early"));
        if let Some(observed) = state.promises.dead_lettered(body) {
            state.coverage.observed(observed);
        }
        state.queue(queue).dead.push(body.to_owned());
    }

    fn receive(&self, queue: QueueName) -> Vec<Received> {
        let now_ms = self.now_ms();
        let mut guard = self.state();
        let state = &mut *guard;
        let batch = state.queues[queue as usize].receive(now_ms, &mut state.rng);
        for message in &batch {
            if message.overtook {
                state.coverage.observed(Observed::OutOfOrder);
            }
            if queue == QueueName::Tickets {
                state.promises.ticket_received(&message.body, message.receive_count);
            }
            if let Some(observed) = state.promises.payment_received(&message.body, now_ms) {
                state.coverage.observed(observed);
            }
        }
        drop(guard);
        for message in &batch {
            if self.fault(Fault::SharedReceive) {
                let shown = self.state().queue(queue).set_visibility(message.receipt, now_ms);
                shown.expect("a time after the receive");
                self.messages[queue as usize].notify_waiters();
            }
        }
        batch
    }
}

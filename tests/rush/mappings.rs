//! Event source mappings of the queues: pollers receive batches, invoke the function, and delete what it
//! has finished.

use std::{sync::Arc, time::Duration};

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use orders_domain::Timestamp;
use orders_lambda::{
    BoxError,
    queue::{MAX_DELAY, Queue, process},
};
use orders_testing::{LATE_LIMIT, START_MS};
use tokio::{
    task::spawn_local,
    time::{Instant, sleep, timeout},
};

use crate::{
    lambda::{Function, Throttled, invoke},
    latency::{DELETE, RECEIVE, SQS, THROTTLED_BATCH, cpu_us},
    sqs::{QueueName, Received},
    store::LimitedStore,
    world::{World, measured, timestamp},
};

/// Time to pay from the start of a payment on, as in the template.
pub(crate) const TIME_TO_PAY: Duration = Duration::from_mins(5);

/// Starts the mapping of each queue for the whole run.
pub(crate) fn start_mappings(world: &Arc<World>) {
    for queue in QueueName::ALL {
        spawn_local(run_mapping(Arc::clone(world), queue));
    }
}

/// Starts a batch whenever a message is visible and a poller is idle.
async fn run_mapping(world: Arc<World>, name: QueueName) {
    loop {
        let now_ms = world.now_ms();
        let next_ms = {
            let mut queue = world.queue(name);
            let visible = queue.visible(now_ms);
            if visible > 0 && queue.may_receive(now_ms) {
                queue.pollers.start(now_ms);
                let batch = queue.receive(now_ms);
                drop(queue);
                spawn_local(poll(Arc::clone(&world), name, batch));
                continue;
            }
            if visible > 0 { queue.scale(now_ms) } else { queue.next_visible_ms() }
        };
        let changed = world.messages[name as usize].notified();
        match next_ms {
            Some(at_ms) => {
                drop(timeout(Duration::from_millis(at_ms.saturating_sub(now_ms)), changed).await);
            }
            None => changed.await,
        }
    }
}

async fn poll(world: Arc<World>, name: QueueName, batch: Vec<Received>) {
    if !batch.is_empty() {
        sleep(world.sample(RECEIVE)).await;
        handle_batch(&world, name, &batch).await;
        sleep(world.sample(DELETE)).await;
    }
    let now_ms = world.now_ms();
    world.queue(name).pollers.finish(now_ms);
    world.messages[name as usize].notify_one();
}

/// Invokes the function with a batch. A throttled batch is repeated until its messages are visible again.
async fn handle_batch(world: &Arc<World>, name: QueueName, batch: &[Received]) {
    let event = sqs_event(batch);
    let visible_again = Instant::now() + world.settings.visibility_timeout;
    let (mut wait, longest) = THROTTLED_BATCH;
    let failed = loop {
        if let Ok(failed) = handle(world, name, &event).await {
            break failed;
        }
        sleep(wait.mul_f64(0.5 + world.random() / 2.0)).await;
        wait = (wait * 2).min(longest);
        if Instant::now() >= visible_again {
            return;
        }
    };
    let Some(failed) = failed else { return };
    let now_ms = world.now_ms();
    let done = batch.iter().filter(|message| !failed.contains(&message.id.to_string()));
    let mut queue = world.queue(name);
    queue.requests += 1;
    for message in done {
        queue.delete(message.id);
        let took = measured(now_ms - message.sent_ms);
        match name {
            QueueName::TicketEvents => world.seen().tickets.push(took),
            QueueName::PaymentEvents => world.seen().payments.push(took),
            QueueName::Expiry => {}
        }
    }
}

/// Runs the function of the queue. Returns the ids of the failed messages; `None` if all failed.
async fn handle(
    world: &Arc<World>,
    name: QueueName,
    event: &SqsEvent,
) -> Result<Option<Vec<String>>, Throttled> {
    let function = match name {
        QueueName::TicketEvents => Function::TicketEvents,
        QueueName::PaymentEvents => Function::PaymentEvents,
        QueueName::Expiry => Function::ExpireOrders,
    };
    let response = invoke(world, function, async |invocation| {
        let (context, now) = (invocation.context(), clock(world));
        let store = LimitedStore(Arc::clone(world));
        let access = QueueAccess(world, name);
        match name {
            QueueName::TicketEvents => {
                process(event, &context, now, &access, &async |message| {
                    invocation.compute(cpu_us::TICKET_EVENT).await;
                    ticket_events::handle(&store, message).await
                })
                .await
            }
            QueueName::PaymentEvents => {
                process(event, &context, now, &access, &async |message| {
                    invocation.compute(cpu_us::PAYMENT).await;
                    payment_events::handle(&store, LIMITS, clock(world), message).await
                })
                .await
            }
            QueueName::Expiry => {
                process(event, &context, now, &access, &async |message| {
                    invocation.compute(cpu_us::EXPIRY).await;
                    expire_orders::handle(&store, clock(world), message).await
                })
                .await
            }
        }
    });
    let failures =
        response.await?.and_then(Result::ok).map(|response| response.batch_item_failures);
    let id = |failure: aws_lambda_events::sqs::BatchItemFailure| failure.item_identifier;
    Ok(failures.map(|failures| failures.into_iter().map(id).collect()))
}

const LIMITS: payment_events::Limits =
    payment_events::Limits { late_payment: LATE_LIMIT, time_to_pay: TIME_TO_PAY };

fn clock(world: &World) -> Timestamp {
    timestamp(world.now_ms())
}

fn sqs_event(batch: &[Received]) -> SqsEvent {
    let mut event = SqsEvent::default();
    for received in batch {
        let mut message = SqsMessage::default();
        message.message_id = Some(received.id.to_string());
        message.receipt_handle = Some(format!("{} {}", received.id, received.receipt));
        message.body = Some(received.body.clone());
        let attributes = [
            ("ApproximateReceiveCount", received.receives.to_string()),
            ("SentTimestamp", (START_MS + received.sent_ms).to_string()),
        ];
        for (name, value) in attributes {
            message.attributes.insert(name.to_owned(), value);
        }
        event.records.push(message);
    }
    event
}

/// Queue access of a function.
struct QueueAccess<'a>(&'a Arc<World>, QueueName);

impl Queue for QueueAccess<'_> {
    async fn set_visibility_timeout(
        &self,
        receipt_handle: &str,
        time: Duration,
    ) -> Result<(), BoxError> {
        let Self(world, name) = self;
        sleep(world.sample(SQS)).await;
        let (id, receipt) = receipt_handle.split_once(' ').ok_or("no receipt handle")?;
        let at_ms = world.now_ms() + time.as_secs() * 1_000;
        world.queue(*name).set_visible(id.parse()?, receipt.parse()?, at_ms);
        world.messages[*name as usize].notify_one();
        Ok(())
    }

    async fn send(&self, body: &str, delay: Duration) -> Result<(), BoxError> {
        let Self(world, name) = self;
        sleep(world.sample(SQS)).await;
        world.send(*name, body.to_owned(), delay.min(MAX_DELAY).as_secs() * 1_000);
        Ok(())
    }

    async fn dead_letter(&self, _: &str) -> Result<(), BoxError> {
        let Self(world, name) = self;
        sleep(world.sample(SQS)).await;
        world.queue(*name).count_dead();
        Ok(())
    }
}

impl World {
    /// Sends a message to a queue.
    pub(crate) fn send(&self, name: QueueName, body: String, delay_ms: u64) {
        self.queue(name).send(body, self.now_ms(), delay_ms);
        self.messages[name as usize].notify_one();
    }
}

//! Batches of the queues and of the orders table's stream, and runs of reconcile, in process.

mod expiries;
mod payments;
mod queues;
mod reconcile;
mod refunds;
mod relay;
mod starts;
mod stream;

use std::{sync::Mutex, time::Duration};

use aws_lambda_events::sqs::SqsEvent;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use orders_lambda::{
    BoxError, clock,
    queue::{Failure, Message, Outcome, Queue, process},
};
use orders_tests::gateway::context;
use serde_json::{Value, json};

/// A queue that records its calls.
#[derive(Default)]
struct RecordedQueue {
    /// Receipt handles with their visibility timeouts.
    timeouts: Mutex<Vec<(String, Duration)>>,
    /// Sent messages with their delays.
    sent: Mutex<Vec<(String, Duration)>>,
    /// Messages sent to the dead-letter queue.
    dead_letters: Mutex<Vec<String>>,
    /// Whether the queue refuses to send messages.
    is_full: bool,
}

impl Queue for RecordedQueue {
    async fn set_visibility_timeout(
        &self,
        receipt_handle: &str,
        time: Duration,
    ) -> Result<(), BoxError> {
        self.timeouts.lock().unwrap().push((receipt_handle.to_owned(), time));
        Ok(())
    }

    async fn send(&self, body: &str, delay: Duration) -> Result<(), BoxError> {
        if self.is_full {
            return Err("the queue is full".into());
        }
        self.sent.lock().unwrap().push((body.to_owned(), delay));
        Ok(())
    }

    async fn dead_letter(&self, body: &str) -> Result<(), BoxError> {
        if self.is_full {
            return Err("the queue is full".into());
        }
        self.dead_letters.lock().unwrap().push(body.to_owned());
        Ok(())
    }
}

/// A batch of messages `m0`, `m1`, ... with receipt handles `r0`, `r1`, ..., sent now and received for the
/// first time.
fn batch(bodies: &[&str]) -> SqsEvent {
    let mut event: Value =
        serde_json::from_str(include_str!("../../support/fixtures/sqs_batch.json")).unwrap();
    let record = event["Records"][0].clone();
    let records = bodies.iter().enumerate().map(|(number, body)| {
        let mut record = record.clone();
        record["messageId"] = json!(format!("m{number}"));
        record["receiptHandle"] = json!(format!("r{number}"));
        record["attributes"]["SentTimestamp"] = json!(clock::now().epoch_ms().to_string());
        record["body"] = json!(body);
        record
    });
    event["Records"] = records.collect();
    serde_json::from_value(event).unwrap()
}

/// Messages that stay in the queue, and dead-lettered messages, by id.
type Results = (Vec<String>, Vec<String>);

/// Delivers a batch to a function that replaces no messages. Each message that stays waits 5 s, as after
/// every first receive.
async fn deliver(
    bodies: &[&str],
    handler: impl AsyncFn(Message<'_>) -> Result<Outcome, Failure>,
) -> Results {
    let queue = RecordedQueue::default();
    let stay = deliver_from(&queue, bodies, handler).await;
    assert_eq!(queue.sent.lock().unwrap()[..], []);
    let wait = |id: &String| (id.replace('m', "r"), Duration::from_secs(5));
    assert_eq!(*queue.timeouts.lock().unwrap(), stay.iter().map(wait).collect::<Vec<_>>());
    (stay, queue.dead_letter_ids(bodies))
}

impl RecordedQueue {
    /// Ids of the dead-lettered messages of a batch.
    fn dead_letter_ids(&self, bodies: &[&str]) -> Vec<String> {
        let dead = self.dead_letters.lock().unwrap();
        let is_dead = |body: &&str| dead.iter().any(|dead| dead == body);
        let numbers = (0..bodies.len()).filter(|number| is_dead(&bodies[*number]));
        let ids: Vec<_> = numbers.map(|number| format!("m{number}")).collect();
        assert_eq!(ids.len(), dead.len());
        ids
    }
}

/// Delivers a batch from a queue. Returns the ids of the messages that stay in the queue.
async fn deliver_from(
    queue: &RecordedQueue,
    bodies: &[&str],
    handler: impl AsyncFn(Message<'_>) -> Result<Outcome, Failure>,
) -> Vec<String> {
    let response =
        process(&batch(bodies), &context(), clock::now(), queue, &handler).await.unwrap();
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

/// An event with another field of its detail; null removes the field.
fn with_detail(event: &Value, field: &str, value: &Value) -> Value {
    let mut event = event.clone();
    if value.is_null() {
        event["detail"].as_object_mut().unwrap().remove(field);
    } else {
        event["detail"][field] = value.clone();
    }
    event
}

/// The results of a batch whose first message stays.
fn waits() -> Results {
    (vec!["m0".to_owned()], Vec::new())
}

/// The results of a batch whose message is dead-lettered.
fn is_rejected() -> Results {
    (Vec::new(), vec!["m0".to_owned()])
}

/// The results of a batch of which every message is dead-lettered.
fn all_rejected(count: usize) -> Results {
    (Vec::new(), (0..count).map(|number| format!("m{number}")).collect())
}

/// The metrics since the last call, as `name value`, sorted.
fn new_metrics(recorder: &DebuggingRecorder) -> Vec<String> {
    let snapshot = recorder.snapshotter().snapshot().into_vec();
    let mut metrics: Vec<_> = snapshot
        .into_iter()
        .flat_map(|(key, _, _, value)| {
            let values = match value {
                DebugValue::Counter(0) => Vec::new(),
                DebugValue::Counter(count) => vec![count.to_string()],
                DebugValue::Gauge(value) => vec![value.to_string()],
                DebugValue::Histogram(values) => values.iter().map(ToString::to_string).collect(),
            };
            let name = key.key().name().to_owned();
            values.into_iter().map(move |value| format!("{name} {value}"))
        })
        .collect();
    metrics.sort();
    metrics
}

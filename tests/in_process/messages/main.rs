//! Batches of the queues and of the orders table's stream, in process.

mod payments;
mod queues;
mod relay;
mod stream;

use std::{sync::Mutex, time::Duration};

use aws_lambda_events::sqs::SqsEvent;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use orders_lambda::{
    BoxError, clock,
    queue::{Failure, Message, Outcome, Visibility, process},
};
use orders_tests::gateway::context;
use serde_json::{Value, json};

/// Records the receipt handles and the visibility timeouts.
#[derive(Default)]
struct RecordedVisibility(Mutex<Vec<(String, Duration)>>);

impl Visibility for RecordedVisibility {
    async fn set_visibility_timeout(
        &self,
        receipt_handle: &str,
        time: Duration,
    ) -> Result<(), BoxError> {
        self.0.lock().unwrap().push((receipt_handle.to_owned(), time));
        Ok(())
    }
}

/// A batch of messages `m0`, `m1`, ... with receipt handles `r0`, `r1`, ...
fn batch(bodies: &[&str]) -> SqsEvent {
    let mut event: Value =
        serde_json::from_str(include_str!("../../support/fixtures/sqs_batch.json")).unwrap();
    let record = event["Records"][0].clone();
    let records = bodies.iter().enumerate().map(|(number, body)| {
        let mut record = record.clone();
        record["messageId"] = json!(format!("m{number}"));
        record["receiptHandle"] = json!(format!("r{number}"));
        record["body"] = json!(body);
        record
    });
    event["Records"] = records.collect();
    serde_json::from_value(event).unwrap()
}

/// Ids of the messages that stay in the queue, and the visibility timeouts by receipt handle.
type Results = (Vec<String>, Vec<(String, Duration)>);

/// Delivers a batch to a function.
async fn deliver(
    bodies: &[&str],
    handler: impl AsyncFn(Message<'_>) -> Result<Outcome, Failure>,
) -> Results {
    let delays = RecordedVisibility::default();
    let batch = batch(bodies);
    let response = process(&batch, &context(), clock::now(), &delays, &handler).await.unwrap();
    let failed = response.batch_item_failures.into_iter().map(|failure| failure.item_identifier);
    (failed.collect(), delays.0.into_inner().unwrap())
}

/// The visibility timeout of a rejected message: a retry would not help, so it does not wait.
fn rejected(receipt_handle: &str) -> (String, Duration) {
    (receipt_handle.to_owned(), Duration::ZERO)
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

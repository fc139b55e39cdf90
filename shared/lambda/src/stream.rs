//! Batches of the orders table's stream. A batch has an order, unlike a batch of a queue: the first
//! record that is not done is the start of the next batch.

use aws_lambda_events::{
    dynamodb::{EventRecord, UserIdentity},
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use lambda_runtime::{LambdaEvent, service_fn};
use orders_domain::{CorrelationId, Order, OrderId, Timestamp};
use orders_dynamo::order_of_image;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::time::Instant;

use crate::{BoxError, clock, telemetry};

/// One record of a batch.
#[derive(Debug)]
pub struct Record<'a> {
    /// Unmodified JSON of the record.
    pub raw: &'a str,
    /// Sequence number; empty if missing.
    pub sequence_number: String,
    /// Content of the record.
    pub content: Result<Content, BoxError>,
}

/// Content of a valid record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An order was written.
    Change(Box<Change>),
    /// DynamoDB removed an order that had been kept long enough.
    Forgotten,
    /// An order was removed by hand: this service never removes items.
    Removed,
}

/// One committed write of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The order before the write; `None` for a new order, or if the old image is not a valid order. The
    /// record of an invalid image is rejected; the next valid image is published.
    pub before: Option<Order>,
    /// The order after the write.
    pub after: Order,
    /// Time of the write, in whole seconds.
    pub at: Timestamp,
}

/// Handles batches for the lifetime of the environment. The handler gets its deadline, and returns the
/// sequence number of the first record that is not done.
///
/// # Errors
/// If the Lambda Runtime API fails.
pub async fn run<H>(handler: H) -> Result<(), BoxError>
where
    H: AsyncFn(&[Record<'_>], Instant) -> Option<String>,
{
    let handler = &handler;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        let records = read(event.payload.get())?;
        count_changes(&records);
        let deadline = clock::work_deadline(&event.context, clock::now());
        let first_failed = Box::pin(handler(&records, deadline)).await;
        telemetry::flush_metrics();
        Ok::<_, BoxError>(response(first_failed))
    }))
    .await
}

/// Counts the changes of a batch, each of which needs an event, and starts the count of its published events.
/// Counted here and not by the relay: the alarm of the relay's deployment compares the two numbers, also for
/// a relay that publishes nothing.
pub fn count_changes(records: &[Record<'_>]) {
    metrics::gauge!("EventsPublished").set(0);
    for _ in records.iter().filter(|record| record.needs_event()) {
        metrics::counter!("ChangesReceived").increment(1);
    }
}

/// Parses the records of a batch (Lambda developer guide, "Using AWS Lambda with Amazon DynamoDB").
///
/// # Errors
/// If the event is not a batch. An invalid record inside a batch is an error of this record only.
pub fn read(event: &str) -> Result<Vec<Record<'_>>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(rename = "Records", borrow)]
        records: Vec<&'a RawValue>,
    }
    let batch: Batch<'_> = serde_json::from_str(event)?;
    Ok(batch.records.into_iter().map(RawValue::get).map(Record::read).collect())
}

fn response(first_failed: Option<String>) -> DynamoDbEventResponse {
    let mut response = DynamoDbEventResponse::default();
    if let Some(sequence_number) = first_failed {
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = Some(sequence_number);
        response.batch_item_failures.push(failure);
    }
    response
}

impl Record<'_> {
    /// Whether the record is a new version of an order. An unreadable record counts: its event is missing too.
    fn needs_event(&self) -> bool {
        match &self.content {
            Ok(Content::Change(change)) => {
                change.before.as_ref().map(|before| before.version) != Some(change.after.version)
            }
            Ok(Content::Forgotten | Content::Removed) => false,
            Err(_) => true,
        }
    }
}

impl<'a> Record<'a> {
    fn read(raw: &'a str) -> Self {
        match serde_json::from_str::<EventRecord>(raw) {
            Ok(record) => Self {
                raw,
                sequence_number: record.change.sequence_number.clone().unwrap_or_default(),
                content: Content::from_record(record),
            },
            Err(error) => {
                Self { raw, sequence_number: sequence_number(raw), content: Err(error.into()) }
            }
        }
    }

    /// Order id and correlation id of a record without a valid order, each if it is valid.
    #[must_use]
    pub fn ids(&self) -> (Option<OrderId>, Option<CorrelationId>) {
        let record: Value = serde_json::from_str(self.raw).unwrap_or_default();
        let text = |pointer| record.pointer(pointer).and_then(Value::as_str);
        let order_id = text("/dynamodb/Keys/id/S").and_then(|id| id.parse().ok());
        let images = ["/dynamodb/NewImage/correlation_id/S", "/dynamodb/OldImage/correlation_id/S"];
        let correlation_id = images.into_iter().find_map(text);
        (order_id, correlation_id.and_then(|id| id.parse().ok()))
    }
}

/// Sequence number of a record that is invalid otherwise.
fn sequence_number(raw: &str) -> String {
    let record: Value = serde_json::from_str(raw).unwrap_or_default();
    record["dynamodb"]["SequenceNumber"].as_str().unwrap_or_default().to_owned()
}

impl Content {
    fn from_record(record: EventRecord) -> Result<Self, BoxError> {
        let images = record.change;
        if record.event_name == "REMOVE" {
            let forgotten = record.user_identity.as_ref().is_some_and(is_time_to_live);
            return Ok(if forgotten { Self::Forgotten } else { Self::Removed });
        }
        let ms = images.approximate_creation_date_time.timestamp_millis();
        Ok(Self::Change(Box::new(Change {
            before: order_of_image(images.old_image).ok(),
            after: order_of_image(images.new_image)?,
            at: u64::try_from(ms).ok().and_then(Timestamp::from_epoch_ms).ok_or("no time")?,
        })))
    }
}

/// Whether DynamoDB's time to live removed the item (DynamoDB developer guide, "`DynamoDB` Streams and time
/// to live").
fn is_time_to_live(identity: &UserIdentity) -> bool {
    identity.type_ == "Service" && identity.principal_id == "dynamodb.amazonaws.com"
}

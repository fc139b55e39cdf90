//! Batches of the orders table's stream. Unlike a queue's, a batch has an order, and the first record
//! that is not done is where the next batch begins.

use aws_lambda_events::{
    dynamodb::EventRecord,
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use lambda_runtime::{LambdaEvent, service_fn};
use orders_domain::{Order, Timestamp};
use orders_dynamo::order_of_image;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{BoxError, clock, telemetry};

/// One record of a batch.
#[derive(Debug)]
pub struct Record<'a> {
    /// The record as it came.
    pub raw: &'a str,
    /// Its place in the stream; empty if the record has none.
    pub sequence_number: String,
    /// What it says; nothing, if it says that a item was removed, which this service never does.
    pub change: Result<Option<Change>, BoxError>,
}

/// One committed write of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The order before it; none if it was placed, or if the item was no order then. (That was in a
    /// record of its own, which is poison; what the item is now is not.)
    pub before: Option<Order>,
    /// The order after it.
    pub after: Order,
    /// When it was written.
    pub at: Timestamp,
}

/// Handles batches for as long as the function lives. The handler is told when it must stop, and
/// returns the sequence number of the first record that is not done.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
pub async fn run<H>(handler: H) -> Result<(), BoxError>
where
    H: AsyncFn(&[Record<'_>], Instant) -> Option<String>,
{
    let handler = &handler;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        let records = read(event.payload.get())?;
        let deadline = clock::work_deadline(&event.context, clock::now());
        let not_done = Box::pin(handler(&records, deadline)).await;
        telemetry::flush_metrics();
        Ok::<_, BoxError>(response(not_done))
    }))
    .await
}

/// The records of a batch (Lambda developer guide, "Using AWS Lambda with Amazon DynamoDB").
///
/// # Errors
/// If it is no batch at all.
pub fn read(event: &str) -> Result<Vec<Record<'_>>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(rename = "Records", borrow)]
        records: Vec<&'a RawValue>,
    }
    let batch: Batch<'_> = serde_json::from_str(event)?;
    Ok(batch.records.into_iter().map(RawValue::get).map(Record::read).collect())
}

fn response(not_done: Option<String>) -> DynamoDbEventResponse {
    let mut response = DynamoDbEventResponse::default();
    if let Some(sequence_number) = not_done {
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = Some(sequence_number);
        response.batch_item_failures.push(failure);
    }
    response
}

impl<'a> Record<'a> {
    fn read(raw: &'a str) -> Self {
        match serde_json::from_str::<EventRecord>(raw) {
            Ok(record) => Self {
                raw,
                sequence_number: record.change.sequence_number.clone().unwrap_or_default(),
                change: Change::from_record(record),
            },
            Err(error) => {
                Self { raw, sequence_number: sequence_number(raw), change: Err(error.into()) }
            }
        }
    }
}

/// The sequence number of a record that is otherwise not to be understood.
fn sequence_number(raw: &str) -> String {
    let record: serde_json::Value = serde_json::from_str(raw).unwrap_or_default();
    record["dynamodb"]["SequenceNumber"].as_str().unwrap_or_default().to_owned()
}

impl Change {
    fn from_record(record: EventRecord) -> Result<Option<Self>, BoxError> {
        if record.event_name == "REMOVE" {
            return Ok(None);
        }
        let images = record.change;
        let ms = images.approximate_creation_date_time.timestamp_millis();
        Ok(Some(Self {
            before: order_of_image(images.old_image).ok(),
            after: order_of_image(images.new_image)?,
            at: u64::try_from(ms).ok().and_then(Timestamp::from_epoch_ms).ok_or("no time")?,
        }))
    }
}

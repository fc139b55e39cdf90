//! Batches of SQS messages. Each message has an outcome of its own: a bad one holds up no other.

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_sqs::Client;
use lambda_runtime::{Context, LambdaEvent, service_fn};
use orders_domain::{StoreError, Timestamp};
use tokio::time::{Instant, timeout_at};

use crate::{
    BoxError, clock,
    telemetry::{self, error_chain},
};

/// One message of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What was sent.
    pub body: &'a str,
    /// How often it has been received, this time included.
    pub receive_count: u32,
}

/// What became of a message that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done with and can be deleted.
    Done,
    /// It is too early for it. It comes again after this time, rounded down to a second.
    RetryAfter(Duration),
}

/// Why a message was not handled. It stays in the queue, and is moved to the dead-letter queue when
/// it has been received too often.
#[derive(Debug)]
pub enum Failure {
    /// It will never be handled, so it need not wait.
    Poison(BoxError),
    /// It may be handled later.
    Transient(BoxError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Transient(error.into())
    }
}

/// Says when a message that stays in the queue is received again.
pub trait Visibility {
    /// Hides the message for this long, rounded down to a second; at most 12 hours (SQS developer
    /// guide, "Amazon SQS visibility timeout").
    fn set_visibility_timeout(
        &self,
        receipt_handle: &str,
        time: Duration,
    ) -> impl Future<Output = Result<(), BoxError>>;
}

/// A queue of SQS.
#[derive(Clone, Debug)]
pub struct SqsVisibility {
    client: Client,
    queue_url: String,
}

impl SqsVisibility {
    /// The queue at this URL.
    #[must_use]
    pub fn new(client: Client, queue_url: String) -> Self {
        Self { client, queue_url }
    }
}

/// The longest that SQS hides a message.
const MAX_VISIBILITY_TIMEOUT: Duration = Duration::from_hours(12);

impl Visibility for SqsVisibility {
    async fn set_visibility_timeout(
        &self,
        receipt_handle: &str,
        time: Duration,
    ) -> Result<(), BoxError> {
        let seconds = time.min(MAX_VISIBILITY_TIMEOUT).as_secs();
        self.client
            .change_message_visibility()
            .queue_url(&self.queue_url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(i32::try_from(seconds)?)
            .send()
            .await?;
        Ok(())
    }
}

/// Handles batches for as long as the function lives.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
pub async fn run<V, H>(visibility: &V, handler: H) -> Result<(), BoxError>
where
    V: Visibility,
    H: AsyncFn(Message<'_>) -> Result<Outcome, Failure>,
{
    let handler = &handler;
    lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let response =
            process(&event.payload, &event.context, clock::now(), visibility, handler).await;
        telemetry::flush_metrics();
        response
    }))
    .await
}

/// Handles one batch that came in now, one message after the other, and names those that must stay in
/// the queue (Lambda developer guide, "Reporting batch item failures").
///
/// # Errors
/// If a message has no id to name it by, which SQS never causes: the whole batch comes again.
pub async fn process<V, H>(
    event: &SqsEvent,
    context: &Context,
    now: Timestamp,
    visibility: &V,
    handler: &H,
) -> Result<SqsBatchResponse, BoxError>
where
    V: Visibility,
    H: AsyncFn(Message<'_>) -> Result<Outcome, Failure>,
{
    let deadline = clock::work_deadline(context, now);
    let mut response = SqsBatchResponse::default();
    for message in &event.records {
        let id = message.message_id.as_deref().filter(|id| !id.is_empty());
        let id = id.ok_or("a message has no id")?;
        match handle(message, deadline, handler).await {
            Ok(Outcome::Done) => continue,
            Ok(Outcome::RetryAfter(delay)) => {
                set_visibility_timeout(message, delay, deadline, visibility).await
            }
            Err(Failure::Transient(error)) => {
                tracing::warn!(
                    message_id = id,
                    error = error_chain(error.as_ref()),
                    "a message must wait"
                );
            }
            Err(Failure::Poison(error)) => {
                tracing::error!(
                    message_id = id,
                    error = error_chain(error.as_ref()),
                    "a message is poison"
                );
                set_visibility_timeout(message, Duration::ZERO, deadline, visibility).await;
            }
        }
        response.add_failure(id);
    }
    Ok(response)
}

async fn handle<H>(message: &SqsMessage, deadline: Instant, handler: &H) -> Result<Outcome, Failure>
where
    H: AsyncFn(Message<'_>) -> Result<Outcome, Failure>,
{
    let receive_count = message.attributes.get("ApproximateReceiveCount");
    let message = Message {
        body: message.body.as_deref().unwrap_or_default(),
        receive_count: receive_count.and_then(|count| count.parse().ok()).unwrap_or(1),
    };
    // Boxed: the futures of SDK calls are large and nested deeper than the compiler likes.
    timeout_at(deadline, Box::pin(handler(message)))
        .await
        .unwrap_or_else(|elapsed| Err(Failure::Transient(elapsed.into())))
}

/// Best effort: without it the message waits for the queue's own visibility timeout.
async fn set_visibility_timeout(
    message: &SqsMessage,
    time: Duration,
    deadline: Instant,
    visibility: &impl Visibility,
) {
    let receipt_handle = message.receipt_handle.as_deref().unwrap_or_default();
    let set = timeout_at(deadline, visibility.set_visibility_timeout(receipt_handle, time)).await;
    if let Err(error) = set.unwrap_or_else(|elapsed| Err(elapsed.into())) {
        tracing::warn!(error = error_chain(error.as_ref()), "a message's wait could not be set");
    }
}

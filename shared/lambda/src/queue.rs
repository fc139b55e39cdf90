//! Batches of SQS messages. Each message has its own outcome: an invalid message delays no other.

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_sqs::Client;
use lambda_runtime::{Context, LambdaEvent, service_fn};
use orders_contracts::correlation_id;
use orders_domain::{Order, OrderId, PaymentId, StoreError, TicketId, Timestamp};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span, field};

use crate::{
    BoxError, clock,
    command::CommandError,
    telemetry::{self, error_chain},
};

/// One message of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Body of the message.
    pub body: &'a str,
    /// Number of receives so far, this receive included.
    pub receive_count: u32,
}

/// Outcome of a valid message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message is processed and can be deleted.
    Done,
    /// The message stays in the queue: it is received again after this time, rounded down to a second.
    RetryAfter(Duration),
    /// The message is early: it is replaced by a new message, delayed by this time, rounded down to a
    /// second, at most [`MAX_DELAY`]. A message that waits invisibly would count as in flight, and SQS
    /// delivers nothing above 120,000 messages in flight (SQS developer guide, "Quotas").
    Replace {
        /// Body of the new message.
        body: String,
        /// Delay of the new message.
        delay: Duration,
    },
}

/// Maximum delay of an SQS message (SQS API reference, `SendMessage`).
pub const MAX_DELAY: Duration = Duration::from_mins(15);

/// Failure of a message. The message stays in the queue. After too many receives SQS moves it to the
/// dead-letter queue.
#[derive(Debug)]
pub enum Failure {
    /// The message is invalid: retries cannot help, so it is received again at once.
    Poison(BoxError),
    /// A retry may succeed.
    Transient(BoxError),
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Self::Transient(error.into())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Transient(error.into())
    }
}

/// Puts ids on the log lines of the message that is being handled.
pub fn log_ids(order: Option<OrderId>, payment: Option<&PaymentId>, ticket: Option<&TicketId>) {
    let span = Span::current();
    if let Some(id) = order {
        span.record("order_id", field::display(id));
    }
    if let Some(id) = payment {
        span.record("payment_id", field::display(id));
    }
    if let Some(id) = ticket {
        span.record("ticket_id", field::display(id));
    }
}

/// Puts version and correlation id of the order on the log lines of the message. The order's correlation id
/// replaces the message's.
pub fn log_order(order: &Order) {
    let span = Span::current();
    span.record("version", order.version.number());
    span.record("correlation_id", field::display(&order.correlation_id));
}

/// The queue of a batch.
pub trait Queue {
    /// Sets the message's visibility timeout, rounded down to a second; at most 12 hours (SQS developer
    /// guide, "Amazon SQS visibility timeout").
    fn set_visibility_timeout(
        &self,
        receipt_handle: &str,
        time: Duration,
    ) -> impl Future<Output = Result<(), BoxError>>;

    /// Sends a message with a delay, rounded down to a second, at most [`MAX_DELAY`].
    fn send(&self, body: &str, delay: Duration) -> impl Future<Output = Result<(), BoxError>>;
}

/// An SQS queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    queue_url: String,
}

impl SqsQueue {
    /// The queue with this URL.
    #[must_use]
    pub fn new(client: Client, queue_url: String) -> Self {
        Self { client, queue_url }
    }
}

/// Maximum visibility timeout of SQS.
const MAX_VISIBILITY_TIMEOUT: Duration = Duration::from_hours(12);

impl Queue for SqsQueue {
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

    async fn send(&self, body: &str, delay: Duration) -> Result<(), BoxError> {
        let seconds = delay.min(MAX_DELAY).as_secs();
        self.client
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(body)
            .delay_seconds(i32::try_from(seconds)?)
            .send()
            .await?;
        Ok(())
    }
}

/// Handles batches for the lifetime of the environment.
///
/// # Errors
/// If the Lambda Runtime API fails.
pub async fn run<Q, H>(queue: &Q, handler: H) -> Result<(), BoxError>
where
    Q: Queue,
    H: AsyncFn(Message<'_>) -> Result<Outcome, Failure>,
{
    let handler = &handler;
    lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let response = process(&event.payload, &event.context, clock::now(), queue, handler).await;
        telemetry::flush_metrics();
        response
    }))
    .await
}

/// Handles a batch received at `now`, one message after the other, and reports the messages that stay in
/// the queue (Lambda developer guide, "Reporting batch item failures").
///
/// # Errors
/// If a message has no id to report, which SQS never causes. The whole batch is received again then: an
/// empty id in the response would mean the same.
pub async fn process<Q, H>(
    event: &SqsEvent,
    context: &Context,
    now: Timestamp,
    queue: &Q,
    handler: &H,
) -> Result<SqsBatchResponse, BoxError>
where
    Q: Queue,
    H: AsyncFn(Message<'_>) -> Result<Outcome, Failure>,
{
    let deadline = clock::work_deadline(context, now);
    let mut response = SqsBatchResponse::default();
    let failed = metrics::gauge!("MessagesFailed");
    failed.set(0);
    for message in &event.records {
        let id = message.message_id.as_deref().filter(|id| !id.is_empty());
        let id = id.ok_or("a message has no id")?;
        let correlation_id = message.body.as_deref().and_then(correlation_id);
        // The handler records the ids of its subject, so that every line of the message has them.
        // A span of the highest level, so that no log level removes the ids.
        let span = tracing::error_span!(
            "message",
            request_id = context.request_id,
            message_id = id,
            order_id = field::Empty,
            version = field::Empty,
            correlation_id = correlation_id.map(field::display),
            payment_id = field::Empty,
            ticket_id = field::Empty,
        );
        // Boxed: the futures of SDK calls are large, and nested deeper than the compiler's limit.
        let settling = Box::pin(settle(message, deadline, queue, handler));
        let settled = settling.instrument(span).await;
        metrics::counter!("MessagesReceived").increment(1);
        if settled == Settled::StaysInQueue {
            failed.increment(1);
            response.add_failure(id);
        }
    }
    Ok(response)
}

/// Result of a message for SQS.
#[derive(PartialEq, Eq)]
enum Settled {
    Deleted,
    StaysInQueue,
}

async fn settle<Q, H>(message: &SqsMessage, deadline: Instant, queue: &Q, handler: &H) -> Settled
where
    Q: Queue,
    H: AsyncFn(Message<'_>) -> Result<Outcome, Failure>,
{
    match handle(message, deadline, handler).await {
        Ok(Outcome::Done) => return Settled::Deleted,
        Ok(Outcome::RetryAfter(delay)) => {
            set_visibility_timeout(message, delay, deadline, queue).await;
        }
        Ok(Outcome::Replace { body, delay }) => {
            let sent = timeout_at(deadline, queue.send(&body, delay)).await;
            match sent.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                Ok(()) => return Settled::Deleted,
                Err(error) => {
                    let error = error_chain(error.as_ref());
                    tracing::warn!(error, "Sending the message again failed; it will be retried");
                }
            }
        }
        Err(Failure::Transient(error)) => {
            // The queue's own visibility timeout is the wait before the retry.
            tracing::warn!(
                error = error_chain(error.as_ref()),
                "Message failed; it will be retried"
            );
        }
        Err(Failure::Poison(error)) => {
            tracing::error!(error = error_chain(error.as_ref()), "Rejected message");
            set_visibility_timeout(message, Duration::ZERO, deadline, queue).await;
        }
    }
    Settled::StaysInQueue
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
    timeout_at(deadline, Box::pin(handler(message)))
        .await
        .unwrap_or_else(|elapsed| Err(Failure::Transient(elapsed.into())))
}

/// Sets the wait of a message if possible. Otherwise the queue's own visibility timeout applies.
async fn set_visibility_timeout(
    message: &SqsMessage,
    time: Duration,
    deadline: Instant,
    queue: &impl Queue,
) {
    let receipt_handle = message.receipt_handle.as_deref().unwrap_or_default();
    let set = timeout_at(deadline, queue.set_visibility_timeout(receipt_handle, time)).await;
    if let Err(error) = set.unwrap_or_else(|elapsed| Err(elapsed.into())) {
        let error = error_chain(error.as_ref());
        tracing::warn!(error, "Setting the visibility timeout failed");
    }
}

//! Batches of SQS messages. Each message has its own outcome: an invalid or slow message holds up no other.
//!
//! The messages of a batch are handled concurrently, and start a few milliseconds apart. A failed message
//! waits in its queue, longer after each receive. The function itself sends an invalid message, and a message
//! that has failed for half a day, to the dead-letter queue: the receive count of SQS also grows while a
//! function is slow or throttled.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_sqs::Client;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lambda_runtime::{Context, LambdaEvent, service_fn};
use orders_contracts::correlation_id;
use orders_domain::{Order, OrderId, PaymentId, StoreError, TicketId, Timestamp};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument, Span, field, record_all};

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
    /// Time since the message was sent.
    pub age: Duration,
}

impl<'a> Message<'a> {
    /// A message on its first receive, as soon as it was sent.
    #[must_use]
    pub fn new(body: &'a str) -> Self {
        Self { body, receive_count: 1, age: Duration::ZERO }
    }
}

/// Outcome of a valid message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message is processed and can be deleted.
    Done,
    /// The message came before its cause, for example a payment before its order. It stays in the queue and
    /// is received again. The text is the reason, for the log.
    Retry(&'static str),
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

/// Age from which a failed message goes to the dead-letter queue instead of being retried.
pub const MAX_AGE: Duration = Duration::from_hours(12);

/// Number of receives from which an old message goes to the dead-letter queue. A message that waited for half a
/// day because its function was stopped has these attempts too.
const MIN_RECEIVES: u32 = 4;

/// Wait of a message after its first failed receive. It doubles with each receive.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Number of times that the wait doubles: 320 s is the longest. After an outage every message is received
/// again within this time.
const MAX_DOUBLINGS: u32 = 6;

/// Time reserved at the end of an invocation for waits and dead letters.
const TIME_TO_SETTLE: Duration = Duration::from_secs(1);

/// Longest time between the starts of two messages of a batch: about the latency of one read. Tokio rounds it
/// up, so that the last of ten messages starts within 45 ms, also if all hang.
///
/// A connection carries one call at a time, and opening one takes the processor time of two payments or four
/// ticket events. Messages that are handled within this time share one connection.
const START_INTERVAL: Duration = Duration::from_millis(4);

/// Failure of a message.
#[derive(Debug)]
pub enum Failure {
    /// The message is invalid: retries cannot help, so it goes to the dead-letter queue.
    Poison(BoxError),
    /// A retry may succeed. The message stays in the queue and is received again.
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
    // One call: each formats all fields of the span again.
    record_all!(
        span,
        order_id = order.map(field::display),
        payment_id = payment.map(field::display),
        ticket_id = ticket.map(field::display),
    );
}

/// Puts version and correlation id of the order on the log lines of the message. The order's correlation id
/// replaces the message's.
pub fn log_order(order: &Order) {
    let span = Span::current();
    record_all!(span, version = order.version.number(), correlation_id = %order.correlation_id);
}

/// The queue of a batch.
pub trait Queue {
    /// Sets the message's visibility timeout, rounded down to a second; at most 12 hours from its receive on
    /// (SQS developer guide, "Amazon SQS visibility timeout").
    fn set_visibility_timeout(
        &self,
        receipt_handle: &str,
        time: Duration,
    ) -> impl Future<Output = Result<(), BoxError>>;

    /// Sends a message with a delay, rounded down to a second, at most [`MAX_DELAY`].
    fn send(&self, body: &str, delay: Duration) -> impl Future<Output = Result<(), BoxError>>;

    /// Sends a message to the dead-letter queue.
    fn dead_letter(&self, body: &str) -> impl Future<Output = Result<(), BoxError>>;
}

/// An SQS queue with its dead-letter queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    queue_url: String,
    dead_letter_queue_url: String,
}

impl SqsQueue {
    /// The queues with these URLs.
    #[must_use]
    pub fn new(client: Client, queue_url: String, dead_letter_queue_url: String) -> Self {
        Self { client, queue_url, dead_letter_queue_url }
    }

    async fn send_to(&self, url: &str, body: &str, delay: Duration) -> Result<(), BoxError> {
        let seconds = delay.min(MAX_DELAY).as_secs();
        self.client
            .send_message()
            .queue_url(url)
            .message_body(body)
            .delay_seconds(i32::try_from(seconds)?)
            .send()
            .await?;
        Ok(())
    }
}

impl Queue for SqsQueue {
    async fn set_visibility_timeout(
        &self,
        receipt_handle: &str,
        time: Duration,
    ) -> Result<(), BoxError> {
        self.client
            .change_message_visibility()
            .queue_url(&self.queue_url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(i32::try_from(time.as_secs())?)
            .send()
            .await?;
        Ok(())
    }

    async fn send(&self, body: &str, delay: Duration) -> Result<(), BoxError> {
        self.send_to(&self.queue_url, body, delay).await
    }

    async fn dead_letter(&self, body: &str) -> Result<(), BoxError> {
        self.send_to(&self.dead_letter_queue_url, body, Duration::ZERO).await
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

/// Handles a batch received at `now` and reports the messages that stay in the queue (Lambda developer guide,
/// "Reporting batch item failures").
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
    let ids = event.records.iter().map(message_id).collect::<Result<Vec<_>, _>>()?;
    let deadline = clock::work_deadline(context, now);
    let handler_deadline = deadline.checked_sub(TIME_TO_SETTLE).unwrap_or(deadline);
    let batch = &Batch { queue, handler, now, handler_deadline, deadline };
    let failed = metrics::gauge!("MessagesFailed");
    failed.set(0);
    let settling = event.records.iter().zip(ids).map(|(message, id)| {
        // Boxed: the futures of SDK calls are large, and nested deeper than the compiler's limit.
        let settling = Box::pin(async move { (id, batch.settle(message).await) });
        settling.instrument(message_span(message, id, context))
    });
    let mut response = SqsBatchResponse::default();
    for (id, settled) in staggered(settling).await {
        metrics::counter!("MessagesReceived").increment(1);
        if settled.is_failure {
            failed.increment(1);
        }
        if settled.stays {
            response.add_failure(id);
        }
    }
    Ok(response)
}

/// Runs the futures concurrently and returns their results as they come. A future starts when an earlier
/// one is done, at most [`START_INTERVAL`] after the last start.
async fn staggered<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut results = Vec::with_capacity(futures.size_hint().0);
    let mut running = FuturesUnordered::new();
    for future in futures {
        running.push(future);
        results.extend(timeout(START_INTERVAL, running.next()).await.ok().flatten());
    }
    results.extend(running.collect::<Vec<_>>().await);
    results
}

fn message_id(message: &SqsMessage) -> Result<&str, BoxError> {
    let id = message.message_id.as_deref().filter(|id| !id.is_empty());
    id.ok_or_else(|| "a message has no id".into())
}

/// The ids of a message, on each of its log lines. The handler adds the ids of its subject.
fn message_span(message: &SqsMessage, id: &str, context: &Context) -> Span {
    let correlation_id = message.body.as_deref().and_then(correlation_id);
    // A span of the highest level, so that no log level removes the ids.
    tracing::error_span!(
        "message",
        request_id = context.request_id,
        message_id = id,
        order_id = field::Empty,
        version = field::Empty,
        correlation_id = correlation_id.map(field::display),
        payment_id = field::Empty,
        ticket_id = field::Empty,
    )
}

/// Result of a message.
struct Settled {
    /// Whether the message stays in the queue.
    stays: bool,
    /// Whether the message failed. An early message did not.
    is_failure: bool,
}

impl Settled {
    const DONE: Self = Self { stays: false, is_failure: false };
    const EARLY: Self = Self { stays: true, is_failure: false };
    const FAILED: Self = Self { stays: true, is_failure: true };
    const DEAD_LETTERED: Self = Self { stays: false, is_failure: true };
}

/// A batch while it is handled.
struct Batch<'a, Q, H> {
    queue: &'a Q,
    handler: &'a H,
    now: Timestamp,
    handler_deadline: Instant,
    deadline: Instant,
}

impl<Q, H> Batch<'_, Q, H>
where
    Q: Queue,
    H: AsyncFn(Message<'_>) -> Result<Outcome, Failure>,
{
    /// Handles one message. Sends it to the dead-letter queue, or sets its wait, if it is not done.
    async fn settle(&self, raw: &SqsMessage) -> Settled {
        let message = self.read(raw);
        match self.handle(message).await {
            Ok(Outcome::Done) => Settled::DONE,
            Ok(Outcome::Replace { body, delay }) => {
                match self.in_time(self.queue.send(&body, delay)).await {
                    Ok(()) => Settled::DONE,
                    Err(error) => self.retry(raw, message, error, Settled::FAILED).await,
                }
            }
            Ok(Outcome::Retry(reason)) => {
                self.retry(raw, message, reason.into(), Settled::EARLY).await
            }
            Err(Failure::Transient(error)) => {
                self.retry(raw, message, error, Settled::FAILED).await
            }
            Err(Failure::Poison(error)) => self.dead_letter(raw, message, error).await,
        }
    }

    fn read<'m>(&self, raw: &'m SqsMessage) -> Message<'m> {
        let attribute = |name| raw.attributes.get(name).map(String::as_str);
        let receive_count =
            attribute("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        let sent_at = attribute("SentTimestamp").and_then(|ms| ms.parse().ok());
        let sent_at = sent_at.and_then(Timestamp::from_epoch_ms).unwrap_or(self.now);
        Message {
            body: raw.body.as_deref().unwrap_or_default(),
            receive_count: receive_count.unwrap_or(1),
            age: sent_at.until(self.now),
        }
    }

    /// Calls the handler. A panic makes the message invalid: the handler would panic again.
    async fn handle(&self, message: Message<'_>) -> Result<Outcome, Failure> {
        let handling = AssertUnwindSafe(async { (self.handler)(message).await }).catch_unwind();
        match timeout_at(self.handler_deadline, Box::pin(handling)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(Failure::Poison(panic_message(panic.as_ref()).into())),
            Err(elapsed) => Err(Failure::Transient(elapsed.into())),
        }
    }

    /// Leaves the message in the queue for a while, unless it has failed for too long.
    async fn retry(
        &self,
        raw: &SqsMessage,
        message: Message<'_>,
        error: BoxError,
        settled: Settled,
    ) -> Settled {
        if message.age > MAX_AGE && message.receive_count >= MIN_RECEIVES {
            return self.dead_letter(raw, message, error).await;
        }
        tracing::warn!(error = error_chain(error.as_ref()), "Message failed; it will be retried");
        self.wait(raw, message).await;
        settled
    }

    async fn dead_letter(
        &self,
        raw: &SqsMessage,
        message: Message<'_>,
        error: BoxError,
    ) -> Settled {
        tracing::error!(
            error = error_chain(error.as_ref()),
            "Rejected message; moving it to the dead-letter queue"
        );
        match self.in_time(self.queue.dead_letter(message.body)).await {
            Ok(()) => Settled::DEAD_LETTERED,
            Err(error) => {
                let error = error_chain(error.as_ref());
                tracing::error!(error, "Dead-lettering a message failed; it will be retried");
                self.wait(raw, message).await;
                Settled::FAILED
            }
        }
    }

    /// Sets the wait of a message if possible. Otherwise the queue's own visibility timeout applies.
    async fn wait(&self, raw: &SqsMessage, message: Message<'_>) {
        // The metric of SQS for the age of messages leaves out those received three times or more (SQS developer
        // guide, "Available CloudWatch metrics for Amazon SQS").
        let age_s = message.age.as_secs();
        metrics::histogram!("RetriedAge").record(u32::try_from(age_s).unwrap_or(u32::MAX));
        let receipt_handle = raw.receipt_handle.as_deref().unwrap_or_default();
        let time = wait_after(message.receive_count);
        let set = self.in_time(self.queue.set_visibility_timeout(receipt_handle, time)).await;
        if let Err(error) = set {
            let error = error_chain(error.as_ref());
            tracing::warn!(error, "Setting the visibility timeout failed");
        }
    }

    async fn in_time(
        &self,
        call: impl Future<Output = Result<(), BoxError>>,
    ) -> Result<(), BoxError> {
        timeout_at(self.deadline, call).await.unwrap_or_else(|elapsed| Err(elapsed.into()))
    }
}

/// Wait of a failed message after its nth receive.
fn wait_after(receive_count: u32) -> Duration {
    FIRST_WAIT * (1 << receive_count.saturating_sub(1).min(MAX_DOUBLINGS))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no message"))
}

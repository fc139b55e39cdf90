//! Where the relay puts what has happened: events on the bus, expiries in the scheduler or straight
//! in their queue, poison in its dead-letter queue.

use std::time::Duration;

use aws_sdk_eventbridge::{self as eventbridge, types::PutEventsRequestEntry};
use aws_sdk_scheduler::{
    self as scheduler,
    operation::{create_schedule::CreateScheduleError, delete_schedule::DeleteScheduleError},
    types::{
        ActionAfterCompletion, DeadLetterConfig, FlexibleTimeWindow, FlexibleTimeWindowMode,
        RetryPolicy, Target,
    },
};
use aws_sdk_sqs::{
    self as sqs, operation::send_message_batch::SendMessageBatchOutput,
    types::SendMessageBatchRequestEntry,
};
use aws_types::SdkConfig;
use chrono::DateTime;
use orders_contracts::{ExpiryMessage, OutgoingEvent, SOURCE};
use orders_domain::{OrderId, Timestamp};

use orders_lambda::{
    BoxError, clock,
    config::{ConfigError, required},
    telemetry::error_chain,
};

/// Where the relay puts what has happened.
pub trait RelaySink {
    /// Puts up to [`MAX_ENTRIES`] events on the bus. Says of each whether the bus has taken it.
    fn publish(&self, events: &[OutgoingEvent]) -> impl Future<Output = Vec<bool>>;

    /// Has the expiry of an order asked for at this time, some time off.
    fn schedule_expiry(
        &self,
        order_id: OrderId,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), BoxError>>;

    /// Takes that back; nothing to do if it is not there any more.
    fn unschedule_expiry(&self, order_id: OrderId) -> impl Future<Output = Result<(), BoxError>>;

    /// Has the expiry of up to [`MAX_ENTRIES`] orders asked for, of each at its time, rounded down
    /// to a second; after [`LONGEST_DELAY`] if the time is further off. Says of each whether the
    /// queue has taken it.
    fn send_expiries(&self, expiries: &[(OrderId, Timestamp)]) -> impl Future<Output = Vec<bool>>;

    /// Keeps a record that cannot be understood, whole.
    fn dead_letter(&self, record: &str) -> impl Future<Output = Result<(), BoxError>>;
}

/// The most events that the bus takes at once (EventBridge API reference, `PutEvents`), and the most
/// messages that a queue does (SQS API reference, `SendMessageBatch`).
pub const MAX_ENTRIES: usize = 10;

/// The longest that a queue delays a message (SQS API reference, `SendMessage`).
pub const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// The outbox in AWS.
#[derive(Clone, Debug)]
pub struct AwsRelaySink {
    eventbridge: eventbridge::Client,
    scheduler: scheduler::Client,
    sqs: sqs::Client,
    names: RelaySinkConfig,
}

/// What the outbox works on.
#[derive(Clone, Debug)]
pub struct RelaySinkConfig {
    /// Where events are put.
    pub event_bus_name: String,
    /// Where messages go that ask for an expiry.
    pub expiry_queue_url: String,
    /// The same, for a schedule to send to.
    pub expiry_queue_arn: String,
    /// Where a message goes that a schedule cannot deliver.
    pub expiry_dead_letter_queue_arn: String,
    /// What the schedules belong to.
    pub schedule_group_name: String,
    /// As whom a schedule sends.
    pub scheduler_role_arn: String,
    /// Where records go that cannot be understood.
    pub poison_queue_url: String,
}

impl RelaySinkConfig {
    /// Each from the variable of its name.
    ///
    /// # Errors
    /// [`ConfigError`] if one is not set.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            event_bus_name: required("EVENT_BUS_NAME")?,
            expiry_queue_url: required("EXPIRY_QUEUE_URL")?,
            expiry_queue_arn: required("EXPIRY_QUEUE_ARN")?,
            expiry_dead_letter_queue_arn: required("EXPIRY_DEAD_LETTER_QUEUE_ARN")?,
            schedule_group_name: required("SCHEDULE_GROUP_NAME")?,
            scheduler_role_arn: required("SCHEDULER_ROLE_ARN")?,
            poison_queue_url: required("POISON_QUEUE_URL")?,
        })
    }
}

impl AwsRelaySink {
    /// The outbox on what has these names.
    #[must_use]
    pub fn new(sdk: &SdkConfig, names: RelaySinkConfig) -> Self {
        Self {
            eventbridge: eventbridge::Client::new(sdk),
            scheduler: scheduler::Client::new(sdk),
            sqs: sqs::Client::new(sdk),
            names,
        }
    }

    fn entry(&self, event: &OutgoingEvent) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.names.event_bus_name)
            .source(SOURCE)
            .detail_type(event.detail_type)
            .detail(&event.detail)
            .build()
    }

    fn target(&self, message: String) -> Result<Target, BoxError> {
        // The queue is there, so a delivery fails only for a short while, if at all.
        let retries = RetryPolicy::builder()
            .maximum_retry_attempts(10)
            .maximum_event_age_in_seconds(3_600)
            .build();
        let dead_letters =
            DeadLetterConfig::builder().arn(&self.names.expiry_dead_letter_queue_arn).build();
        let target = Target::builder()
            .arn(&self.names.expiry_queue_arn)
            .role_arn(&self.names.scheduler_role_arn)
            .input(message)
            .retry_policy(retries)
            .dead_letter_config(dead_letters);
        Ok(target.build()?)
    }

    async fn send_batch(
        &self,
        expiries: &[(OrderId, Timestamp)],
    ) -> Result<SendMessageBatchOutput, BoxError> {
        let now = clock::now();
        let entry = |&(order_id, at): &(OrderId, Timestamp)| {
            let delay = now.until(at).min(LONGEST_DELAY);
            let entry = SendMessageBatchRequestEntry::builder()
                .id(order_id.to_string())
                .message_body(ExpiryMessage { order_id }.to_text()?)
                .delay_seconds(i32::try_from(delay.as_secs())?);
            Ok::<_, BoxError>(entry.build()?)
        };
        let entries = expiries.iter().map(entry).collect::<Result<_, _>>()?;
        let batch = self.sqs.send_message_batch().queue_url(&self.names.expiry_queue_url);
        Ok(batch.set_entries(Some(entries)).send().await?)
    }
}

impl RelaySink for AwsRelaySink {
    async fn publish(&self, events: &[OutgoingEvent]) -> Vec<bool> {
        let entries = events.iter().map(|event| self.entry(event)).collect();
        match self.eventbridge.put_events().set_entries(Some(entries)).send().await {
            Ok(response) => {
                let taken = |index: usize| {
                    response.entries().get(index).is_some_and(|entry| entry.event_id().is_some())
                };
                for refused in response.entries().iter().filter(|entry| entry.event_id().is_none())
                {
                    let code = refused.error_code().unwrap_or_default();
                    tracing::warn!(code, "the bus refuses an event");
                }
                (0..events.len()).map(taken).collect()
            }
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "the bus takes no events");
                vec![false; events.len()]
            }
        }
    }

    async fn schedule_expiry(&self, order_id: OrderId, at: Timestamp) -> Result<(), BoxError> {
        let target = self.target(ExpiryMessage { order_id }.to_text()?)?;
        let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build()?;
        let created = self
            .scheduler
            .create_schedule()
            .group_name(&self.names.schedule_group_name)
            .name(order_id.to_string())
            .schedule_expression(at_expression(at)?)
            .flexible_time_window(window)
            .target(target)
            .action_after_completion(ActionAfterCompletion::Delete)
            .send()
            .await;
        match created {
            // It is there already, from an earlier delivery of the same record.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(CreateScheduleError::is_conflict_exception) =>
            {
                Ok(())
            }
            other => Ok(other.map(drop)?),
        }
    }

    async fn unschedule_expiry(&self, order_id: OrderId) -> Result<(), BoxError> {
        let deleted = self
            .scheduler
            .delete_schedule()
            .group_name(&self.names.schedule_group_name)
            .name(order_id.to_string())
            .send()
            .await;
        match deleted {
            // It has fired and so deleted itself, or this is a repeat.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeleteScheduleError::is_resource_not_found_exception) =>
            {
                Ok(())
            }
            other => Ok(other.map(drop)?),
        }
    }

    async fn send_expiries(&self, expiries: &[(OrderId, Timestamp)]) -> Vec<bool> {
        match self.send_batch(expiries).await {
            Ok(response) => {
                for refused in response.failed() {
                    tracing::error!(code = refused.code(), "an expiry could not be set");
                }
                let taken = |order_id: &OrderId| {
                    let id = order_id.to_string();
                    response.successful().iter().any(|entry| entry.id() == id)
                };
                expiries.iter().map(|(order_id, _)| taken(order_id)).collect()
            }
            Err(error) => {
                tracing::error!(error = error_chain(error.as_ref()), "expiries could not be set");
                vec![false; expiries.len()]
            }
        }
    }

    async fn dead_letter(&self, record: &str) -> Result<(), BoxError> {
        self.sqs
            .send_message()
            .queue_url(&self.names.poison_queue_url)
            .message_body(record)
            .send()
            .await?;
        Ok(())
    }
}

/// A one-time schedule (EventBridge Scheduler user guide, "Schedule types"), to the second, in UTC.
fn at_expression(at: Timestamp) -> Result<String, BoxError> {
    let time = i64::try_from(at.epoch_ms()).ok().and_then(DateTime::from_timestamp_millis);
    Ok(format!("at({})", time.ok_or("no such time")?.format("%Y-%m-%dT%H:%M:%S")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_written_to_the_second_in_utc() {
        let at = Timestamp::from_epoch_ms(1_700_000_000_999).unwrap();
        assert_eq!(at_expression(at).unwrap(), "at(2023-11-14T22:13:20)");
    }
}

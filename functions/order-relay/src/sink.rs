//! Outputs of the relay: events on the bus, expiries in the scheduler or the expiry queue, invalid records
//! in the dead-letter queue.

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
    queue::MAX_DELAY,
    telemetry::error_chain,
};

/// An order's expiry: order id and end of the hold.
pub type Expiry = (OrderId, Timestamp);

/// Outputs of the relay.
pub trait RelaySink {
    /// Puts up to [`MAX_ENTRIES`] events on the bus. Returns whether the bus accepted each event.
    fn publish(&self, events: &[OutgoingEvent]) -> impl Future<Output = Vec<bool>>;

    /// Schedules the expiry message of an order for this time. A repeated call has no effect.
    ///
    /// Fails if the scheduler fails.
    fn schedule_expiry(
        &self,
        expiry: Expiry,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), BoxError>>;

    /// Deletes the schedule of an expiry, if present.
    fn unschedule_expiry(&self, expiry: Expiry) -> impl Future<Output = Result<(), BoxError>>;

    /// Sends the expiry messages of up to [`MAX_ENTRIES`] orders to the queue, each delayed until the end
    /// of the hold, rounded down to a second, at most [`MAX_DELAY`]. Returns whether the queue accepted
    /// each message.
    fn send_expiries(&self, expiries: &[Expiry]) -> impl Future<Output = Vec<bool>>;

    /// Sends an unmodified invalid record to the dead-letter queue.
    fn dead_letter(&self, record: &str) -> impl Future<Output = Result<(), BoxError>>;
}

/// Maximum number of entries of one call (EventBridge API reference, `PutEvents`; SQS API reference,
/// `SendMessageBatch`).
pub const MAX_ENTRIES: usize = 10;

/// Outputs of the relay in AWS.
#[derive(Clone, Debug)]
pub struct AwsRelaySink {
    eventbridge: eventbridge::Client,
    scheduler: scheduler::Client,
    sqs: sqs::Client,
    names: RelaySinkConfig,
}

/// Names of the relay's outputs.
#[derive(Clone, Debug)]
pub struct RelaySinkConfig {
    /// Event bus for the events.
    pub event_bus_name: String,
    /// URL of the expiry queue.
    pub expiry_queue_url: String,
    /// ARN of the expiry queue, the target of schedules.
    pub expiry_queue_arn: String,
    /// ARN of the dead-letter queue of schedules.
    pub expiry_dead_letter_queue_arn: String,
    /// Group of the schedules.
    pub schedule_group_name: String,
    /// ARN of the role of the schedules.
    pub scheduler_role_arn: String,
    /// URL of the dead-letter queue of invalid records.
    pub poison_queue_url: String,
}

impl RelaySinkConfig {
    /// Reads the names from environment variables.
    ///
    /// # Errors
    /// [`ConfigError`] if a variable is missing.
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
    /// The sink on these outputs.
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
        // The queue exists, so a failure of a delivery is short: an hour of retries suffices.
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

    async fn send_batch(&self, expiries: &[Expiry]) -> Result<SendMessageBatchOutput, BoxError> {
        let now = clock::now();
        let entry = |&(order_id, at): &Expiry| {
            let delay = now.until(at).min(MAX_DELAY);
            let entry = SendMessageBatchRequestEntry::builder()
                .id(order_id.to_string())
                .message_body(message((order_id, at))?)
                .delay_seconds(i32::try_from(delay.as_secs())?);
            Ok::<_, BoxError>(entry.build()?)
        };
        let entries = expiries.iter().map(entry).collect::<Result<_, _>>()?;
        let batch = self.sqs.send_message_batch().queue_url(&self.names.expiry_queue_url);
        Ok(batch.set_entries(Some(entries)).send().await?)
    }
}

fn message((order_id, expires_at): Expiry) -> Result<String, BoxError> {
    Ok(ExpiryMessage { order_id, expires_at: Some(expires_at) }.to_text()?)
}

/// Name of the schedule of one hold: a longer hold gets a schedule of its own. At most 64 characters
/// (EventBridge Scheduler API reference, `CreateSchedule`).
fn schedule_name((order_id, expires_at): Expiry) -> String {
    format!("{order_id}-{}", expires_at.epoch_ms())
}

impl RelaySink for AwsRelaySink {
    async fn publish(&self, events: &[OutgoingEvent]) -> Vec<bool> {
        let entries = events.iter().map(|event| self.entry(event)).collect();
        match self.eventbridge.put_events().set_entries(Some(entries)).send().await {
            Ok(response) => {
                // A call can succeed although the bus refused some of its entries.
                let entry_accepted = |(index, event): (usize, &OutgoingEvent)| {
                    let entry = response.entries().get(index);
                    let accepted = entry.is_some_and(|entry| entry.event_id().is_some());
                    if accepted {
                        metrics::gauge!("EventsPublished").increment(1);
                    } else {
                        let code = entry.and_then(|entry| entry.error_code());
                        tracing::warn!(
                            event_id = event.event_id,
                            correlation_id = %event.correlation_id,
                            code,
                            "PutEvents refused an event"
                        );
                    }
                    accepted
                };
                events.iter().enumerate().map(entry_accepted).collect()
            }
            Err(error) => {
                let event_ids: Vec<_> = events.iter().map(|event| &event.event_id).collect();
                let correlation_ids: Vec<_> =
                    events.iter().map(|event| event.correlation_id.as_str()).collect();
                tracing::warn!(
                    ?event_ids,
                    ?correlation_ids,
                    error = error_chain(&error),
                    "PutEvents failed for {} events",
                    events.len()
                );
                vec![false; events.len()]
            }
        }
    }

    async fn schedule_expiry(&self, expiry: Expiry, at: Timestamp) -> Result<(), BoxError> {
        let target = self.target(message(expiry)?)?;
        let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build()?;
        let created = self
            .scheduler
            .create_schedule()
            .group_name(&self.names.schedule_group_name)
            .name(schedule_name(expiry))
            .schedule_expression(at_expression(at)?)
            .flexible_time_window(window)
            .target(target)
            .action_after_completion(ActionAfterCompletion::Delete)
            .send()
            .await;
        match created {
            // An earlier delivery of the same record created the schedule.
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

    async fn unschedule_expiry(&self, expiry: Expiry) -> Result<(), BoxError> {
        let deleted = self
            .scheduler
            .delete_schedule()
            .group_name(&self.names.schedule_group_name)
            .name(schedule_name(expiry))
            .send()
            .await;
        match deleted {
            // The schedule has fired and deleted itself, or an earlier delivery of the record deleted it.
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

    async fn send_expiries(&self, expiries: &[Expiry]) -> Vec<bool> {
        match self.send_batch(expiries).await {
            Ok(response) => {
                for refused in response.failed() {
                    let (order_id, code) = (refused.id(), refused.code());
                    tracing::error!(order_id, code, "Sending an expiry was refused");
                }
                let accepted = |order_id: &OrderId| {
                    let id = order_id.to_string();
                    response.successful().iter().any(|entry| entry.id() == id)
                };
                expiries.iter().map(|(order_id, _)| accepted(order_id)).collect()
            }
            Err(error) => {
                let order_ids: Vec<_> = expiries.iter().map(|(id, _)| id.to_string()).collect();
                let error = error_chain(error.as_ref());
                tracing::error!(?order_ids, error, "Sending expiries failed");
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

/// Expression of a one-time schedule, in whole seconds UTC (EventBridge Scheduler user guide, "Schedule
/// types").
fn at_expression(at: Timestamp) -> Result<String, BoxError> {
    let time = i64::try_from(at.epoch_ms()).ok().and_then(DateTime::from_timestamp_millis);
    Ok(format!("at({})", time.ok_or("the time is out of range")?.format("%Y-%m-%dT%H:%M:%S")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_expression_has_whole_seconds_in_utc() {
        let at = Timestamp::from_epoch_ms(1_700_000_000_999).unwrap();
        assert_eq!(at_expression(at).unwrap(), "at(2023-11-14T22:13:20)");
    }
}

//! Events of the deployed service, received by a rule and a queue of the tests.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_eventbridge::{Client as EventBridge, types::Target};
use aws_sdk_sqs::{
    Client as Sqs,
    types::{Message, MessageSystemAttributeName, QueueAttributeName},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{schemas, stack::stack};

/// Collection ends after this time without a new event.
const QUIET: Duration = Duration::from_secs(3);
/// Limit for the whole collection.
const TIMEOUT: Duration = Duration::from_mins(7);

/// A rule and a queue that receive every event of the service.
#[derive(Debug)]
pub struct Listener {
    bus: EventBridge,
    sqs: Sqs,
    name: String,
    queue_url: String,
}

/// A received event.
#[derive(Clone, Debug)]
pub struct ReceivedEvent {
    /// Time of the delivery to the queue, in epoch milliseconds.
    pub at_ms: i64,
    /// Event envelope.
    pub event: Value,
}

impl ReceivedEvent {
    /// Returns the event's `detail`.
    #[must_use]
    pub fn detail(&self) -> &Value {
        &self.event["detail"]
    }

    /// Returns the event type and the order version.
    #[must_use]
    pub fn kind(&self) -> (&str, u64) {
        let version = self.detail()["version"].as_u64().expect("an order version");
        (self.event["detail-type"].as_str().expect("an event type"), version)
    }
}

/// Received events by order id.
pub type Histories = BTreeMap<String, Vec<ReceivedEvent>>;

/// Checks each event against the schema, and the versions of each order: ascending from 0, without
/// a gap. A repeated version must have the same content.
pub fn check_event_sequences(histories: &Histories) {
    let schema = schemas::validator(schemas::ORDER_EVENTS);
    for (order, history) in histories {
        let mut events: Vec<(&str, &Value)> = Vec::new();
        for received in history {
            if let Err(error) = schema.validate(&received.event) {
                panic!("{error}: {:#}", received.event);
            }
            let (kind, version) = received.kind();
            assert_eq!(received.detail()["metadata"]["eventId"], format!("{order}:{version}"));
            let event = (kind, received.detail());
            match events.get(usize::try_from(version).unwrap()) {
                Some(before) => assert_eq!(*before, event, "{order}: version {version}"),
                None => events.push(event),
            }
            assert!(
                u64::try_from(events.len()).unwrap() > version,
                "{order}: {version} skips a version"
            );
        }
    }
}

/// Returns the event types of an order, one per version.
pub fn kinds(history: &[ReceivedEvent]) -> Vec<&str> {
    let by_version: BTreeMap<u64, &str> =
        history.iter().map(ReceivedEvent::kind).map(|(kind, version)| (version, kind)).collect();
    by_version.into_values().collect()
}

/// Returns the result of a payment: "paid" or "refund due"; `None` if the payment is not booked.
pub fn payment_result(row: &Value, payment: &str) -> Option<&'static str> {
    let paid = row["payment_id"] == payment;
    let no_refunds = Vec::new();
    let refunds = row["refunds_due"].as_array().unwrap_or(&no_refunds);
    let due = refunds.iter().filter(|refund| refund["payment_id"] == payment).count();
    match (paid, due) {
        (true, 0) => Some("paid"),
        (false, 1) => Some("refund due"),
        (false, 0) => None,
        _ => panic!("payment booked twice: {row}"),
    }
}

impl Listener {
    /// Creates the rule and the queue.
    pub async fn start() -> Self {
        let sdk = stack().sdk_config().await;
        let (bus, sqs) = (EventBridge::new(&sdk), Sqs::new(&sdk));
        let name = format!("orders-tests-{}", Uuid::new_v4());
        let queue = sqs.create_queue().queue_name(&name).send().await.unwrap();
        let queue_url = queue.queue_url.unwrap();
        let arn = QueueAttributeName::QueueArn;
        let attributes =
            sqs.get_queue_attributes().queue_url(&queue_url).attribute_names(arn.clone());
        let queue_arn = attributes.send().await.unwrap().attributes.unwrap()[&arn].clone();
        let allow = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage", "Resource": queue_arn}]});
        let policy = sqs.set_queue_attributes().queue_url(&queue_url);
        policy.attributes(QueueAttributeName::Policy, allow.to_string()).send().await.unwrap();
        let rule = bus.put_rule().name(&name).event_bus_name(&stack().bus_name);
        rule.event_pattern(json!({"source": ["orders"]}).to_string()).send().await.unwrap();
        let target = Target::builder().id("tests").arn(&queue_arn).build().unwrap();
        let targets = bus.put_targets().rule(&name).event_bus_name(&stack().bus_name);
        targets.targets(target).send().await.unwrap();
        Self { bus, sqs, name, queue_url }
    }

    /// Receives events until they are complete and no more arrive. Returns the events of these
    /// orders, in order of arrival, and deletes the rule and the queue.
    ///
    /// # Panics
    /// If the events are not complete within the limit.
    pub async fn collect(
        self,
        orders: &[String],
        is_complete: impl Fn(&Histories) -> bool,
    ) -> Histories {
        let mut received: Histories =
            orders.iter().map(|order| (order.clone(), Vec::new())).collect();
        let deadline = Instant::now() + TIMEOUT;
        let mut quiet_since = Instant::now();
        while !is_complete(&received) || quiet_since.elapsed() < QUIET {
            assert!(Instant::now() < deadline, "events are missing: {received:#?}");
            for message in self.receive().await {
                let event: Value = serde_json::from_str(message.body().unwrap()).unwrap();
                let order = event["detail"]["id"].as_str().unwrap_or_default();
                if let Some(events) = received.get_mut(order) {
                    let sent_at =
                        &message.attributes().unwrap()[&MessageSystemAttributeName::SentTimestamp];
                    events.push(ReceivedEvent { at_ms: sent_at.parse().unwrap(), event });
                    quiet_since = Instant::now();
                }
            }
        }
        self.delete().await;
        received
    }

    /// Receives the next event envelopes, within about a second.
    pub async fn receive_events(&self) -> Vec<Value> {
        let messages = self.receive().await;
        let bodies = messages.iter().map(|message| message.body().unwrap());
        bodies.map(|body| serde_json::from_str(body).unwrap()).collect()
    }

    async fn receive(&self) -> Vec<Message> {
        let request = self.sqs.receive_message().queue_url(&self.queue_url);
        let request = request.max_number_of_messages(10).wait_time_seconds(1);
        let request = request.message_system_attribute_names(MessageSystemAttributeName::All);
        let messages = request.send().await.unwrap().messages.unwrap_or_default();
        for message in &messages {
            let handle = message.receipt_handle().unwrap();
            let delete = self.sqs.delete_message().queue_url(&self.queue_url);
            delete.receipt_handle(handle).send().await.unwrap();
        }
        messages
    }

    /// Deletes the rule and the queue.
    pub async fn delete(&self) {
        let bus = &stack().bus_name;
        let targets = self.bus.remove_targets().rule(&self.name).event_bus_name(bus);
        targets.ids("tests").send().await.unwrap();
        self.bus.delete_rule().name(&self.name).event_bus_name(bus).send().await.unwrap();
        self.sqs.delete_queue().queue_url(&self.queue_url).send().await.unwrap();
    }
}

//! What is on the bus: a rule of the tests' own sends all events of this service to a queue of the
//! tests' own.

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

/// How long nothing more must come for the events to be all.
const QUIET: Duration = Duration::from_secs(3);
/// How long to wait for events at all.
const PATIENCE: Duration = Duration::from_mins(4);

/// One who hears every event from the moment it listens.
#[derive(Debug)]
pub struct Listener {
    bus: EventBridge,
    sqs: Sqs,
    name: String,
    queue_url: String,
}

/// An event, as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    /// When it came, in epoch milliseconds.
    pub at_ms: i64,
    /// The envelope.
    pub event: Value,
}

impl Heard {
    /// The event's `detail`.
    #[must_use]
    pub fn detail(&self) -> &Value {
        &self.event["detail"]
    }

    /// The event's type and the order's version.
    #[must_use]
    pub fn kind(&self) -> (&str, u64) {
        let version = self.detail()["version"].as_u64().expect("a version");
        (self.event["detail-type"].as_str().expect("a type"), version)
    }
}

/// What was heard of each order.
pub type Histories = BTreeMap<String, Vec<Heard>>;

/// Looks that each event is as the schema says, that each order's came in the order of its versions,
/// from 0 on, none left out, and that a version that came again said the same.
pub fn check_histories(histories: &Histories) {
    let schema = schemas::validator(schemas::ORDER_EVENTS);
    for (order, history) in histories {
        let mut said: Vec<(&str, &Value)> = Vec::new();
        for heard in history {
            if let Err(error) = schema.validate(&heard.event) {
                panic!("{error}: {:#}", heard.event);
            }
            let (kind, version) = heard.kind();
            assert_eq!(heard.detail()["metadata"]["eventId"], format!("{order}:{version}"));
            let this = (kind, heard.detail());
            match said.get(usize::try_from(version).unwrap()) {
                Some(before) => assert_eq!(*before, this, "{order}: version {version}"),
                None => said.push(this),
            }
            assert!(u64::try_from(said.len()).unwrap() > version, "{order}: {version} is too soon");
        }
    }
}

/// The types of an order's events, each version once.
pub fn kinds(history: &[Heard]) -> Vec<&str> {
    let by_version: BTreeMap<u64, &str> =
        history.iter().map(Heard::kind).map(|(kind, version)| (version, kind)).collect();
    by_version.into_values().collect()
}

/// Whether a charge has bought its order or is owed back; nothing, if neither yet.
pub fn use_of_charge(row: &Value, payment: &str) -> Option<&'static str> {
    let bought = row["payment_id"] == payment;
    let no_refunds = Vec::new();
    let refunds = row["refunds_due"].as_array().unwrap_or(&no_refunds);
    let owed = refunds.iter().filter(|refund| refund["payment_id"] == payment).count();
    match (bought, owed) {
        (true, 0) => Some("bought"),
        (false, 1) => Some("owed"),
        (false, 0) => None,
        _ => panic!("a charge is counted twice: {row}"),
    }
}

impl Listener {
    /// Listens.
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

    /// Everything heard of these orders, by order, in the sequence it came; once it is enough and
    /// nothing more comes. Stops listening.
    ///
    /// # Panics
    /// If it is never enough.
    pub async fn stop(self, orders: &[String], enough: impl Fn(&Histories) -> bool) -> Histories {
        let mut heard: Histories = orders.iter().map(|order| (order.clone(), Vec::new())).collect();
        let patience = Instant::now() + PATIENCE;
        let mut quiet_since = Instant::now();
        while !enough(&heard) || quiet_since.elapsed() < QUIET {
            assert!(Instant::now() < patience, "not enough was heard: {heard:#?}");
            for message in self.receive().await {
                let event: Value = serde_json::from_str(message.body().unwrap()).unwrap();
                let order = event["detail"]["id"].as_str().unwrap_or_default();
                if let Some(events) = heard.get_mut(order) {
                    let sent =
                        &message.attributes().unwrap()[&MessageSystemAttributeName::SentTimestamp];
                    events.push(Heard { at_ms: sent.parse().unwrap(), event });
                    quiet_since = Instant::now();
                }
            }
        }
        self.forget().await;
        heard
    }

    /// What comes next, within a second or so: envelopes, in the sequence they come.
    pub async fn hear(&self) -> Vec<Value> {
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

    /// Listens no more.
    pub async fn forget(&self) {
        let bus = &stack().bus_name;
        let targets = self.bus.remove_targets().rule(&self.name).event_bus_name(bus);
        targets.ids("tests").send().await.unwrap();
        self.bus.delete_rule().name(&self.name).event_bus_name(bus).send().await.unwrap();
        self.sqs.delete_queue().queue_url(&self.queue_url).send().await.unwrap();
    }
}

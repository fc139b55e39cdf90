//! Records of the orders table's stream.

use std::{cell::RefCell, str, time::Duration};

use aws_lambda_events::dynamodb::EventRecord;
use order_relay::sink::{Expiry, MAX_ENTRIES, RelaySink};
use orders_contracts::OutgoingEvent;
use orders_domain::{Order, OrderId, RefundDue, Slot, Status, Timestamp};
use orders_lambda::{
    BoxError,
    stream::{Change, Content, Record, read},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fixture;

/// Any text as a batch. Each record is a change, a removal, or dead-lettered unmodified. No record
/// blocks the next ones, and the published events are JSON.
pub fn stream_batch(input: &[u8]) {
    let Ok(batch) = str::from_utf8(input) else { return };
    let Ok(records) = read(batch) else { return };
    relay(&records);
}

/// Any text as the image of an order, in an otherwise valid record. Beyond [`stream_batch`]: an
/// order is equal after serialisation.
pub fn stream_image(input: &[u8]) {
    let Ok(image) = str::from_utf8(input) else { return };
    let batch = batch_with(image);
    let Ok(records) = read(&batch) else { return };
    relay(&records);
    for change in records.iter().filter_map(change_of) {
        let serialised = batch_with(&order_image(&change.after).to_string());
        let serialised = read(&serialised).expect("a valid batch");
        let [serialised] = serialised.as_slice() else { panic!("unexpected {serialised:?}") };
        assert_eq!(change_of(serialised).map(|change| &change.after), Some(&change.after));
    }
}

fn change_of<'a>(record: &'a Record<'_>) -> Option<&'a Change> {
    match &record.content {
        Ok(Content::Change(change)) => Some(change),
        Ok(Content::Forgotten | Content::Removed) | Err(_) => None,
    }
}

/// Relays a batch to a sink without failures.
fn relay(records: &[Record<'_>]) {
    let sink = RecordingSink::default();
    let not_done = fixture::run(async {
        let deadline = Instant::now() + Duration::from_secs(10);
        order_relay::relay(&sink, fixture::now(), deadline, records).await
    });
    assert_eq!(not_done, None, "unfinished record");
    let (events, dead_letters) = (sink.events.into_inner(), sink.dead_letters.into_inner());
    assert!(events + dead_letters.len() <= records.len());
    for record in records {
        let is_dead_lettered = dead_letters.iter().any(|dead_letters| dead_letters == record.raw);
        assert!(is_dead_lettered || record.content.is_ok(), "{record:?} is lost");
        if let Ok(Content::Forgotten | Content::Removed) = record.content {
            let event: EventRecord = serde_json::from_str(record.raw).expect("a valid record");
            assert_eq!(event.event_name, "REMOVE", "{record:?} is not a removal");
        }
    }
}

/// Counts the events and stores the dead letters.
#[derive(Default)]
struct RecordingSink {
    events: RefCell<usize>,
    dead_letters: RefCell<Vec<String>>,
}

impl RelaySink for RecordingSink {
    async fn publish(&self, events: &[OutgoingEvent]) -> Vec<bool> {
        assert!((1..=MAX_ENTRIES).contains(&events.len()));
        for event in events {
            let detail: Value = serde_json::from_str(&event.detail).expect("a JSON event");
            assert!(detail["id"].as_str().is_some_and(|id| id.parse::<OrderId>().is_ok()));
        }
        *self.events.borrow_mut() += events.len();
        vec![true; events.len()]
    }

    async fn schedule_expiry(
        &self,
        (_, expires_at): Expiry,
        at: Timestamp,
    ) -> Result<(), BoxError> {
        assert!(at > fixture::now() && at < expires_at);
        Ok(())
    }

    async fn unschedule_expiry(&self, _: Expiry) -> Result<(), BoxError> {
        Ok(())
    }

    async fn send_expiries(&self, expiries: &[Expiry]) -> Vec<bool> {
        assert!((1..=MAX_ENTRIES).contains(&expiries.len()));
        vec![true; expiries.len()]
    }

    async fn dead_letter(&self, record: &str) -> Result<(), BoxError> {
        self.dead_letters.borrow_mut().push(record.to_owned());
        Ok(())
    }
}

fn batch_with(image: &str) -> String {
    format!(
        r#"{{"Records":[{{"eventID":"1","eventName":"INSERT","awsRegion":"eu-central-1","dynamodb":{{"ApproximateCreationDateTime":1700000001,"Keys":{{}},"NewImage":{image},"SequenceNumber":"1","SizeBytes":1}}}}]}}"#
    )
}

/// The image of an order in DynamoDB's format.
fn order_image(order: &Order) -> Value {
    let ticket = &order.ticket;
    let mut image = json!({
        "id": {"S": order.id.to_string()},
        "user_id": {"S": order.user_id.as_str()},
        "ticket": {"M": {
            "id": {"S": ticket.id.as_str()},
            "title": {"S": ticket.title.as_str()},
            "price": {"N": ticket.price.minor().to_string()},
            "version": {"N": ticket.version.number().to_string()},
        }},
        "status": {"S": order.status.name()},
        "version": {"N": order.version.number().to_string()},
        "created_at": {"N": order.created_at.epoch_ms().to_string()},
        "expires_at": {"N": order.expires_at.epoch_ms().to_string()},
        "refunds_due": {"L": order.refunds_due.iter().map(refund_image).collect::<Vec<_>>()},
        "extended": {"BOOL": order.extended},
        "correlation_id": {"S": order.correlation_id.as_str()},
    });
    if let Status::Paid { payment_id } | Status::Refunded { payment_id } = &order.status {
        image["payment_id"] = json!({"S": payment_id.as_str()});
    }
    if let Some(traceparent) = order.traceparent {
        image["traceparent"] = json!({"S": traceparent.to_string()});
    }
    if let Some(slot) = order.slot.map(Slot::number) {
        image["slot"] = json!({"N": slot.to_string()});
    }
    image
}

fn refund_image(refund: &RefundDue) -> Value {
    let mut image = json!({"M": {
        "payment_id": {"S": refund.payment_id.as_str()},
        "reason": {"S": refund.reason.name()},
        "state": {"S": refund.state.name()},
    }});
    if let Some(amount) = refund.amount {
        image["M"]["amount"] = json!({"N": amount.minor().to_string()});
    }
    image
}

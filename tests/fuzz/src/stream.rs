//! Records of the orders table's stream.

use std::{cell::RefCell, str, time::Duration};

use aws_lambda_events::dynamodb::EventRecord;
use order_relay::sink::{MAX_ENTRIES, RelaySink};
use orders_contracts::OutgoingEvent;
use orders_domain::{Order, OrderId, Status, Timestamp};
use orders_lambda::{
    BoxError,
    stream::{Record, read},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::shop;

/// Any text as a batch. Each record tells of a change, of a removal, or is buried as it came; none
/// stops those after it, and what is published is JSON.
pub fn stream_batch(input: &[u8]) {
    let Ok(batch) = str::from_utf8(input) else { return };
    let Ok(records) = read(batch) else { return };
    relay(&records);
}

/// Any text as the image of an order, in a record that is good otherwise. Beyond [`stream_batch`]: an
/// order that it is read as reads the same when it is written again.
pub fn stream_image(input: &[u8]) {
    let Ok(image) = str::from_utf8(input) else { return };
    let batch = batch_with(image);
    let Ok(records) = read(&batch) else { return };
    relay(&records);
    for change in records.iter().filter_map(|record| record.change.as_ref().ok()?.as_ref()) {
        let again = batch_with(&write_image(&change.after).to_string());
        let again = read(&again).expect("a batch is a batch");
        let [Record { change: Ok(Some(again)), .. }] = again.as_slice() else {
            panic!("{again:?} is one change");
        };
        assert_eq!(again.after, change.after);
    }
}

/// Relays a batch to a sink that never fails.
fn relay(records: &[Record<'_>]) {
    let sink = Taken::default();
    let not_done = shop::run(async {
        let deadline = Instant::now() + Duration::from_secs(10);
        order_relay::relay(&sink, shop::now(), deadline, records).await
    });
    assert_eq!(not_done, None, "nothing stops the stream");
    let (events, buried) = (sink.events.into_inner(), sink.buried.into_inner());
    assert!(events + buried.len() <= records.len());
    for record in records {
        let is_buried = buried.iter().any(|buried| buried == record.raw);
        assert!(is_buried || record.change.is_ok(), "{record:?} is lost");
        if let Ok(None) = record.change {
            let event: EventRecord = serde_json::from_str(record.raw).expect("it was read");
            assert_eq!(event.event_name, "REMOVE", "{record:?} is taken for a removal");
        }
    }
}

/// What the relay has put somewhere.
#[derive(Default)]
struct Taken {
    events: RefCell<usize>,
    buried: RefCell<Vec<String>>,
}

impl RelaySink for Taken {
    async fn publish(&self, events: &[OutgoingEvent]) -> Vec<bool> {
        assert!((1..=MAX_ENTRIES).contains(&events.len()));
        for event in events {
            let detail: Value = serde_json::from_str(&event.detail).expect("an event is JSON");
            assert!(detail["id"].as_str().is_some_and(|id| id.parse::<OrderId>().is_ok()));
        }
        *self.events.borrow_mut() += events.len();
        vec![true; events.len()]
    }

    async fn schedule_expiry(&self, _: OrderId, at: Timestamp) -> Result<(), BoxError> {
        assert!(at > shop::now());
        Ok(())
    }

    async fn unschedule_expiry(&self, _: OrderId) -> Result<(), BoxError> {
        Ok(())
    }

    async fn send_expiries(&self, expiries: &[(OrderId, Timestamp)]) -> Vec<bool> {
        assert!((1..=MAX_ENTRIES).contains(&expiries.len()));
        vec![true; expiries.len()]
    }

    async fn dead_letter(&self, record: &str) -> Result<(), BoxError> {
        self.buried.borrow_mut().push(record.to_owned());
        Ok(())
    }
}

fn batch_with(image: &str) -> String {
    format!(
        r#"{{"Records":[{{"eventID":"1","eventName":"INSERT","awsRegion":"eu-central-1","dynamodb":{{"ApproximateCreationDateTime":1700000001,"Keys":{{}},"NewImage":{image},"SequenceNumber":"1","SizeBytes":1}}}}]}}"#
    )
}

/// The image of an order, as DynamoDB writes it.
fn write_image(order: &Order) -> Value {
    let ticket = &order.ticket;
    let refunds = order.refunds_due.iter().map(|refund| {
        let (payment_id, reason) = (refund.payment_id.as_str(), refund.reason.name());
        json!({"M": {"payment_id": {"S": payment_id}, "reason": {"S": reason}}})
    });
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
        "refunds_due": {"L": refunds.collect::<Vec<_>>()},
        "correlation_id": {"S": order.correlation_id.as_str()},
    });
    if let Status::Paid { payment_id } = &order.status {
        image["payment_id"] = json!({"S": payment_id.as_str()});
    }
    image
}

//! Records of the orders table's stream.

use orders_domain::{BoxError, Status};
use orders_lambda::stream::{self, Change, Content};
use orders_testing::order_with_hold;
use serde_json::{Value, json};

/// A stream record with these images.
fn record(old: Option<&Value>, new: Option<&Value>) -> String {
    let mut batch: Value =
        serde_json::from_str(include_str!("../../support/fixtures/stream_batch.json")).unwrap();
    let name = if new.is_some() { "MODIFY" } else { "REMOVE" };
    batch["Records"][0]["eventName"] = json!(name);
    let change = batch["Records"][0]["dynamodb"].as_object_mut().unwrap();
    for (name, image) in [("OldImage", old), ("NewImage", new)] {
        match image {
            Some(image) => drop(change.insert(name.to_owned(), image.clone())),
            None => drop(change.remove(name)),
        }
    }
    batch.to_string()
}

#[test]
fn stream_record_has_the_old_and_the_new_order() {
    let batch: Value =
        serde_json::from_str(include_str!("../../support/fixtures/stream_batch.json")).unwrap();
    let image = &batch["Records"][0]["dynamodb"]["NewImage"];
    let mut cancelled = image.clone();
    cancelled["status"] = json!({"S": "cancelled"});
    cancelled["version"] = json!({"N": "1"});
    let text = record(Some(image), Some(&cancelled));
    let records = stream::read(&text).unwrap();
    assert_eq!(records[0].sequence_number, "222");
    let Ok(Content::Change(change)) = &records[0].content else { panic!("{:?}", records[0]) };
    assert_eq!(change.before, Some(order_with_hold(7, 30)));
    assert_eq!((&change.after.status, change.after.version.number()), (&Status::Cancelled, 1));
}

#[test]
fn record_without_a_new_image_is_not_a_removal() {
    let batch =
        include_str!("../../support/fixtures/stream_batch.json").replace("NewImage", "NwImage");
    let records = stream::read(&batch).unwrap();
    assert!(records[0].content.is_err());
}

#[test]
fn invalid_row_can_be_repaired_or_removed() {
    let batch: Value =
        serde_json::from_str(include_str!("../../support/fixtures/stream_batch.json")).unwrap();
    let valid = &batch["Records"][0]["dynamodb"]["NewImage"];
    let invalid = json!({"id": {"S": "x"}});
    let content_of = |old, new| content(&record(old, new));
    let Content::Change(change) = content_of(Some(&invalid), Some(valid)).unwrap() else {
        panic!()
    };
    let Change { before, after, .. } = *change;
    assert_eq!((before, after), (None, order_with_hold(7, 30)));
    assert_eq!(content_of(Some(&invalid), None).unwrap(), Content::Removed);
    assert!(content_of(Some(valid), Some(&invalid)).is_err());
    assert!(content_of(None, Some(&invalid)).is_err());
}

fn content(batch: &str) -> Result<Content, BoxError> {
    let records = stream::read(batch).unwrap();
    records.into_iter().next().unwrap().content
}

/// Identities as in the `DynamoDB` developer guide, "`DynamoDB` Streams and time to live".
#[test]
fn removal_by_time_to_live_is_forgotten() {
    let batch: Value =
        serde_json::from_str(include_str!("../../support/fixtures/stream_batch.json")).unwrap();
    let valid = &batch["Records"][0]["dynamodb"]["NewImage"];
    let removal = |identity: Value| {
        let mut batch: Value = serde_json::from_str(&record(Some(valid), None)).unwrap();
        batch["Records"][0]["userIdentity"] = identity;
        content(&batch.to_string()).unwrap()
    };
    let identity = json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"});
    assert_eq!(removal(identity), Content::Forgotten);
    for identity in [
        Value::Null,
        json!({}),
        json!({"type": "Service", "principalId": "lambda.amazonaws.com"}),
        json!({"type": "AssumedRole", "principalId": "dynamodb.amazonaws.com"}),
    ] {
        assert_eq!(removal(identity.clone()), Content::Removed, "{identity}");
    }
}

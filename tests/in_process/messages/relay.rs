//! The relay and its AWS requests.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics_util::debugging::DebuggingRecorder;
use order_relay::sink::{AwsRelaySink, RelaySink};
use orders_domain::{Command, Price, Timestamp};
use orders_lambda::{
    clock,
    stream::{self, Change, Record},
};
use orders_testing::{after, order_with_hold, pay};
use orders_tests::aws_responses;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::new_metrics;

#[tokio::test]
async fn relay_counts_each_event_with_its_lag() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let sink = aws_responses::relay_sink(aws_responses::success);
    let mut changes = vec![(None, order_with_hold(7, 30), &["OrdersPlaced 1"][..])];
    let pay = pay("p1", &order_with_hold(7, 30), 1);
    let wrong_amount = match pay.clone() {
        Command::Pay { mut payment, late_limit, now } => {
            payment.amount = Some(Price::from_minor(1).unwrap());
            Command::Pay { payment, late_limit, now }
        }
        other => other,
    };
    for (commands, names) in [
        (vec![pay.clone()], &["OrdersPaid 1"][..]),
        (vec![Command::Cancel], &["OrdersCancelled 1"]),
        (vec![Command::Expire { now: Timestamp::MAX }], &["OrdersExpired 1"]),
        (vec![Command::Cancel, pay], &["RefundsDue 1"]),
        (vec![wrong_amount], &["RefundsDue 1", "WrongAmounts 1"]),
    ] {
        let mut orders = vec![order_with_hold(7, 30)];
        for command in &commands {
            orders.push(after(orders.last().unwrap(), command));
        }
        let after = orders.pop().unwrap();
        changes.push((orders.pop(), after, names));
    }
    for (before, after, names) in changes {
        let written_at = after.created_at;
        let now = written_at.plus(Duration::from_millis(250));
        let change = Ok(Some(Change { before, after, at: written_at }));
        let record = Record { raw: "", sequence_number: "1".to_owned(), change };
        let deadline = Instant::now() + Duration::from_mins(1);
        assert_eq!(order_relay::relay(&sink, now, deadline, &[record]).await, None);
        let mut expected = [names, &["RelayLag 250"]].concat();
        expected.sort_unstable();
        assert_eq!(new_metrics(&recorder), expected);
    }
}

/// Records of placements of this many orders.
fn placements(count: u8) -> Vec<Record<'static>> {
    let placement = |byte: u8| {
        let after = order_with_hold(byte, 30);
        let change = Ok(Some(Change { before: None, at: after.created_at, after }));
        Record { raw: "", sequence_number: byte.to_string(), change }
    };
    (0..count).map(placement).collect()
}

/// Relays three placements with these AWS responses. Returns the first unfinished record.
async fn relay_with(
    response: impl Fn(&str, &Value) -> aws_responses::AwsResponse + Send + Sync + 'static,
) -> Option<String> {
    let now = order_with_hold(0, 30).created_at;
    let deadline = Instant::now() + Duration::from_mins(1);
    order_relay::relay(&aws_responses::relay_sink(response), now, deadline, &placements(3)).await
}

#[tokio::test]
async fn relay_finishes_an_accepted_batch() {
    assert_eq!(relay_with(aws_responses::success).await, None);
}

#[tokio::test]
async fn relay_reports_a_rejected_event() {
    let reject_second = |operation: &str, request: &Value| {
        let (status, mut response) = aws_responses::success(operation, request);
        if operation == "PutEvents" {
            let second = request["Entries"].as_array().unwrap().len().saturating_sub(2);
            response["FailedEntryCount"] = json!(1);
            response["Entries"][second] = json!({"ErrorCode": "ThrottlingException"});
        }
        (status, response)
    };
    assert_eq!(relay_with(reject_second).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn relay_reports_a_rejected_expiry() {
    let reject_second = |operation: &str, request: &Value| {
        let (status, mut response) = aws_responses::success(operation, request);
        if operation == "SendMessageBatch" {
            let sent = response["Successful"].as_array_mut().unwrap().remove(1);
            response["Failed"] =
                json!([{"Id": sent["Id"], "Code": "InternalError", "SenderFault": false}]);
        }
        (status, response)
    };
    assert_eq!(relay_with(reject_second).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn relay_reports_the_first_record_of_a_failed_call() {
    for failing in ["PutEvents", "SendMessageBatch"] {
        let not_done = relay_with(move |operation, request| {
            if operation == failing {
                (500, json!({"__type": "InternalFailure"}))
            } else {
                aws_responses::success(operation, request)
            }
        });
        assert_eq!(not_done.await.as_deref(), Some("0"), "{failing}");
    }
}

/// A relay sink, and the AWS requests that it sends.
fn recording_sink() -> (AwsRelaySink, Arc<Mutex<Vec<Value>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&requests);
    let sink = aws_responses::relay_sink(move |operation, request| {
        recorded.lock().unwrap().push(request.clone());
        aws_responses::success(operation, request)
    });
    (sink, requests)
}

#[tokio::test]
async fn expiry_message_delay_is_capped_at_900_seconds() {
    let (sink, requests) = recording_sink();
    let now = clock::now();
    let in_seconds = |seconds| now.plus(Duration::from_secs(seconds));
    let times = [Timestamp::from_epoch_ms(0).unwrap(), in_seconds(30), in_seconds(3_600)];
    let expiries: Vec<_> = (0..).map(|byte| order_with_hold(byte, 30).id).zip(times).collect();
    assert_eq!(sink.send_expiries(&expiries).await, [true; 3]);
    let request = requests.lock().unwrap().pop().unwrap();
    assert!(request["QueueUrl"].as_str().unwrap().ends_with("/expiries"));
    let entries = request["Entries"].as_array().unwrap();
    // The second delay depends on the time since `now`.
    for ((entry, (order_id, _)), delay) in
        entries.iter().zip(&expiries).zip([0..=0, 1..=30, 900..=900])
    {
        let body: Value = serde_json::from_str(entry["MessageBody"].as_str().unwrap()).unwrap();
        assert_eq!(body, json!({"orderId": order_id.to_string()}));
        assert!(delay.contains(&entry["DelaySeconds"].as_u64().unwrap()), "{entry}");
    }
}

#[tokio::test]
async fn dead_lettered_record_is_unmodified() {
    let (sink, requests) = recording_sink();
    sink.dead_letter("{garbled").await.unwrap();
    let request = requests.lock().unwrap().pop().unwrap();
    assert!(request["QueueUrl"].as_str().unwrap().ends_with("/poison"));
    assert_eq!(request["MessageBody"], "{garbled");
}

#[tokio::test]
async fn schedule_calls_are_idempotent() {
    let order = order_with_hold(1, 600);
    for (status, code, expected) in [
        (409, "ConflictException", (true, false)),
        (404, "ResourceNotFoundException", (false, true)),
        (500, "InternalServerException", (false, false)),
    ] {
        let sink =
            aws_responses::relay_sink(move |_, _| (status, json!({"__type": code, "Message": ""})));
        let made = sink.schedule_expiry(order.id, order.expires_at).await;
        let gone = sink.unschedule_expiry(order.id).await;
        assert_eq!((made.is_ok(), gone.is_ok()), expected, "{code}");
    }
}

/// Images of alice's order as the stream writes them, with this version, status and refunds.
fn image(version: u64, status: &str, refunds: &[(&str, &str)]) -> Value {
    let batch: Value =
        serde_json::from_str(include_str!("../../support/fixtures/stream_batch.json")).unwrap();
    let mut image = batch["Records"][0]["dynamodb"]["NewImage"].clone();
    image["version"] = json!({"N": version.to_string()});
    image["status"] = json!({ "S": status });
    let refund = |(payment, reason): &(&str, &str)| -> Value {
        let refund = json!({"payment_id": {"S": payment}, "reason": {"S": reason}});
        json!({ "M": refund })
    };
    image["refunds_due"] = json!({"L": refunds.iter().map(refund).collect::<Vec<_>>()});
    image
}

/// A batch of the changes between these images, in their order.
fn batch_of(images: &[Value]) -> String {
    let mut batch: Value =
        serde_json::from_str(include_str!("../../support/fixtures/stream_batch.json")).unwrap();
    let record = batch["Records"][0].clone();
    let records = images.windows(2).zip(1..).map(|(images, number)| {
        let mut record = record.clone();
        record["eventName"] = json!("MODIFY");
        record["dynamodb"]["SequenceNumber"] = json!(number.to_string());
        record["dynamodb"]["OldImage"] = images[0].clone();
        record["dynamodb"]["NewImage"] = images[1].clone();
        record
    });
    batch["Records"] = records.collect();
    batch.to_string()
}

#[tokio::test]
async fn version_after_an_unreadable_one_is_published_whole() {
    let refunds = [("p1", "order_cancelled"), ("p2", "order_cancelled")];
    let newer_reason = [refunds[0], ("p2", "reason_of_a_newer_release")];
    for unreadable in [
        image(2, "cancelled", &newer_reason),
        image(2, "status_of_a_newer_release", &refunds),
        json!({"schema": {"N": "2"}}),
    ] {
        let mut next = image(3, "cancelled", &refunds);
        next["newer"] = json!({"S": "an unknown attribute"});
        let batch = batch_of(&[image(1, "cancelled", &refunds[..1]), unreadable, next]);
        let records = stream::read(&batch).unwrap();
        let (sink, requests) = recording_sink();
        let deadline = Instant::now() + Duration::from_mins(1);
        let not_done = order_relay::relay(&sink, clock::now(), deadline, &records).await;
        assert_eq!(not_done, None);

        let requests = requests.lock().unwrap();
        let [dead_letter, published] = &requests[..] else { panic!("{requests:#?}") };
        assert_eq!(dead_letter["MessageBody"], records[0].raw);
        let [event] = &published["Entries"].as_array().unwrap()[..] else { panic!("{published}") };
        assert_eq!(event["DetailType"], "OrderCancelled");
        let detail: Value = serde_json::from_str(event["Detail"].as_str().unwrap()).unwrap();
        assert_eq!((&detail["version"], &detail["status"]), (&json!(3), &json!("cancelled")));
        let due =
            |(payment, reason)| json!({"paymentId": payment, "reason": reason, "state": "due"});
        assert_eq!(detail["refunds"], json!(refunds.map(due)));
    }
}

//! The relay and its AWS requests.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat};
use metrics_util::debugging::DebuggingRecorder;
use order_relay::sink::{AwsRelaySink, RelaySink};
use orders_domain::{Command, NewOrder, Order, Price, Ticket, Timestamp};
use orders_lambda::{
    clock,
    stream::{self, Change, Content, Record},
};
use orders_testing::{after, at, new_order, order_id, order_with_hold, pay, ticket};
use orders_tests::{aws_responses, events::TIME_TO_PAY};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::new_metrics;

/// The start of a payment at second 10.
fn start() -> Command {
    Command::StartPayment { sent_at: at(10), time_to_pay: TIME_TO_PAY, now: at(10) }
}

fn refund(payment_id: &str) -> Command {
    Command::Refund { payment_id: payment_id.parse().unwrap(), amount: None }
}

/// An order for a ticket that costs nothing, with a hold long enough for a schedule.
fn free_order() -> Order {
    let gift = Ticket { price: Price::from_minor(0).unwrap(), ..ticket("ticket-1", 0) };
    let hold = Duration::from_mins(10);
    Order::new(NewOrder { hold, ..new_order(order_id(7), at(0)) }, gift)
}

fn rfc3339(time: Timestamp) -> String {
    let ms = i64::try_from(time.epoch_ms()).unwrap();
    let time = DateTime::from_timestamp_millis(ms).unwrap();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[tokio::test]
async fn relay_counts_each_event_with_its_lag() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let sink = aws_responses::relay_sink(aws_responses::success);
    let mut changes = vec![
        (None, order_with_hold(7, 30), &["OrdersPlaced 1"][..]),
        (None, free_order(), &["OrdersPaid 1"]),
    ];
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
        (vec![Command::Cancel, pay.clone()], &["RefundsDue 1"]),
        (vec![wrong_amount], &["RefundsDue 1", "WrongAmounts 1"]),
        (vec![start()], &["OrdersExtended 1"]),
        (vec![pay.clone(), refund("p1")], &["OrdersRefunded 1"]),
        (vec![Command::Cancel, pay.clone(), refund("p1")], &["RefundsSettled 1"]),
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
        let content = Ok(Content::Change(Box::new(Change { before, after, at: written_at })));
        let record = Record { raw: "", sequence_number: "1".to_owned(), content };
        let deadline = Instant::now() + Duration::from_mins(1);
        assert_eq!(order_relay::relay(&sink, now, deadline, &[record]).await, None);
        let mut expected = [names, &["EventsPublished 1", "RelayLag 250"]].concat();
        expected.sort_unstable();
        assert_eq!(new_metrics(&recorder), expected);
    }
}

/// An order removed by hand is an order that no event mentions again; one that has been kept long
/// enough is not.
#[tokio::test]
async fn relay_counts_orders_removed_by_hand() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let sink = aws_responses::relay_sink(|operation, _| panic!("{operation} for a removed order"));
    for (content, expected) in
        [(Content::Removed, &["OrdersRemoved 1"][..]), (Content::Forgotten, &[])]
    {
        let record =
            Record { raw: "", sequence_number: "1".to_owned(), content: Ok(content.clone()) };
        let deadline = Instant::now() + Duration::from_mins(1);
        assert_eq!(order_relay::relay(&sink, at(0), deadline, &[record]).await, None);
        assert_eq!(new_metrics(&recorder), expected, "{content:?}");
    }
}

/// The count of published events starts at 0 with each batch: a relay that publishes nothing has data too.
#[test]
fn change_is_counted_if_it_needs_an_event() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (placed, at) = (order_with_hold(7, 30), at(0));
    let cancelled = after(&placed, &Command::Cancel);
    let change = |before: Option<&Order>, after: &Order| {
        let change = Change { before: before.cloned(), after: after.clone(), at };
        Ok(Content::Change(Box::new(change)))
    };
    for (content, expected) in [
        (change(None, &placed), &["ChangesReceived 1", "EventsPublished 0"][..]),
        (change(Some(&placed), &cancelled), &["ChangesReceived 1", "EventsPublished 0"]),
        // An operator has changed an attribute that is no part of an event.
        (change(Some(&placed), &placed), &["EventsPublished 0"]),
        (Ok(Content::Forgotten), &["EventsPublished 0"]),
        (Ok(Content::Removed), &["EventsPublished 0"]),
        (Err("unreadable".into()), &["ChangesReceived 1", "EventsPublished 0"]),
    ] {
        let record = Record { raw: "", sequence_number: "1".to_owned(), content };
        metrics::gauge!("EventsPublished").set(7);
        stream::count_changes(&[record]);
        assert_eq!(new_metrics(&recorder), expected);
    }
}

/// Records of placements of this many orders.
fn placements(count: u8) -> Vec<Record<'static>> {
    let placement = |byte: u8| {
        let after = order_with_hold(byte, 30);
        let change = Change { before: None, at: after.created_at, after };
        let content = Ok(Content::Change(Box::new(change)));
        Record { raw: "", sequence_number: byte.to_string(), content }
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
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
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
    assert!(new_metrics(&recorder).contains(&"EventsPublished 2".to_owned()));
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
    for ((entry, (order_id, expires_at)), delay) in
        entries.iter().zip(&expiries).zip([0..=0, 1..=30, 900..=900])
    {
        let body: Value = serde_json::from_str(entry["MessageBody"].as_str().unwrap()).unwrap();
        let expected = json!({"orderId": order_id.to_string(), "expiresAt": rfc3339(*expires_at)});
        assert_eq!(body, expected);
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
        let expiry = (order.id, order.expires_at);
        let made = sink.schedule_expiry(expiry, at(540)).await;
        let gone = sink.unschedule_expiry(expiry).await;
        assert_eq!((made.is_ok(), gone.is_ok()), expected, "{code}");
    }
}

/// Relays one change at this second. Returns the operations with their requests.
async fn relay_change(before: Option<&Order>, after: &Order, seconds: u64) -> Vec<(String, Value)> {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&calls);
    let sink = aws_responses::relay_sink(move |operation, request| {
        recorded.lock().unwrap().push((operation.to_owned(), request.clone()));
        aws_responses::success(operation, request)
    });
    let change = Change { before: before.cloned(), after: after.clone(), at: at(seconds) };
    let sequence_number = "1".to_owned();
    let content = Ok(Content::Change(Box::new(change)));
    let record = Record { raw: "", sequence_number, content };
    let deadline = Instant::now() + Duration::from_mins(1);
    assert_eq!(order_relay::relay(&sink, at(seconds), deadline, &[record]).await, None);
    std::mem::take(&mut *calls.lock().unwrap())
}

/// Checks that the first call publishes this event only. Returns its detail.
#[track_caller]
fn published(calls: &[(String, Value)], detail_type: &str) -> Value {
    let (operation, request) = &calls[0];
    assert_eq!(operation, "PutEvents");
    let [event] = &request["Entries"].as_array().unwrap()[..] else { panic!("{request}") };
    assert_eq!(event["DetailType"], detail_type);
    serde_json::from_str(event["Detail"].as_str().unwrap()).unwrap()
}

/// The timer of the order's `expires_at`: name of its schedule, and message.
fn timer(order: &Order) -> (Value, Value) {
    let name = format!("{}-{}", order.id, order.expires_at.epoch_ms());
    let message = json!({"orderId": order.id.to_string(), "expiresAt": rfc3339(order.expires_at)});
    (json!(name), message)
}

/// Checks that this call sets the order's timer, a minute before the end of the hold.
#[track_caller]
fn assert_scheduled((operation, request): &(String, Value), order: &Order) {
    let (name, message) = timer(order);
    assert_eq!((operation.as_str(), &request["Name"]), ("CreateSchedule", &name));
    let lead = order.expires_at.epoch_ms() - 60_000;
    let fires_at = rfc3339(Timestamp::from_epoch_ms(lead).unwrap());
    let expected = format!("at({})", &fires_at[..19]);
    assert_eq!(request["ScheduleExpression"], json!(expected));
    let input: Value = serde_json::from_str(request["Target"]["Input"].as_str().unwrap()).unwrap();
    assert_eq!(input, message);
    assert_eq!(request["ActionAfterCompletion"], "DELETE");
}

/// Checks that the second of two calls deletes the order's timer.
#[track_caller]
fn assert_unscheduled(calls: &[(String, Value)], order: &Order) {
    let [_, (operation, request)] = calls else { panic!("{calls:#?}") };
    assert_eq!((operation.as_str(), &request["Name"]), ("DeleteSchedule", &timer(order).0));
}

/// With the default parameters: the hold of 30 s has a delayed message, the longer hold a schedule.
#[tokio::test]
async fn extension_sets_a_timer_of_its_own() {
    for hold_seconds in [30, 200] {
        let order = order_with_hold(7, hold_seconds);
        let extended = after(&order, &start());
        assert_ne!(timer(&order), timer(&extended));
        // Without the old image the new state decides.
        for before in [Some(&order), None] {
            let calls = relay_change(before, &extended, 10).await;
            let detail = published(&calls, "OrderExtended");
            assert_eq!(detail["status"], "awaiting_payment");
            assert_eq!(
                (&detail["version"], &detail["expiresAt"]),
                (&json!(1), &json!(rfc3339(at(310))))
            );
            // The timer before it is obsolete and deletes itself.
            assert_eq!(calls.len(), 2, "{calls:#?}");
            assert_scheduled(&calls[1], &extended);
        }
    }
}

/// The relay was late.
#[tokio::test]
async fn timer_of_a_near_end_is_a_delayed_message() {
    let order = order_with_hold(7, 30);
    let extended = after(&order, &start());
    for (changed, before, seconds) in [(&order, None, 0), (&extended, Some(&order), 241)] {
        let calls = relay_change(before, changed, seconds).await;
        let [_, (operation, request)] = &calls[..] else { panic!("{calls:#?}") };
        assert_eq!(operation, "SendMessageBatch");
        let [entry] = &request["Entries"].as_array().unwrap()[..] else { panic!("{request}") };
        let body: Value = serde_json::from_str(entry["MessageBody"].as_str().unwrap()).unwrap();
        assert_eq!(body, timer(changed).1);
    }
}

#[tokio::test]
async fn final_status_deletes_the_timer_of_the_current_end() {
    let order = order_with_hold(7, 30);
    let extended = after(&order, &start());
    for (command, detail_type) in [
        (pay("p1", &order, 20), "OrderPaid"),
        (Command::Cancel, "OrderCancelled"),
        (Command::Expire { now: at(310) }, "OrderExpired"),
    ] {
        let ended = after(&extended, &command);
        let calls = relay_change(Some(&extended), &ended, 310).await;
        assert_eq!(published(&calls, detail_type)["expiresAt"], rfc3339(at(310)));
        assert_unscheduled(&calls, &extended);
    }
    // A hold too short for a schedule has none.
    let ended = after(&order, &Command::Cancel);
    assert_eq!(relay_change(Some(&order), &ended, 20).await.len(), 1);
}

#[tokio::test]
async fn free_order_is_published_as_paid_and_has_no_timer() {
    let order = free_order();
    let calls = relay_change(None, &order, 0).await;
    assert_eq!(calls.len(), 1, "{calls:#?}");
    let detail = published(&calls, "OrderPaid");
    assert_eq!((&detail["version"], &detail["status"]), (&json!(0), &json!("paid")));
    assert_eq!((detail.get("paidBy"), detail.get("paymentId")), (None, None));
    assert_eq!(detail["metadata"]["causationId"], "request-1");

    let cancelled = after(&order, &Command::Cancel);
    let calls = relay_change(Some(&order), &cancelled, 5).await;
    assert_eq!(published(&calls, "OrderCancelled")["version"], 1);
}

#[tokio::test]
async fn refunds_are_published_without_a_timer() {
    let order = order_with_hold(7, 600);
    let paid = after(&order, &pay("p1", &order, 1));
    let owing = after(&paid, &pay("p2", &order, 2));
    let settled = after(&owing, &refund("p2"));
    let calls = relay_change(Some(&owing), &settled, 5).await;
    assert_eq!(calls.len(), 1, "{calls:#?}");
    let detail = published(&calls, "OrderRefundSettled");
    assert_eq!((&detail["status"], &detail["paidBy"]), (&json!("paid"), &json!("p1")));
    assert_eq!((&detail["paymentId"], &detail["reason"]), (&json!("p2"), &json!("already_paid")));
    let refunds = json!([{"paymentId": "p2", "reason": "already_paid", "state": "settled"}]);
    assert_eq!(detail["refunds"], refunds);

    let refunded = after(&settled, &refund("p1"));
    for before in [Some(&settled), None] {
        let calls = relay_change(before, &refunded, 6).await;
        assert_eq!(calls.len(), 1, "{calls:#?}");
        let detail = published(&calls, "OrderRefunded");
        assert_eq!((&detail["status"], &detail["version"]), (&json!("refunded"), &json!(4)));
        assert_eq!((&detail["paymentId"], &detail["paidBy"]), (&json!("p1"), &json!("p1")));
        assert_eq!((detail.get("reason"), &detail["refunds"]), (None, &refunds));
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

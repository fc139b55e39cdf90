//! Batches of the queues and of the orders table's stream, in process.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lambda_events::sqs::SqsEvent;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use order_relay::sink::{AwsRelaySink, RelaySink};
use orders_domain::{Command, Lock, OrderStore, Status, TicketId, TicketReplica, Timestamp};
use orders_lambda::{
    BoxError, clock,
    queue::{Message, Outcome, Visibility, process},
    stream::{self, Change, Record},
};
use orders_testing::{MemoryStore, after, commit, order_with_hold, place};
use orders_tests::{aws_responses, gateway::context, stale_read_store::StaleReadStore};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Records the receipt handles and the visibility timeouts.
#[derive(Default)]
struct RecordedVisibility(Mutex<Vec<(String, Duration)>>);

impl Visibility for RecordedVisibility {
    async fn set_visibility_timeout(
        &self,
        receipt_handle: &str,
        time: Duration,
    ) -> Result<(), BoxError> {
        self.0.lock().unwrap().push((receipt_handle.to_owned(), time));
        Ok(())
    }
}

fn ticket_event(kind: &str, version: u64) -> String {
    let mut event: Value =
        serde_json::from_str(include_str!("../support/fixtures/ticket_created.json")).unwrap();
    event["detail-type"] = json!(kind);
    event["detail"]["version"] = json!(version);
    event.to_string()
}

/// A batch of messages `m0`, `m1`, ... with receipt handles `r0`, `r1`, ...
fn batch(bodies: &[&str]) -> SqsEvent {
    let mut event: Value =
        serde_json::from_str(include_str!("../support/fixtures/sqs_batch.json")).unwrap();
    let record = event["Records"][0].clone();
    let records = bodies.iter().enumerate().map(|(number, body)| {
        let mut record = record.clone();
        record["messageId"] = json!(format!("m{number}"));
        record["receiptHandle"] = json!(format!("r{number}"));
        record["body"] = json!(body);
        record
    });
    event["Records"] = records.collect();
    serde_json::from_value(event).unwrap()
}

/// Returns the ids of the failed messages, and the visibility timeouts.
async fn deliver(store: &MemoryStore, batch: &SqsEvent) -> (Vec<String>, Vec<(String, Duration)>) {
    let delays = RecordedVisibility::default();
    let handler = async |message: Message<'_>| ticket_events::handle(store, message).await;
    let response = process(batch, &context(), clock::now(), &delays, &handler).await.unwrap();
    let failed = response.batch_item_failures.into_iter().map(|failure| failure.item_identifier);
    (failed.collect(), delays.0.into_inner().unwrap())
}

async fn stored_version(store: &MemoryStore) -> Option<u64> {
    let id: TicketId = "ticket-1".parse().unwrap();
    let replica = store.find_ticket(&id).await.unwrap();
    replica.map(|replica| replica.ticket.version.number())
}

#[tokio::test]
async fn invalid_message_does_not_block_its_batch() {
    let store = MemoryStore::default();
    let created = ticket_event("TicketCreated", 0);
    let updated = ticket_event("TicketUpdated", 1);
    let (failed, delays) = deliver(&store, &batch(&[&created, "not json", "", &updated])).await;
    assert_eq!(failed, ["m1", "m2"]);
    // A retry would not help: no visibility timeout.
    let immediate = |handle: &str| (handle.to_owned(), Duration::ZERO);
    assert_eq!(delays, [immediate("r1"), immediate("r2")]);
    assert_eq!(stored_version(&store).await, Some(1));
}

#[tokio::test]
async fn ticket_event_after_a_gap_is_retried_later() {
    let store = MemoryStore::default();
    let created = ticket_event("TicketCreated", 0);
    let later = ticket_event("TicketUpdated", 2);
    let (failed, delays) = deliver(&store, &batch(&[&created, &later, &created])).await;
    assert_eq!(failed, ["m1"]);
    assert_eq!(delays, [("r1".to_owned(), Duration::from_secs(2))]);
    assert_eq!(stored_version(&store).await, Some(0));
}

#[tokio::test]
async fn unfinished_messages_stay_after_the_deadline() {
    let created = ticket_event("TicketCreated", 0);
    let mut context = context();
    context.deadline = 0;
    let handler = async |_: Message<'_>| std::future::pending().await;
    let event = batch(&[&created, &created]);
    let response =
        process(&event, &context, clock::now(), &RecordedVisibility::default(), &handler)
            .await
            .unwrap();
    let failed: Vec<_> = response
        .batch_item_failures
        .iter()
        .map(|failure| failure.item_identifier.as_str())
        .collect();
    assert_eq!(failed, ["m0", "m1"]);
}

#[tokio::test]
async fn message_without_an_id_fails_the_batch() {
    let mut event = batch(&["not json"]);
    event.records[0].message_id = Some(String::new());
    let handler = async |_: Message<'_>| panic!("called for a message without an id");
    assert!(
        process(&event, &context(), clock::now(), &RecordedVisibility::default(), &handler)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn late_payment_retries_after_a_stale_lock_read() {
    let store = StaleReadStore::default();
    let order = order_with_hold(7, 30);
    place(&store, &order).await;
    commit(&store, &order, &Command::Expire { now: order.expires_at }).await;
    let lock = Lock::Held { by: order.id, until: order.expires_at };
    store.old_tickets.lock().unwrap().push(TicketReplica { ticket: order.ticket.clone(), lock });

    let detail = json!({"id": "p1", "orderId": order.id.to_string()});
    let body = json!({"source": "payments", "detail-type": "PaymentCreated", "detail": detail})
        .to_string();
    // The hold is still active by this function's clock.
    let message = Message { body: &body, receive_count: 1 };
    let outcome = payment_events::handle(&store, order.created_at, message).await.unwrap();
    assert_eq!(outcome, Outcome::Done);
    let paid = store.find(order.id).await.unwrap().unwrap();
    assert_eq!((paid.status.name(), paid.refunds_due.len()), ("paid", 0));
}

/// A stream record with these images.
fn record(old: Option<&Value>, new: Option<&Value>) -> String {
    let mut batch: Value =
        serde_json::from_str(include_str!("../support/fixtures/stream_batch.json")).unwrap();
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
        serde_json::from_str(include_str!("../support/fixtures/stream_batch.json")).unwrap();
    let image = &batch["Records"][0]["dynamodb"]["NewImage"];
    let mut cancelled = image.clone();
    cancelled["status"] = json!({"S": "cancelled"});
    cancelled["version"] = json!({"N": "1"});
    let text = record(Some(image), Some(&cancelled));
    let records = stream::read(&text).unwrap();
    assert_eq!(records[0].sequence_number, "222");
    let change = records[0].change.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(change.before, Some(order_with_hold(7, 30)));
    assert_eq!((&change.after.status, change.after.version.number()), (&Status::Cancelled, 1));
}

#[test]
fn record_without_a_new_image_is_not_a_removal() {
    let batch =
        include_str!("../support/fixtures/stream_batch.json").replace("NewImage", "NwImage");
    let records = stream::read(&batch).unwrap();
    assert!(records[0].change.is_err());
}

#[test]
fn invalid_row_can_be_repaired_or_removed() {
    let batch: Value =
        serde_json::from_str(include_str!("../support/fixtures/stream_batch.json")).unwrap();
    let valid = &batch["Records"][0]["dynamodb"]["NewImage"];
    let invalid = json!({"id": {"S": "x"}});
    let change_of = |old, new| {
        let text = record(old, new);
        let records = stream::read(&text).unwrap();
        let change = records.into_iter().next().unwrap().change;
        change.map(|change| change.map(|change| (change.before, change.after)))
    };
    assert_eq!(
        change_of(Some(&invalid), Some(valid)).unwrap(),
        Some((None, order_with_hold(7, 30)))
    );
    assert_eq!(change_of(Some(&invalid), None).unwrap(), None);
    assert!(change_of(Some(valid), Some(&invalid)).is_err());
    assert!(change_of(None, Some(&invalid)).is_err());
}

/// The metrics since the last call, as `name value`, sorted.
fn new_metrics(recorder: &DebuggingRecorder) -> Vec<String> {
    let snapshot = recorder.snapshotter().snapshot().into_vec();
    let mut metrics: Vec<_> = snapshot
        .into_iter()
        .flat_map(|(key, _, _, value)| {
            let values = match value {
                DebugValue::Counter(0) => Vec::new(),
                DebugValue::Counter(count) => vec![count.to_string()],
                DebugValue::Gauge(value) => vec![value.to_string()],
                DebugValue::Histogram(values) => values.iter().map(ToString::to_string).collect(),
            };
            let name = key.key().name().to_owned();
            values.into_iter().map(move |value| format!("{name} {value}"))
        })
        .collect();
    metrics.sort();
    metrics
}

#[tokio::test]
async fn version_gap_metric_counts_only_applied_gaps() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let store = MemoryStore::default();
    for (kind, version, receive_count, expected) in [
        ("TicketCreated", 0, 1, &[][..]),
        ("TicketUpdated", 1, 3, &[]),
        ("TicketUpdated", 5, 1, &[]),
        ("TicketUpdated", 5, 3, &["TicketVersionGaps 1"]),
        ("TicketUpdated", 4, 3, &[]),
    ] {
        let body = ticket_event(kind, version);
        ticket_events::handle(&store, Message { body: &body, receive_count }).await.unwrap();
        assert_eq!(
            new_metrics(&recorder),
            expected,
            "{kind} {version}, received {receive_count} times"
        );
    }
}

#[tokio::test]
async fn relay_counts_each_event_with_its_lag() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let sink = aws_responses::relay_sink(aws_responses::success);
    let mut changes = vec![(None, order_with_hold(7, 30), "OrdersPlaced")];
    let pay = |payment: &str| Command::Pay {
        payment_id: payment.parse().unwrap(),
        ticket_is_free: false,
    };
    for (commands, name) in [
        (vec![pay("p1")], "OrdersPaid"),
        (vec![Command::Cancel], "OrdersCancelled"),
        (vec![Command::Expire { now: Timestamp::MAX }], "OrdersExpired"),
        (vec![Command::Cancel, pay("p1")], "RefundsDue"),
    ] {
        let mut orders = vec![order_with_hold(7, 30)];
        for command in &commands {
            orders.push(after(orders.last().unwrap(), command));
        }
        let after = orders.pop().unwrap();
        changes.push((orders.pop(), after, name));
    }
    for (before, after, name) in changes {
        let written_at = after.created_at;
        let now = written_at.plus(Duration::from_millis(250));
        let change = Ok(Some(Change { before, after, at: written_at }));
        let record = Record { raw: "", sequence_number: "1".to_owned(), change };
        let deadline = Instant::now() + Duration::from_mins(1);
        assert_eq!(order_relay::relay(&sink, now, deadline, &[record]).await, None);
        assert_eq!(new_metrics(&recorder), [format!("{name} 1"), "RelayLag 250".to_owned()]);
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

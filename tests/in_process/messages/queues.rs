//! Batches of a queue, and ticket events.

use std::{cell::RefCell, time::Duration};

use lambda_http::Context;
use metrics_util::debugging::DebuggingRecorder;
use orders_domain::{OrderStore, Status, TicketId, Timestamp};
use orders_lambda::{
    clock,
    queue::{Failure, Message, Outcome, process},
};
use orders_testing::{MemoryStore, at, order, place};
use orders_tests::{events::PAYMENT_LIMITS, gateway::context};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    RecordedQueue, Results, batch, deliver, deliver_from, is_rejected, new_metrics, waits,
    with_detail,
};

/// Age of an event whose missing events had time to arrive.
const LATER: Duration = Duration::from_secs(10);

fn ticket_event(kind: &str, version: u64) -> String {
    let mut event: Value =
        serde_json::from_str(include_str!("../../support/fixtures/ticket_created.json")).unwrap();
    event["detail-type"] = json!(kind);
    event["detail"]["version"] = json!(version);
    event.to_string()
}

/// The withdrawal of the same ticket.
fn withdrawal(version: u64) -> String {
    let event = include_str!("../../support/fixtures/ticket_withdrawn.json");
    with_detail(&serde_json::from_str(event).unwrap(), "version", &json!(version)).to_string()
}

async fn is_on_sale(store: &MemoryStore) -> bool {
    let id: TicketId = "ticket-1".parse().unwrap();
    let replica = store.find_ticket(&id).await.unwrap();
    replica.is_some_and(|replica| replica.sale.ticket().is_some())
}

async fn handle_tickets(store: &MemoryStore, bodies: &[&str]) -> Results {
    deliver(bodies, async |message| ticket_events::handle(store, message).await).await
}

async fn stored_version(store: &MemoryStore) -> Option<u64> {
    let id: TicketId = "ticket-1".parse().unwrap();
    let replica = store.find_ticket(&id).await.unwrap();
    replica.map(|replica| replica.sale.version().number())
}

#[tokio::test]
async fn invalid_message_does_not_block_its_batch() {
    let store = MemoryStore::default();
    let created = ticket_event("TicketCreated", 0);
    let updated = ticket_event("TicketUpdated", 1);
    let (stay, dead) = handle_tickets(&store, &[&created, "not json", "", &updated]).await;
    assert_eq!(stay, [""; 0]);
    assert_eq!(dead, ["m1", "m2"]);
    assert_eq!(stored_version(&store).await, Some(1));
}

#[tokio::test]
async fn ticket_event_after_a_gap_is_retried_later() {
    let store = MemoryStore::default();
    let created = ticket_event("TicketCreated", 0);
    let later = ticket_event("TicketUpdated", 2);
    let (stay, dead) = handle_tickets(&store, &[&created, &later, &created]).await;
    assert_eq!(stay, ["m1"]);
    assert_eq!(dead, [""; 0]);
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
        process(&event, &context, clock::now(), &RecordedQueue::default(), &handler).await.unwrap();
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
        process(&event, &context(), clock::now(), &RecordedQueue::default(), &handler)
            .await
            .is_err()
    );
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
        let message = Message { receive_count, age: LATER, ..Message::new(&body) };
        ticket_events::handle(&store, message).await.unwrap();
        assert_eq!(
            new_metrics(&recorder),
            expected,
            "{kind} {version}, received {receive_count} times"
        );
    }
}

/// Waits of a message by the number of its receives. An early message has not failed.
#[tokio::test]
async fn wait_of_a_message_doubles_up_to_320_seconds() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let waits =
        [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 320), (8, 320), (999, 320)];
    for (receive_count, seconds) in waits {
        let (mut event, now) = (batch(&["early", "failing"]), clock::now());
        for message in &mut event.records {
            let count = ("ApproximateReceiveCount".to_owned(), receive_count.to_string());
            let sent = ("SentTimestamp".to_owned(), (now.epoch_ms() - 7_000).to_string());
            message.attributes.extend([count, sent]);
        }
        let handler = async |message: Message<'_>| match message.body {
            "early" => Ok(Outcome::Retry("its cause is missing")),
            _ => Err(Failure::Transient("throttled".into())),
        };
        let queue = RecordedQueue::default();
        let response = process(&event, &context(), now, &queue, &handler).await.unwrap();
        assert_eq!(response.batch_item_failures.len(), 2);
        let wait = |handle: &str| (handle.to_owned(), Duration::from_secs(seconds));
        assert_eq!(queue.timeouts.into_inner().unwrap(), [wait("r0"), wait("r1")]);
        let counted = ["MessagesFailed 1", "MessagesReceived 2", "RetriedAge 7", "RetriedAge 7"];
        assert_eq!(new_metrics(&recorder), counted);
    }
}

/// Only what fails is dead-lettered, however old it is.
#[tokio::test]
async fn message_that_fails_for_half_a_day_is_dead_lettered() {
    const HALF_A_DAY_MS: u64 = 43_200_000;
    let now = clock::now();
    // A message that waited for a stopped function has further attempts.
    for (age_ms, receive_count, is_dead) in
        [(HALF_A_DAY_MS, 99, false), (HALF_A_DAY_MS + 1, 3, false), (HALF_A_DAY_MS + 1, 4, true)]
    {
        let mut event = batch(&["early", "failing", "done"]);
        for message in &mut event.records {
            let sent = (now.epoch_ms() - age_ms).to_string();
            let count = ("ApproximateReceiveCount".to_owned(), receive_count.to_string());
            message.attributes.extend([("SentTimestamp".to_owned(), sent), count]);
        }
        let handler = async |message: Message<'_>| match message.body {
            "early" => Ok(Outcome::Retry("its cause is missing")),
            "failing" => Err(Failure::Transient("throttled".into())),
            _ => Ok(Outcome::Done),
        };
        let queue = RecordedQueue::default();
        let response = process(&event, &context(), now, &queue, &handler).await.unwrap();
        let (stay, dead) = if is_dead { (0, &["early", "failing"][..]) } else { (2, &[][..]) };
        assert_eq!(response.batch_item_failures.len(), stay);
        assert_eq!(*queue.dead_letters.lock().unwrap(), dead);
        assert_eq!(queue.timeouts.lock().unwrap().len(), stay);
    }
}

/// The message stays until the dead-letter queue has it.
#[tokio::test]
async fn message_that_cannot_be_dead_lettered_waits() {
    let queue = RecordedQueue { is_full: true, ..RecordedQueue::default() };
    let handler = async |_: Message<'_>| Err(Failure::Poison("invalid".into()));
    assert_eq!(deliver_from(&queue, &["not json"], handler).await, ["m0"]);
    assert_eq!(*queue.timeouts.lock().unwrap(), [("r0".to_owned(), Duration::from_secs(5))]);
}

#[tokio::test]
async fn panic_of_a_message_dead_letters_this_message_alone() {
    let queue = RecordedQueue::default();
    let handler = async |message: Message<'_>| match message.body {
        "text" => panic!("no such {}", "version"),
        "str" => panic!("no such ticket"),
        _ => Ok(Outcome::Done),
    };
    assert_eq!(deliver_from(&queue, &["valid", "text", "str", "valid"], handler).await, [""; 0]);
    assert_eq!(*queue.dead_letters.lock().unwrap(), ["text", "str"]);
}

/// The context of an invocation that ends in ten seconds.
fn ten_seconds(now: Timestamp) -> Context {
    let mut context = context();
    context.deadline = now.plus(Duration::from_secs(10)).epoch_ms();
    context
}

/// A message that hangs delays the others by milliseconds only, and leaves time to set the waits.
#[tokio::test(start_paused = true)]
async fn message_that_hangs_holds_up_no_other() {
    let started = Instant::now();
    let queue = RecordedQueue::default();
    let handler = async |message: Message<'_>| {
        if message.body == "hangs" {
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_secs(2)).await;
        Ok(Outcome::Done)
    };
    let bodies = ["hangs", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let now = clock::now();
    let response =
        process(&batch(&bodies), &ten_seconds(now), now, &queue, &handler).await.unwrap();
    assert_eq!(response.batch_item_failures.len(), 1);
    assert_eq!(*queue.timeouts.lock().unwrap(), [("r0".to_owned(), Duration::from_secs(5))]);
    assert_eq!(started.elapsed(), Duration::from_millis(8_500));
}

/// Quick messages share one connection; the start of a message waits for no slow one.
#[tokio::test(start_paused = true)]
async fn message_starts_when_an_earlier_one_is_done_or_after_4_ms() {
    for (takes_ms, apart_ms) in [(2, 2), (3, 3), (100, 4), (20_000, 4)] {
        let (started, starts) = (Instant::now(), RefCell::new(Vec::new()));
        let handler = async |_: Message<'_>| {
            starts.borrow_mut().push(started.elapsed().as_millis());
            sleep(Duration::from_millis(takes_ms)).await;
            Ok(Outcome::Done)
        };
        let now = clock::now();
        let queue = RecordedQueue::default();
        process(&batch(&["any"; 10]), &ten_seconds(now), now, &queue, &handler).await.unwrap();
        let expected: Vec<_> = (0..10).map(|number| number * apart_ms).collect();
        assert_eq!(starts.into_inner(), expected, "{takes_ms} ms");
    }
}

/// Without a value of 0, an alarm could not compare the failures with the messages.
#[tokio::test]
async fn batch_without_failures_counts_zero_of_them() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (store, created) = (MemoryStore::default(), ticket_event("TicketCreated", 0));
    handle_tickets(&store, &[&created, "unreadable"]).await;
    assert_eq!(new_metrics(&recorder), ["MessagesFailed 1", "MessagesReceived 2"]);
    metrics::gauge!("MessagesFailed").set(1);
    handle_tickets(&store, &[&created]).await;
    assert_eq!(new_metrics(&recorder), ["MessagesFailed 0", "MessagesReceived 1"]);
}

#[tokio::test]
async fn contradictory_ticket_event_is_rejected_and_counted() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let store = MemoryStore::default();
    let created = ticket_event("TicketCreated", 0);
    let contradiction = created.replace("25.5", "26");
    assert_ne!(contradiction, created);
    let bodies = [&created, &contradiction, &created.replace("25.5", "25.500000000000004")];
    let results = handle_tickets(&store, &bodies.map(String::as_str)).await;
    assert_eq!(results, (Vec::new(), vec!["m1".to_owned()]));
    assert_eq!(
        new_metrics(&recorder),
        ["MessagesFailed 1", "MessagesReceived 3", "TicketContradictions 1"]
    );
    let id: TicketId = "ticket-1".parse().unwrap();
    let stored = store.find_ticket(&id).await.unwrap().unwrap().sale;
    assert_eq!(stored.ticket().unwrap().price.minor(), 2_550);
}

#[tokio::test]
async fn withdrawal_ends_the_sale_until_a_newer_event() {
    let store = MemoryStore::default();
    let none: Results = (Vec::new(), Vec::new());
    let fixture = include_str!("../../support/fixtures/ticket_withdrawn.json");
    let created = ticket_event("TicketCreated", 0);
    assert_eq!(handle_tickets(&store, &[&created, fixture, fixture, &created]).await, none);
    assert_eq!((is_on_sale(&store).await, stored_version(&store).await), (false, Some(1)));
    let updated = ticket_event("TicketUpdated", 2);
    assert_eq!(handle_tickets(&store, &[&updated, fixture, &updated]).await, none);
    assert_eq!((is_on_sale(&store).await, stored_version(&store).await), (true, Some(2)));
}

#[tokio::test]
async fn withdrawal_waits_for_the_missing_events() {
    let store = MemoryStore::default();
    assert_eq!(handle_tickets(&store, &[&withdrawal(1)]).await, waits());
    assert_eq!(stored_version(&store).await, None);
    let created = ticket_event("TicketCreated", 0);
    assert_eq!(handle_tickets(&store, &[&withdrawal(3), &created]).await, waits());
    assert!(is_on_sale(&store).await);
    let late = [withdrawal(1), ticket_event("TicketUpdated", 2), withdrawal(3)];
    let late = late.each_ref().map(String::as_str);
    assert_eq!(handle_tickets(&store, &late).await, (Vec::new(), Vec::new()));
    assert_eq!((is_on_sale(&store).await, stored_version(&store).await), (false, Some(3)));
}

/// Also that of a ticket never seen.
#[tokio::test]
async fn withdrawal_over_a_gap_is_applied_on_the_third_receive_and_counted() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let created = ticket_event("TicketCreated", 0);
    for earlier in [None, Some(&created)] {
        let store = MemoryStore::default();
        let body = withdrawal(3);
        for body in earlier.into_iter().chain([&body]) {
            let message = Message { receive_count: 3, age: LATER, ..Message::new(body) };
            ticket_events::handle(&store, message).await.unwrap();
        }
        assert_eq!((is_on_sale(&store).await, stored_version(&store).await), (false, Some(3)));
        assert_eq!(new_metrics(&recorder), ["TicketVersionGaps 1"]);
    }
}

#[tokio::test]
async fn withdrawal_that_contradicts_its_version_is_rejected_and_counted() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let created = ticket_event("TicketCreated", 0);
    let updated = ticket_event("TicketUpdated", 1);
    for (first, second) in [(&withdrawal(1), &updated), (&updated, &withdrawal(1))] {
        let store = MemoryStore::default();
        let results = handle_tickets(&store, &[&created, first, second, first]).await;
        assert_eq!(results, (Vec::new(), vec!["m2".to_owned()]));
        assert_eq!(is_on_sale(&store).await, first == &updated);
        let expected = ["MessagesFailed 1", "MessagesReceived 4", "TicketContradictions 1"];
        assert_eq!(new_metrics(&recorder), expected);
    }
}

#[tokio::test]
async fn invalid_withdrawal_is_rejected() {
    let store = MemoryStore::default();
    let valid: Value = serde_json::from_str(&withdrawal(1)).unwrap();
    let invalid = [
        with_detail(&valid, "id", &Value::Null),
        with_detail(&valid, "id", &json!("")),
        with_detail(&valid, "id", &json!("a b")),
        with_detail(&valid, "id", &json!(7)),
        with_detail(&valid, "version", &Value::Null),
        with_detail(&valid, "version", &json!(-1)),
        with_detail(&valid, "version", &json!(1.5)),
        with_detail(&valid, "version", &json!("1")),
        with_detail(&valid, "version", &json!(9_007_199_254_740_992_u64)),
    ];
    let mut invalid = invalid.map(|event| event.to_string()).to_vec();
    invalid.push(valid.to_string().replace("\"tickets\"", "\"payments\""));
    invalid.push(valid.to_string().replace("TicketWithdrawn", "TicketRemoved"));
    let created = ticket_event("TicketCreated", 0);
    let bodies: Vec<_> = std::iter::once(&created).chain(&invalid).map(String::as_str).collect();
    let dead = (1..=invalid.len()).map(|number| format!("m{number}")).collect();
    assert_eq!(handle_tickets(&store, &bodies).await, (Vec::new(), dead));
    assert!(is_on_sale(&store).await);
}

/// The ticket keeps its price, rounded to cents, and its orders keep theirs.
#[tokio::test]
async fn price_of_a_float_is_rounded_to_cents() {
    let store = MemoryStore::default();
    let body = ticket_event("TicketCreated", 0).replace("25.5", "59.970000000000006");
    assert_eq!(handle_tickets(&store, &[&body]).await.0, [""; 0]);
    let id: TicketId = "ticket-1".parse().unwrap();
    let stored = store.find_ticket(&id).await.unwrap().unwrap().sale;
    assert_eq!(stored.ticket().unwrap().price.minor(), 5_997);
}

#[tokio::test]
async fn event_of_another_service_is_rejected() {
    let store = MemoryStore::default();
    let body = ticket_event("TicketCreated", 0).replace("\"tickets\"", "\"payments\"");
    assert_eq!(handle_tickets(&store, &[&body]).await, is_rejected());
    assert_eq!(stored_version(&store).await, None);
}

/// Messages as `EventBridge`, the relay and `EventBridge` Scheduler delivered them.
#[tokio::test]
async fn messages_of_the_first_edition_are_handled() {
    let order = order(1);
    let envelope = |kind: &str, source: &str, detail: Value| {
        json!({
            "version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "detail-type": kind,
            "source": source, "account": "111122223333", "time": "2023-11-14T22:13:21Z",
            "region": "eu-central-1", "resources": [], "detail": detail,
        })
        .to_string()
    };
    let ticket = json!({"id": "ticket-1", "title": "Concert", "price": 19.9, "version": 0});
    let payment = json!({"id": "p1", "orderId": order.id.to_string()});
    let expiry = json!({"orderId": order.id.to_string()}).to_string();
    let none: Results = (Vec::new(), Vec::new());

    let store = MemoryStore::default();
    let body = envelope("TicketCreated", "tickets", ticket);
    assert_eq!(handle_tickets(&store, &[&body]).await, none);
    place(&store, &order).await;
    let payments = async |message: Message<'_>| {
        payment_events::handle(&store, PAYMENT_LIMITS, at(1), message).await
    };
    let body = envelope("PaymentCreated", "payments", payment);
    assert_eq!(deliver(&[&body, &body], payments).await, none);
    let paid = store.find(order.id).await.unwrap().unwrap();
    assert_eq!((paid.status.name(), paid.version.number()), ("paid", 1));

    let store = MemoryStore::default();
    place(&store, &order).await;
    let expiries =
        async |message: Message<'_>| expire_orders::handle(&store, at(30), message).await;
    assert_eq!(deliver(&[&expiry, &expiry], expiries).await, none);
    assert_eq!(store.find(order.id).await.unwrap().unwrap().status, Status::Expired);
}

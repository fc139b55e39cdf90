//! Timers of holds.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics_util::debugging::DebuggingRecorder;
use orders_contracts::ExpiryMessage;
use orders_domain::{Command, Order, OrderStore, Status, Timestamp};
use orders_lambda::queue::{Message, Queue};
use orders_testing::{MemoryStore, at, commit, order, order_id, order_with_hold, place};
use orders_tests::{
    aws_responses,
    events::{self, TIME_TO_PAY},
};
use serde_json::json;

use crate::{
    RecordedQueue, deliver_from, new_metrics,
    payments::{book, stored},
};

fn timer_at(order: &Order, expires_at: Option<Timestamp>) -> String {
    ExpiryMessage { order_id: order.id, expires_at }.to_text().unwrap()
}

/// The timer of the order's end.
fn timer(order: &Order) -> String {
    timer_at(order, Some(order.expires_at))
}

/// Delivers messages from the queue at this second. Returns the ids of those that stay in it.
async fn fire(
    store: &MemoryStore,
    queue: &RecordedQueue,
    bodies: &[&str],
    seconds: u64,
) -> Vec<String> {
    deliver_from(queue, bodies, async |message: Message<'_>| {
        expire_orders::handle(store, at(seconds), message).await
    })
    .await
}

/// Delivers a timer that is done without another message.
async fn fire_done(store: &MemoryStore, body: &str, seconds: u64) {
    let queue = RecordedQueue::default();
    assert_eq!(fire(store, &queue, &[body], seconds).await, [""; 0]);
    assert_eq!(queue.sent.into_inner().unwrap(), []);
}

async fn placed_for(hold_seconds: u64) -> (MemoryStore, Order) {
    let (store, order) = (MemoryStore::default(), order_with_hold(1, hold_seconds));
    place(&store, &order).await;
    (store, order)
}

/// The message is sent again, so that it does not wait in flight.
#[tokio::test]
async fn early_timer_is_replaced_by_a_delayed_message() {
    for (hold_seconds, delay) in [(30, 20), (910, 900), (911, 901), (100_000, 99_990)] {
        let (store, order) = placed_for(hold_seconds).await;
        // The first edition's timers had no time.
        for body in [timer(&order), timer_at(&order, None)] {
            let queue = RecordedQueue::default();
            assert_eq!(fire(&store, &queue, &[&body], 10).await, [""; 0]);
            let sent = queue.sent.into_inner().unwrap();
            assert_eq!(sent, [(timer(&order), Duration::from_secs(delay))]);
            assert_eq!(queue.timeouts.into_inner().unwrap(), []);
            assert_eq!(stored(&store, &order).await, order);
        }
    }
}

#[tokio::test]
async fn delay_of_a_message_is_at_most_900_seconds() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&requests);
    let queue = aws_responses::queue(move |operation, request| {
        recorded.lock().unwrap().push((operation.to_owned(), request.clone()));
        aws_responses::success(operation, request)
    });
    for (ms, delay) in [(0, 0), (999, 0), (20_999, 20), (900_000, 900), (99_990_000, 900)] {
        queue.send("body", Duration::from_millis(ms)).await.unwrap();
        let (operation, request) = requests.lock().unwrap().pop().unwrap();
        assert_eq!((operation.as_str(), &request["MessageBody"]), ("SendMessage", &json!("body")));
        assert_eq!(request["DelaySeconds"], delay);
        assert!(request["QueueUrl"].as_str().unwrap().ends_with("/queue"));
    }
    queue.dead_letter("body").await.unwrap();
    let (operation, request) = requests.lock().unwrap().pop().unwrap();
    assert_eq!((operation.as_str(), &request["MessageBody"]), ("SendMessage", &json!("body")));
    assert!(request["QueueUrl"].as_str().unwrap().ends_with("/dead-letter-queue"));
    queue.set_visibility_timeout("r0", Duration::from_secs(5)).await.unwrap();
    let (operation, request) = requests.lock().unwrap().pop().unwrap();
    assert_eq!(operation, "ChangeMessageVisibility");
    assert_eq!(
        (&request["ReceiptHandle"], &request["VisibilityTimeout"]),
        (&json!("r0"), &json!(5))
    );
}

/// SQS delivers the message after 900 s at the latest, so it is replaced several times.
#[tokio::test]
async fn long_hold_expires_after_its_messages() {
    let (store, order) = placed_for(2_000).await;
    let (mut body, mut seconds, mut messages) = (timer(&order), 0, 0);
    loop {
        let queue = RecordedQueue::default();
        assert_eq!(fire(&store, &queue, &[&body], seconds).await, [""; 0]);
        let Some((next, delay)) = queue.sent.into_inner().unwrap().pop() else { break };
        (body, messages) = (next, messages + 1);
        seconds += delay.as_secs().min(900);
    }
    assert_eq!((seconds, messages), (2_000, 3));
    assert_eq!(stored(&store, &order).await.status, Status::Expired);
}

#[tokio::test]
async fn timer_stays_if_its_message_cannot_be_sent() {
    let (store, order) = placed_for(30).await;
    let due = Order { ticket: orders_testing::ticket("ticket-2", 0), ..order_with_hold(2, 5) };
    place(&store, &due).await;
    let queue = RecordedQueue { is_full: true, ..RecordedQueue::default() };
    let bodies = [timer(&order), timer(&due)];
    let failed = fire(&store, &queue, &bodies.each_ref().map(String::as_str), 10).await;
    assert_eq!(failed, ["m0"]);
    assert_eq!(queue.timeouts.into_inner().unwrap(), [("r0".to_owned(), Duration::from_secs(5))]);
    assert_eq!(stored(&store, &due).await.status, Status::Expired);
    // It is delivered again, even after the end.
    fire_done(&store, &bodies[0], 100).await;
    assert_eq!(stored(&store, &order).await.status, Status::Expired);
}

#[tokio::test]
async fn timer_of_an_extended_hold_is_obsolete() {
    let (store, order) = placed_for(30).await;
    book(&store, events::payment_started(&order.id.to_string(), at(10)), 10).await;
    let extended = stored(&store, &order).await;
    // In time, late, and after the new end.
    for seconds in [10, 30, 310, 10_000] {
        fire_done(&store, &timer(&order), seconds).await;
        assert_eq!(stored(&store, &order).await, extended);
    }
    let queue = RecordedQueue::default();
    for body in [timer(&extended), timer_at(&order, None)] {
        assert_eq!(fire(&store, &queue, &[&body], 30).await, [""; 0]);
    }
    let delay = Duration::from_secs(280);
    let expected = [(timer(&extended), delay), (timer(&extended), delay)];
    assert_eq!(queue.sent.into_inner().unwrap(), expected);
    fire_done(&store, &timer(&extended), 310).await;
    assert_eq!(stored(&store, &order).await.status, Status::Expired);
}

/// The message of the new end overtakes that of the old one.
#[tokio::test]
async fn timers_in_any_order_expire_the_order_once() {
    let (store, order) = placed_for(30).await;
    let start = Command::StartPayment { sent_at: at(10), time_to_pay: TIME_TO_PAY, now: at(10) };
    commit(&store, &order, &start).await;
    let extended = stored(&store, &order).await;
    for body in [timer(&extended), timer(&order), timer(&extended), timer_at(&order, None)] {
        fire_done(&store, &body, 310).await;
        let expired = stored(&store, &order).await;
        assert_eq!((expired.status, expired.version.number()), (Status::Expired, 2));
    }
}

#[tokio::test]
async fn timer_of_a_final_or_unknown_order_is_obsolete() {
    let (store, order) = placed_for(30).await;
    commit(&store, &order, &Command::Cancel).await;
    let cancelled = stored(&store, &order).await;
    for seconds in [5, 30] {
        fire_done(&store, &timer(&order), seconds).await;
    }
    assert_eq!(store.find(order.id).await.unwrap(), Some(cancelled));
    fire_done(&store, &timer(&orders_testing::order(9)), 30).await;
    assert_eq!(store.find(order_id(9)).await.unwrap(), None);
}

#[tokio::test]
async fn invalid_timer_is_rejected() {
    let (store, order) = (MemoryStore::default(), order(1));
    place(&store, &order).await;
    let id = order.id.to_string();
    let bodies = [
        String::new(),
        "not json".to_owned(),
        json!({}).to_string(),
        json!({"orderId": 7}).to_string(),
        json!({"orderId": "x"}).to_string(),
        json!({"orderId": id, "expiresAt": 7}).to_string(),
        json!({"orderId": id, "expiresAt": ""}).to_string(),
        json!({"orderId": id, "expiresAt": "soon"}).to_string(),
        json!({"orderId": id, "expiresAt": "1960-01-01T00:00:00Z"}).to_string(),
    ];
    let queue = RecordedQueue::default();
    assert_eq!(fire(&store, &queue, &bodies.each_ref().map(String::as_str), 30).await, [""; 0]);
    assert_eq!(queue.dead_letters.into_inner().unwrap(), bodies);
    assert_eq!(queue.sent.into_inner().unwrap(), []);
    assert_eq!(stored(&store, &order).await, order);
}

/// Lateness is measured for the message that expires the order, and for no repeat.
#[tokio::test]
async fn expiry_measures_its_lateness_once() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (store, order) = placed_for(30).await;
    let mut measured = Vec::new();
    for _ in 0..2 {
        fire_done(&store, &timer(&order), 32).await;
        measured.extend(new_metrics(&recorder));
    }
    measured.retain(|metric| metric.starts_with("ExpiryLateness "));
    let [lateness] = &measured[..] else { panic!("{measured:?}") };
    let ms: u64 = lateness.strip_prefix("ExpiryLateness ").unwrap().parse().unwrap();
    assert!(ms >= 2_000, "{ms}");
}

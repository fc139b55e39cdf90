//! What each way through the service asks of AWS: which operations, and how many of each. docs/costs.md
//! reckons with these numbers.

mod recorder;

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use orders_contracts::ExpiryMessage;
use orders_domain::{Command, Decision, Order, OrderStore, Status, Timestamp, decide};
use orders_dynamo::DynamoStore;
use orders_lambda::{
    clock,
    queue::{Message, Outcome},
    stream::{Change, Record},
};
use orders_testing::START_MS;
use orders_tests::{
    aws_responses,
    gateway::{Api, Event},
    stores,
};
use serde_json::json;
use tokio::time::Instant;

use crate::recorder::{CallRecorder, Ledger};

/// The HTTP API on a store whose requests are counted.
async fn api() -> (Api<DynamoStore>, Ledger) {
    let sdk = stores::in_process_endpoint().await;
    let tables = stores::make_tables(&Client::new(&sdk)).await;
    let ledger = Ledger::default();
    let client = CallRecorder { inner: sdk.http_client().unwrap(), ledger: ledger.clone() };
    let sdk = sdk.into_builder().http_client(client).build();
    (Api { store: DynamoStore::new(Client::new(&sdk), tables, Duration::from_secs(4)) }, ledger)
}

async fn on_sale(store: &impl OrderStore, id: &str) {
    let detail = json!({"id": id, "title": "x".repeat(100), "price": 25.5, "version": 0});
    let body = json!({"detail-type": "TicketCreated", "detail": detail}).to_string();
    let applied = ticket_events::handle(store, Message { body: &body, receive_count: 1 }).await;
    assert_eq!(applied.unwrap(), Outcome::Done);
}

fn post(ticket: &str) -> Event {
    Event::post(&json!({ "ticketId": ticket }).to_string())
}

/// The id of a new order that holds the ticket for this long.
async fn placed(api: &Api<DynamoStore>, event: &Event, hold: Duration) -> String {
    let placed =
        event.to(|call| create_order::handle(&api.store, hold, clock::new_order_id, call)).await;
    assert_eq!(placed.status(), 201, "{placed:?}");
    placed.body()["id"].as_str().unwrap().to_owned()
}

/// The id of a new order for a new ticket, when both have been entered.
async fn entered(api: &Api<DynamoStore>, ledger: &Ledger, ticket: &str, hold: Duration) -> String {
    on_sale(&api.store, ticket).await;
    let id = placed(api, &post(ticket), hold).await;
    ledger.has(&[("GetItem", 1), ("TransactWriteItems of 2", 1), ("UpdateItem", 1)], (1.0, 6.0));
    id
}

const LONG: Duration = Duration::from_secs(30);
/// Has lapsed by the next request.
const NONE: Duration = Duration::ZERO;

async fn pay(store: &DynamoStore, order: &str, payment: &str) {
    let detail = json!({"id": payment, "orderId": order});
    let body = json!({"detail-type": "PaymentCreated", "detail": detail}).to_string();
    let message = Message { body: &body, receive_count: 1 };
    let booked = payment_events::handle(store, clock::now(), message).await;
    assert_eq!(booked.unwrap(), Outcome::Done);
}

async fn expire(store: &DynamoStore, order: &str) -> Outcome {
    let body = ExpiryMessage { order_id: order.parse().unwrap() }.to_text().unwrap();
    let message = Message { body: &body, receive_count: 1 };
    expire_orders::handle(store, clock::now(), message).await.unwrap()
}

#[tokio::test]
async fn a_ticket_event() {
    let (api, ledger) = api().await;
    on_sale(&api.store, "t1").await;
    ledger.has(&[("UpdateItem", 1)], (0.0, 1.0));
    on_sale(&api.store, "t1").await; // a repeat is refused by the table
    // It costs as much; but an error does not say so.
    ledger.has(&[("UpdateItem", 1)], (0.0, 0.0));
}

#[tokio::test]
async fn a_request_for_a_ticket() {
    let (api, ledger) = api().await;
    on_sale(&api.store, "t1").await;
    ledger.has(&[("UpdateItem", 1)], (0.0, 1.0));
    let keyed = post("t1").header("idempotency-key", "k1");

    placed(&api, &keyed, LONG).await;
    ledger.has(&[("GetItem", 1), ("TransactWriteItems of 2", 1)], (1.0, 5.0));
    placed(&api, &keyed, LONG).await; // a repeat, which finds its own lock
    ledger.has(&[("GetItem", 2)], (2.0, 0.0));
    assert_eq!(api.create(&post("t1").by("bob")).await.status(), 409);
    ledger.has(&[("GetItem", 1)], (1.0, 0.0));
    let keyed_loser = post("t1").by("bob").header("idempotency-key", "k1");
    assert_eq!(api.create(&keyed_loser).await.status(), 409);
    ledger.has(&[("GetItem", 2)], (2.0, 0.0));
    assert_eq!(api.create(&post("none")).await.status(), 404);
    ledger.has(&[("GetItem", 1)], (1.0, 0.0));
    for refused in [post("").header("content-type", "text/plain"), Event::post("{}")] {
        assert!(api.create(&refused).await.status() >= 400);
        ledger.has(&[], (0.0, 0.0));
    }
}

#[tokio::test]
async fn a_takeover() {
    let (api, ledger) = api().await;
    entered(&api, &ledger, "t1", NONE).await;
    placed(&api, &post("t1").by("bob"), LONG).await;
    ledger.has(&[("GetItem", 2), ("TransactWriteItems of 3", 1)], (2.0, 8.0));
}

#[tokio::test]
async fn a_look_and_a_list() {
    let (api, ledger) = api().await;
    let id = entered(&api, &ledger, "t1", LONG).await;
    assert_eq!(api.show(&Event::of_order("GET", &id)).await.status(), 200);
    ledger.has(&[("GetItem", 1)], (1.0, 0.0));
    assert_eq!(api.show(&Event::of_order("GET", "no-id")).await.status(), 404);
    ledger.has(&[], (0.0, 0.0));
    assert_eq!(api.list(&Event::new("GET", "/api/orders")).await.status(), 200);
    ledger.has(&[("Query", 1)], (0.5, 0.0));
}

#[tokio::test]
async fn a_cancellation() {
    let (api, ledger) = api().await;
    let id = entered(&api, &ledger, "t1", LONG).await;
    for (expected, units) in [
        (&[("GetItem", 1), ("TransactWriteItems of 2", 1)][..], (1.0, 5.0)),
        (&[("GetItem", 1)], (1.0, 0.0)),
    ] {
        assert_eq!(api.cancel(&Event::of_order("DELETE", &id)).await.status(), 204);
        ledger.has(expected, units);
    }
    pay(&api.store, &id, "p1").await; // is owed back: the order alone is written
    ledger.has(&[("GetItem", 1), ("TransactWriteItems of 1", 1)], (1.0, 3.0));
}

#[tokio::test]
async fn a_payment() {
    let (api, ledger) = api().await;
    let id = entered(&api, &ledger, "t1", LONG).await;
    for (expected, units) in [
        (&[("GetItem", 1), ("TransactWriteItems of 2", 1)][..], (1.0, 5.0)),
        (&[("GetItem", 1)], (1.0, 0.0)),
    ] {
        pay(&api.store, &id, "p1").await;
        ledger.has(expected, units);
    }
    assert_eq!(expire(&api.store, &id).await, Outcome::Done); // its timer finds nothing to do
    ledger.has(&[("GetItem", 1)], (1.0, 0.0));
}

#[tokio::test]
async fn an_expiry_and_a_payment_after_it() {
    let (api, ledger) = api().await;
    let id = entered(&api, &ledger, "t1", NONE).await;
    for (expected, units) in [
        (&[("GetItem", 1), ("TransactWriteItems of 2", 1)][..], (1.0, 5.0)),
        (&[("GetItem", 1)], (1.0, 0.0)),
    ] {
        assert_eq!(expire(&api.store, &id).await, Outcome::Done);
        ledger.has(expected, units);
    }
    pay(&api.store, &id, "p1").await;
    ledger.has(&[("GetItem", 2), ("TransactWriteItems of 2", 1)], (2.0, 5.0));

    let early = entered(&api, &ledger, "t2", LONG).await;
    assert!(matches!(expire(&api.store, &early).await, Outcome::RetryAfter(_)));
    ledger.has(&[("GetItem", 1)], (1.0, 0.0));
}

/// What a request takes when there are so many tickets, orders of this buyer, and losers of this ticket:
/// AWS calls, units read, and units written.
async fn taken_at(scale: usize) -> Vec<(&'static str, usize, f64, f64)> {
    let (api, ledger) = api().await;
    for number in 0..scale {
        let ticket = format!("old-{number}");
        on_sale(&api.store, &ticket).await;
        placed(&api, &post(&ticket), LONG).await;
    }
    on_sale(&api.store, "t1").await;
    on_sale(&api.store, "t2").await;
    ledger.take();
    let mut taken = Vec::new();
    let mut enter = |what| taken.push(ledger.take().sums(what));

    let id = placed(&api, &post("t1"), LONG).await;
    enter("placed");
    for _ in 0..scale {
        assert_eq!(api.create(&post("t1").by("bob")).await.status(), 409);
    }
    ledger.take();
    assert_eq!(api.create(&post("t1").by("bob")).await.status(), 409);
    enter("too late");
    assert_eq!(api.show(&Event::of_order("GET", &id)).await.status(), 200);
    enter("shown");
    assert_eq!(api.list(&Event::new("GET", "/api/orders")).await.status(), 200);
    enter("listed");
    assert_eq!(api.cancel(&Event::of_order("DELETE", &id)).await.status(), 204);
    enter("cancelled");
    let id = placed(&api, &post("t2"), NONE).await;
    ledger.take();
    assert_eq!(expire(&api.store, &id).await, Outcome::Done);
    enter("expired");
    pay(&api.store, &id, "p1").await;
    enter("paid");
    taken
}

#[tokio::test]
async fn a_request_takes_no_more_when_there_is_more_of_everything() {
    let (one, ten, hundred) = tokio::join!(taken_at(1), taken_at(10), taken_at(100));
    for ((one, ten), hundred) in one.iter().zip(&ten).zip(&hundred) {
        // A list grows with its orders, to a page of 20.
        let grows = if one.0 == "listed" { 0.5 } else { 0.0 };
        assert_eq!(one, ten);
        assert_eq!((ten.0, ten.1, ten.2 + grows, ten.3), *hundred);
    }
}

/// Relays ten changes of ten orders.
async fn relay(ledger: &Ledger, change: impl Fn(u8) -> (Option<Order>, Order)) {
    let now = Timestamp::from_epoch_ms(START_MS).unwrap();
    let records: Vec<_> = (0..10)
        .map(|byte| {
            let (before, after) = change(byte);
            let change = Ok(Some(Change { before, after, at: now }));
            Record { raw: "", sequence_number: byte.to_string(), change }
        })
        .collect();
    let deadline = Instant::now() + Duration::from_mins(1);
    let ledger = ledger.clone();
    let sink = aws_responses::relay_sink(move |operation, request| {
        ledger.enter_batch(operation, request, "Entries");
        aws_responses::well(operation, request)
    });
    assert_eq!(order_relay::relay(&sink, now, deadline, &records).await, None);
}

#[tokio::test]
async fn a_batch_of_ten_for_the_relay() {
    let ledger = Ledger::default();
    relay(&ledger, |byte| (None, orders_testing::order_with_hold(byte, 30))).await;
    ledger.has(&[("PutEvents of 10", 1), ("SendMessageBatch of 10", 1)], (0.0, 0.0));
    relay(&ledger, |byte| (None, orders_testing::order_with_hold(byte, 600))).await;
    ledger.has(&[("CreateSchedule", 10), ("PutEvents of 10", 1)], (0.0, 0.0));
    for (hold_seconds, expected) in [
        (30, &[("PutEvents of 10", 1)][..]),
        (600, &[("DeleteSchedule", 10), ("PutEvents of 10", 1)]),
    ] {
        let cancelled = |byte| {
            let order = orders_testing::order_with_hold(byte, hold_seconds);
            let Decision::Apply(cancel) = decide(&order, &Command::Cancel) else { panic!() };
            assert_eq!(cancel.order().status, Status::Cancelled);
            (Some(order), cancel.order().clone())
        };
        relay(&ledger, cancelled).await;
        ledger.has(expected, (0.0, 0.0));
    }
}

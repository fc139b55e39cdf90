//! Number of AWS calls and capacity units of each operation of the service. docs/costs.md uses
//! these numbers.

mod recorder;

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use create_order::Limits;
use orders_contracts::ExpiryMessage;
use orders_domain::{Command, Order, OrderStore, SlotCount};
use orders_dynamo::DynamoStore;
use orders_lambda::{
    clock,
    queue::{Message, Outcome},
    stream::{Change, Content, Record},
};
use orders_testing::{after, at, order_with_hold, pay as pay_command};
use orders_tests::{
    aws_responses,
    events::{self, PAYMENT_LIMITS, TIME_TO_PAY},
    gateway::{Api, Event, LIMITS},
    stores,
};
use reconcile::{GRACE, Report};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::recorder::{CallLog, CallRecorder};

/// The HTTP API on a store with recorded calls.
async fn api() -> (Api<DynamoStore>, CallLog) {
    let sdk = stores::in_process_endpoint();
    let tables = stores::make_tables(&Client::new(&sdk)).await;
    let log = CallLog::default();
    let client = CallRecorder { inner: sdk.http_client().unwrap(), log: log.clone() };
    let sdk = sdk.into_builder().http_client(client).build();
    (Api { store: DynamoStore::new(Client::new(&sdk), tables, Duration::from_secs(4)) }, log)
}

async fn publish_ticket(store: &impl OrderStore, id: &str) {
    publish(store, "TicketCreated", id, json!(25.5)).await;
}

async fn publish(store: &impl OrderStore, kind: &str, id: &str, price: Value) {
    let version = u64::from(kind != "TicketCreated");
    let detail = json!({"id": id, "title": "x".repeat(100), "price": price, "version": version});
    let body = json!({"source": "tickets", "detail-type": kind, "detail": detail}).to_string();
    let outcome = ticket_events::handle(store, Message::new(&body)).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
}

fn post(ticket: &str) -> Event {
    Event::post(&json!({ "ticketId": ticket }).to_string())
}

/// Places an order within these limits and returns its id.
async fn place(api: &Api<DynamoStore>, event: &Event, limits: Limits) -> String {
    let response = api.create_within(limits, event).await;
    assert_eq!(response.status(), 201, "{response:?}");
    response.body()["id"].as_str().unwrap().to_owned()
}

/// Publishes a ticket and places an order for it. Returns the order id.
async fn place_new(api: &Api<DynamoStore>, log: &CallLog, ticket: &str, limits: Limits) -> String {
    publish_ticket(&api.store, ticket).await;
    let id = place(api, &post(ticket), limits).await;
    log.assert_calls(
        &[("GetItem", 2), ("TransactWriteItems of 3", 1), ("UpdateItem", 1)],
        (2.0, 8.0),
    );
    id
}

const HELD: Limits = LIMITS;
// Lapsed by the time of the next request.
const LAPSED: Limits = Limits { hold: Duration::ZERO, ..HELD };

/// With this number of holds per buyer.
fn limited(holds_per_buyer: u8) -> Limits {
    Limits { holds_per_buyer: SlotCount::try_from(holds_per_buyer).unwrap(), ..HELD }
}

/// Pays the order's price, now.
async fn pay(store: &DynamoStore, order: &str, payment: &str) {
    pay_amount(store, order, payment, 25.5).await;
}

async fn pay_amount(store: &DynamoStore, order: &str, payment: &str, amount: f64) {
    let mut event = events::payment(payment, order, clock::now());
    event["detail"]["amount"] = json!(amount);
    assert_eq!(deliver(store, &event).await, Outcome::Done);
}

/// Delivers an event of the payment service.
async fn deliver(store: &DynamoStore, event: &Value) -> Outcome {
    let body = event.to_string();
    let message = Message::new(&body);
    payment_events::handle(store, PAYMENT_LIMITS, clock::now(), message).await.unwrap()
}

async fn refund(store: &DynamoStore, order: &str, payment: &str) -> Outcome {
    deliver(store, &events::payment_refunded(payment, order, clock::now())).await
}

async fn start_payment(store: &DynamoStore, order: &str) {
    let event = events::payment_started(order, clock::now());
    assert_eq!(deliver(store, &event).await, Outcome::Done);
}

async fn expire(store: &DynamoStore, order: &str) -> Outcome {
    let message = ExpiryMessage { order_id: order.parse().unwrap(), expires_at: None };
    let body = message.to_text().unwrap();
    let message = Message::new(&body);
    expire_orders::handle(store, clock::now(), message).await.unwrap()
}

#[tokio::test]
async fn ticket_event_calls() {
    let (api, log) = api().await;
    publish_ticket(&api.store, "t1").await;
    log.assert_calls(&[("UpdateItem", 1)], (0.0, 1.0));
    publish_ticket(&api.store, "t1").await; // a repeat fails the condition
    // The failed write consumes a unit too, but an error response does not report units.
    log.assert_calls(&[("UpdateItem", 1)], (0.0, 0.0));
}

#[tokio::test]
async fn create_order_calls() {
    let (api, log) = api().await;
    publish_ticket(&api.store, "t1").await;
    log.assert_calls(&[("UpdateItem", 1)], (0.0, 1.0));
    let with_key = post("t1").header("idempotency-key", "k1");

    place(&api, &with_key, HELD).await;
    log.assert_calls(&[("GetItem", 2), ("TransactWriteItems of 3", 1)], (2.0, 7.0));
    let replay = with_key.header("x-correlation-id", "replay");
    for own in [&replay, &post("t1")] {
        assert_eq!(api.create(own).await.status(), 200); // the lock and the buyer's order
        log.assert_calls(&[("GetItem", 2)], (2.0, 0.0));
    }
    assert_eq!(api.create(&post("t1").by("bob")).await.status(), 409);
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));
    let with_foreign_key = post("t1").by("bob").header("idempotency-key", "k1");
    assert_eq!(api.create(&with_foreign_key).await.status(), 409);
    log.assert_calls(&[("GetItem", 2)], (2.0, 0.0));
    assert_eq!(api.create(&post("none")).await.status(), 404);
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));
    for invalid in [post("").header("content-type", "text/plain"), Event::post("{}")] {
        assert!(api.create(&invalid).await.status() >= 400);
        log.assert_calls(&[], (0.0, 0.0));
    }
}

#[tokio::test]
async fn takeover_calls() {
    let (api, log) = api().await;
    place_new(&api, &log, "t1", LAPSED).await;
    place(&api, &post("t1").by("bob"), HELD).await;
    // In the first half second after the end of the hold: ticket and lapsed order are read twice.
    log.assert_calls(&[("GetItem", 5), ("TransactWriteItems of 4", 1)], (5.0, 10.0));
}

/// The limit costs a read and two write units, or nothing.
#[tokio::test]
async fn hold_limit_calls() {
    let (api, log) = api().await;
    for ticket in ["t1", "t2"] {
        publish_ticket(&api.store, ticket).await;
    }
    log.take();
    place(&api, &post("t1"), limited(1)).await;
    log.assert_calls(&[("GetItem", 2), ("TransactWriteItems of 3", 1)], (2.0, 7.0));
    // Too many holds: ticket and slots. A key needs a read more.
    for (event, reads) in [(post("t2"), 2), (post("t2").header("idempotency-key", "k1"), 3)] {
        assert_eq!(api.create_within(limited(1), &event).await.status(), 409);
        log.assert_calls(&[("GetItem", reads)], (f64::from(u8::try_from(reads).unwrap()), 0.0));
    }
    // Other refusals do not read the slots.
    assert_eq!(api.create_within(limited(1), &post("t1").by("bob")).await.status(), 409);
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));

    let id = place(&api, &post("t2"), limited(0)).await;
    log.assert_calls(&[("GetItem", 1), ("TransactWriteItems of 2", 1)], (1.0, 5.0));
    start_payment(&api.store, &id).await;
    log.assert_calls(&[("GetItem", 1), ("TransactWriteItems of 2", 1)], (1.0, 5.0));
    pay(&api.store, &id, "p1").await;
    log.assert_calls(&[("GetItem", 1), ("TransactWriteItems of 3", 1)], (1.0, 7.0));
}

/// The slot has lapsed and belongs to a later order: the transaction is sent again without it.
#[tokio::test]
async fn cancellation_after_its_slot_was_taken_calls() {
    let (api, log) = api().await;
    let lapsed = place_new(&api, &log, "t1", Limits { hold: LAPSED.hold, ..limited(1) }).await;
    place_new(&api, &log, "t2", limited(1)).await;
    assert_eq!(api.cancel(&Event::for_order("DELETE", &lapsed)).await.status(), 204);
    // The refused transaction consumes units too, but an error response does not report units.
    log.assert_calls(
        &[("GetItem", 1), ("TransactWriteItems of 2", 1), ("TransactWriteItems of 3", 1)],
        (1.0, 5.0),
    );
}

#[tokio::test]
async fn withdrawn_or_changed_ticket_calls() {
    let (api, log) = api().await;
    publish_ticket(&api.store, "t1").await;
    log.take();
    let changed = Event::post(r#"{"ticketId":"t1","ticketVersion":1}"#);
    assert_eq!(api.create(&changed).await.status(), 409);
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));
    publish(&api.store, "TicketWithdrawn", "t1", Value::Null).await;
    log.assert_calls(&[("UpdateItem", 1)], (0.0, 1.0));
    assert_eq!(api.create(&post("t1")).await.status(), 410);
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));
}

#[tokio::test]
async fn free_ticket_calls() {
    let (api, log) = api().await;
    publish(&api.store, "TicketCreated", "t1", json!(0)).await;
    log.take();
    let id = place(&api, &post("t1"), HELD).await;
    log.assert_calls(&[("GetItem", 2), ("TransactWriteItems of 3", 1)], (2.0, 7.0));
    assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);
    log.assert_calls(&[("GetItem", 1), ("TransactWriteItems of 3", 1)], (1.0, 7.0));
}

#[tokio::test]
async fn extension_calls() {
    let (api, log) = api().await;
    let id = place_new(&api, &log, "t1", HELD).await;
    for (expected, units) in [
        (&[("GetItem", 1), ("TransactWriteItems of 3", 1)][..], (1.0, 7.0)),
        (&[("GetItem", 1)], (1.0, 0.0)), // a repeat
    ] {
        start_payment(&api.store, &id).await;
        log.assert_calls(expected, units);
    }
    let due = place_new(&api, &log, "t2", LAPSED).await;
    start_payment(&api.store, &due).await;
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));
}

#[tokio::test]
async fn refund_calls() {
    let (api, log) = api().await;
    let id = place_new(&api, &log, "t1", HELD).await;
    assert!(matches!(refund(&api.store, &id, "p1").await, Outcome::Retry(_))); // early
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));
    for payment in ["p1", "p2"] {
        pay(&api.store, &id, payment).await;
    }
    log.take();
    // The refund that is due is settled: only the order is written.
    assert_eq!(refund(&api.store, &id, "p2").await, Outcome::Done);
    log.assert_calls(&[("GetItem", 1), ("TransactWriteItems of 1", 1)], (1.0, 3.0));
    for (expected, units) in [
        (&[("GetItem", 1), ("TransactWriteItems of 2", 1)][..], (1.0, 5.0)),
        (&[("GetItem", 1)], (1.0, 0.0)), // a repeat
    ] {
        assert_eq!(refund(&api.store, &id, "p1").await, Outcome::Done);
        log.assert_calls(expected, units);
    }
    pay(&api.store, &id, "p1").await; // the payment arrives again
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));
    // An unknown order: is the payment booked?
    let unknown = order_with_hold(9, 30).id.to_string();
    assert!(matches!(refund(&api.store, &unknown, "p9").await, Outcome::Retry(_)));
    log.assert_calls(&[("GetItem", 2)], (2.0, 0.0));
}

#[tokio::test]
async fn show_and_list_calls() {
    let (api, log) = api().await;
    let id = place_new(&api, &log, "t1", HELD).await;
    assert_eq!(api.show(&Event::for_order("GET", &id)).await.status(), 200);
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));
    assert_eq!(api.show(&Event::for_order("GET", "no-id")).await.status(), 404);
    log.assert_calls(&[], (0.0, 0.0));
    assert_eq!(api.list(&Event::new("GET", "/api/orders")).await.status(), 200);
    log.assert_calls(&[("Query", 1)], (0.5, 0.0));
}

#[tokio::test]
async fn cancellation_calls() {
    let (api, log) = api().await;
    let id = place_new(&api, &log, "t1", HELD).await;
    for (expected, units) in [
        (&[("GetItem", 1), ("TransactWriteItems of 3", 1)][..], (1.0, 7.0)),
        (&[("GetItem", 1)], (1.0, 0.0)),
    ] {
        assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);
        log.assert_calls(expected, units);
    }
    pay(&api.store, &id, "p1").await; // refund due: the order and the payment are written
    log.assert_calls(&[("GetItem", 1), ("TransactWriteItems of 2", 1)], (1.0, 5.0));
}

#[tokio::test]
async fn payment_calls() {
    let (api, log) = api().await;
    let id = place_new(&api, &log, "t1", HELD).await;
    pay_amount(&api.store, &id, "p0", 25.0).await; // a wrong amount: refund due
    log.assert_calls(&[("GetItem", 1), ("TransactWriteItems of 2", 1)], (1.0, 5.0));
    for (expected, units) in [
        (&[("GetItem", 1), ("TransactWriteItems of 4", 1)][..], (1.0, 9.0)),
        (&[("GetItem", 1)], (1.0, 0.0)),
    ] {
        pay(&api.store, &id, "p1").await;
        log.assert_calls(expected, units);
    }
    pay(&api.store, &id, "p2").await; // refund due: already paid
    log.assert_calls(&[("GetItem", 1), ("TransactWriteItems of 2", 1)], (1.0, 5.0));
    assert_eq!(expire(&api.store, &id).await, Outcome::Done); // the timer of a paid order
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));
    assert_eq!(api.create(&post("t1").by("bob")).await.status(), 409); // sold
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));
}

#[tokio::test]
async fn expiry_calls() {
    let (api, log) = api().await;
    let id = place_new(&api, &log, "t1", LAPSED).await;
    for (expected, units) in [
        (&[("GetItem", 1), ("TransactWriteItems of 2", 1)][..], (1.0, 5.0)),
        (&[("GetItem", 1)], (1.0, 0.0)),
    ] {
        assert_eq!(expire(&api.store, &id).await, Outcome::Done);
        log.assert_calls(expected, units);
    }
    assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);
    log.assert_calls(&[("GetItem", 1), ("TransactWriteItems of 1", 1)], (1.0, 3.0));

    let early = place_new(&api, &log, "t2", HELD).await;
    assert!(matches!(expire(&api.store, &early).await, Outcome::Replace { .. }));
    log.assert_calls(&[("GetItem", 1)], (1.0, 0.0));
}

/// A late payment reads the ticket too, and the order that a lapsed lock names.
#[tokio::test]
async fn late_payment_calls() {
    let (api, log) = api().await;
    let due = place_new(&api, &log, "t1", LAPSED).await;
    pay(&api.store, &due, "p1").await; // the lock still names the order
    log.assert_calls(&[("GetItem", 2), ("TransactWriteItems of 3", 1)], (2.0, 7.0));

    let expired = place_new(&api, &log, "t2", LAPSED).await;
    assert_eq!(expire(&api.store, &expired).await, Outcome::Done);
    let lapsed = place(&api, &post("t2").by("bob"), LAPSED).await;
    log.take();
    pay(&api.store, &expired, "p2").await; // buys, and expires the lapsed order
    log.assert_calls(&[("GetItem", 3), ("TransactWriteItems of 4", 1)], (3.0, 10.0));
    pay(&api.store, &lapsed, "p3").await; // refund due: sold
    log.assert_calls(&[("GetItem", 2), ("TransactWriteItems of 2", 1)], (2.0, 5.0));
}

/// A late payment that buys nothing expires its order, then books the refund.
#[tokio::test]
async fn late_payment_without_a_sale_calls() {
    let (api, log) = api().await;
    let due = place_new(&api, &log, "t1", LAPSED).await;
    pay_amount(&api.store, &due, "p1", 25.0).await; // the amount decides, not the ticket
    log.assert_calls(&[("GetItem", 1), ("TransactWriteItems of 2", 2)], (1.0, 10.0));
}

/// Returns the AWS calls and the units read and written of each request, with this many tickets,
/// orders of the buyer, and rejected requests.
async fn calls_at_scale(scale: usize) -> Vec<(&'static str, usize, f64, f64)> {
    let (api, log) = api().await;
    for number in 0..scale {
        let ticket = format!("old-{number}");
        publish_ticket(&api.store, &ticket).await;
        place(&api, &post(&ticket), limited(0)).await;
    }
    publish_ticket(&api.store, "t1").await;
    publish_ticket(&api.store, "t2").await;
    log.take();
    let mut calls = Vec::new();
    let mut record = |name| calls.push(log.take().totals(name));

    let id = place(&api, &post("t1"), HELD).await;
    record("placed");
    for _ in 0..scale {
        assert_eq!(api.create(&post("t1").by("bob")).await.status(), 409);
    }
    log.take();
    assert_eq!(api.create(&post("t1").by("bob")).await.status(), 409);
    record("too late");
    assert_eq!(api.show(&Event::for_order("GET", &id)).await.status(), 200);
    record("shown");
    assert_eq!(api.list(&Event::new("GET", "/api/orders")).await.status(), 200);
    record("listed");
    assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);
    record("cancelled");
    let id = place(&api, &post("t2"), LAPSED).await;
    log.take();
    assert_eq!(expire(&api.store, &id).await, Outcome::Done);
    record("expired");
    pay(&api.store, &id, "p1").await;
    record("paid");
    calls
}

#[tokio::test]
async fn calls_do_not_grow_with_the_data() {
    let (one, ten, hundred) =
        tokio::join!(calls_at_scale(1), calls_at_scale(10), calls_at_scale(100));
    for ((one, ten), hundred) in one.iter().zip(&ten).zip(&hundred) {
        // A list grows with its orders, up to a page of 20.
        let grows = if one.0 == "listed" { 0.5 } else { 0.0 };
        assert_eq!(one, ten);
        assert_eq!((ten.0, ten.1, ten.2 + grows, ten.3), *hundred);
    }
}

/// Runs reconcile when every hold counts as forgotten.
async fn reconcile_later(store: &DynamoStore) -> Report {
    let later = clock::now().plus(HELD.hold + GRACE);
    reconcile::reconcile(
        store,
        reconcile::Request::default(),
        later,
        Instant::now() + Duration::from_mins(1),
    )
    .await
}

#[tokio::test]
async fn reconcile_calls() {
    let (api, log) = api().await;
    let finished = Report { finished: true, ..Report::default() };
    assert_eq!(reconcile_later(&api.store).await, finished);
    log.assert_calls(&[("Scan", 1)], (0.5, 0.0));
    let paid = place_new(&api, &log, "t1", HELD).await;
    pay(&api.store, &paid, "p1").await;
    log.take();
    for ticket in ["t2", "t3"] {
        place_new(&api, &log, ticket, HELD).await;
    }
    log.take();
    assert_eq!(reconcile_later(&api.store).await, Report { expired: 2, ..finished });
    log.assert_calls(&[("GetItem", 4), ("Scan", 1), ("TransactWriteItems of 2", 2)], (4.5, 10.0));
    assert_eq!(reconcile_later(&api.store).await, finished);
    log.assert_calls(&[("Scan", 1)], (0.5, 0.0));
}

/// A scan reads 60 tickets with a title of 100 characters for a unit.
#[tokio::test]
async fn scan_of_a_thousand_tickets_calls() {
    let (api, log) = api().await;
    for number in 0..1_000 {
        publish_ticket(&api.store, &format!("ticket-{number}")).await;
    }
    log.take();
    reconcile_later(&api.store).await;
    log.assert_calls(&[("Scan", 1)], (16.5, 0.0));
}

/// Relays ten changes of ten orders.
async fn relay(log: &CallLog, change: impl Fn(u8) -> (Option<Order>, Order)) {
    let now = at(0);
    let records: Vec<_> = (0..10)
        .map(|byte| {
            let (before, after) = change(byte);
            let content = Ok(Content::Change(Box::new(Change { before, after, at: now })));
            Record { raw: "", sequence_number: byte.to_string(), content }
        })
        .collect();
    let deadline = Instant::now() + Duration::from_mins(1);
    let log = log.clone();
    let sink = aws_responses::relay_sink(move |operation, request| {
        log.record_batch(operation, request, "Entries");
        aws_responses::success(operation, request)
    });
    assert_eq!(order_relay::relay(&sink, now, deadline, &records).await, None);
}

#[tokio::test]
async fn relay_batch_of_ten_calls() {
    let log = CallLog::default();
    relay(&log, |byte| (None, order_with_hold(byte, 30))).await;
    log.assert_calls(&[("PutEvents of 10", 1), ("SendMessageBatch of 10", 1)], (0.0, 0.0));
    relay(&log, |byte| (None, order_with_hold(byte, 600))).await;
    log.assert_calls(&[("CreateSchedule", 10), ("PutEvents of 10", 1)], (0.0, 0.0));
    for (hold_seconds, expected) in [
        (30, &[("PutEvents of 10", 1)][..]),
        (600, &[("DeleteSchedule", 10), ("PutEvents of 10", 1)]),
    ] {
        let cancelled = |byte| {
            let order = order_with_hold(byte, hold_seconds);
            let cancelled = after(&order, &Command::Cancel);
            (Some(order), cancelled)
        };
        relay(&log, cancelled).await;
        log.assert_calls(expected, (0.0, 0.0));
    }
    let extended = |byte| {
        let order = order_with_hold(byte, 30);
        let sent_at = at(0);
        let start = Command::StartPayment { sent_at, time_to_pay: TIME_TO_PAY, now: at(0) };
        (Some(order.clone()), after(&order, &start))
    };
    relay(&log, extended).await;
    log.assert_calls(&[("CreateSchedule", 10), ("PutEvents of 10", 1)], (0.0, 0.0));
    let refunded = |byte| {
        let order = order_with_hold(byte, 600);
        let paid = after(&order, &pay_command("p1", &order, 0));
        let payment_id = "p1".parse().unwrap();
        let refunded = after(&paid, &Command::Refund { payment_id, amount: None });
        (Some(paid), refunded)
    };
    relay(&log, refunded).await;
    log.assert_calls(&[("PutEvents of 10", 1)], (0.0, 0.0));
}

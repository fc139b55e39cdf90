//! What each way through the service asks of AWS: which operations, and how many of each. docs/costs.md
//! reckons with these numbers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_dynamodb::Client;
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use orders_contracts::{ExpiryMessage, PublishedEvent};
use orders_domain::{Command, Decision, Order, OrderId, OrderStore, Status, Timestamp, decide};
use orders_dynamo::DynamoStore;
use orders_lambda::{
    clock,
    outbox::{Outbox, OutboxError},
    queue::{Message, Outcome},
    stream::{Change, Record},
};
use orders_tests::{
    gateway::{Api, Event},
    orders::{self, PLACED_AT_MS},
    stores,
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// What was asked for since the last look.
#[derive(Clone, Debug, Default)]
struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    /// How often each operation was asked for. Of a transaction, the number of its writes is a part of
    /// its name.
    operations: BTreeMap<String, usize>,
    /// The capacity units that DynamoDB says it has taken, read and written.
    units: (f64, f64),
}

impl Entries {
    fn sums(&self, what: &'static str) -> (&'static str, usize, f64, f64) {
        let (read, written) = self.units;
        (what, self.operations.values().sum(), read, written)
    }
}

impl Ledger {
    fn enter(&self, operation: impl Into<String>) {
        *self.0.lock().unwrap().operations.entry(operation.into()).or_default() += 1;
    }

    fn enter_units(&self, operation: &str, answer: &Value) {
        let consumed = &answer["ConsumedCapacity"];
        let tables = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
        let units: f64 = tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum();
        let entries = &mut self.0.lock().unwrap().units;
        let (read, written) = entries;
        *(if matches!(operation, "GetItem" | "Query") { read } else { written }) += units;
    }

    fn take(&self) -> Entries {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Looks that just this was asked for since the last look: these operations, and as many units
    /// read and written.
    #[track_caller]
    fn has(&self, expected: &[(&str, usize)], units: (f64, f64)) {
        let entries = self.take();
        let asked: Vec<_> =
            entries.operations.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!((&asked[..], entries.units), (expected, units));
    }
}

/// Keeps the ledger of the requests to DynamoDB, and forwards them; asks what each has consumed.
#[derive(Clone, Debug)]
struct Bookkeeper<Inner> {
    inner: Inner,
    ledger: Ledger,
}

impl HttpClient for Bookkeeper<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Bookkeeper { inner, ledger: self.ledger.clone() })
    }
}

impl HttpConnector for Bookkeeper<SharedHttpConnector> {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap();
        let operation = target.split_once('.').unwrap().1.to_owned();
        let mut body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        match body["TransactItems"].as_array() {
            Some(writes) => {
                self.ledger.enter(format!("{operation} of {}", writes.len()));
                // As JSON it is longer than DynamoDB counts it.
                let items = writes.iter().filter_map(|write| write["Put"].get("Item"));
                assert!(items.map(|item| item.to_string().len()).all(|bytes| bytes < 1_024));
            }
            None => self.ledger.enter(operation.as_str()),
        }
        body["ReturnConsumedCapacity"] = json!("TOTAL");
        let text = body.to_string();
        request.headers_mut().insert("content-length", text.len().to_string());
        *request.body_mut() = SdkBody::from(text);
        let (answer, ledger) = (self.inner.call(request), self.ledger.clone());
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            let body = ByteStream::new(answer.take_body()).collect().await.unwrap().into_bytes();
            ledger.enter_units(&operation, &serde_json::from_slice(&body).unwrap());
            *answer.body_mut() = SdkBody::from(body);
            Ok(answer)
        })
    }
}

/// The HTTP API on a store whose requests are counted.
async fn api() -> (Api<DynamoStore>, Ledger) {
    let sdk = stores::in_process_endpoint().await;
    let tables = stores::make_tables(&Client::new(&sdk)).await;
    let ledger = Ledger::default();
    let client = Bookkeeper { inner: sdk.http_client().unwrap(), ledger: ledger.clone() };
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
    on_sale(&api.store, "t1").await;
    placed(&api, &post("t1"), NONE).await;
    ledger.has(&[("GetItem", 1), ("TransactWriteItems of 2", 1), ("UpdateItem", 1)], (1.0, 6.0));
    placed(&api, &post("t1").by("bob"), LONG).await;
    ledger.has(&[("GetItem", 2), ("TransactWriteItems of 3", 1)], (2.0, 8.0));
}

#[tokio::test]
async fn a_look_and_a_list() {
    let (api, ledger) = api().await;
    on_sale(&api.store, "t1").await;
    let id = placed(&api, &post("t1"), LONG).await;
    ledger.has(&[("GetItem", 1), ("TransactWriteItems of 2", 1), ("UpdateItem", 1)], (1.0, 6.0));
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
    on_sale(&api.store, "t1").await;
    let id = placed(&api, &post("t1"), LONG).await;
    ledger.has(&[("GetItem", 1), ("TransactWriteItems of 2", 1), ("UpdateItem", 1)], (1.0, 6.0));
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
    on_sale(&api.store, "t1").await;
    let id = placed(&api, &post("t1"), LONG).await;
    ledger.has(&[("GetItem", 1), ("TransactWriteItems of 2", 1), ("UpdateItem", 1)], (1.0, 6.0));
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
    on_sale(&api.store, "t1").await;
    let id = placed(&api, &post("t1"), NONE).await;
    ledger.has(&[("GetItem", 1), ("TransactWriteItems of 2", 1), ("UpdateItem", 1)], (1.0, 6.0));
    for (expected, units) in [
        (&[("GetItem", 1), ("TransactWriteItems of 2", 1)][..], (1.0, 5.0)),
        (&[("GetItem", 1)], (1.0, 0.0)),
    ] {
        assert_eq!(expire(&api.store, &id).await, Outcome::Done);
        ledger.has(expected, units);
    }
    pay(&api.store, &id, "p1").await;
    ledger.has(&[("GetItem", 2), ("TransactWriteItems of 2", 1)], (2.0, 5.0));

    let early = placed_elsewhere(&api, &ledger).await;
    assert!(matches!(expire(&api.store, &early).await, Outcome::NotYet { .. }));
    ledger.has(&[("GetItem", 1)], (1.0, 0.0));
}

async fn placed_elsewhere(api: &Api<DynamoStore>, ledger: &Ledger) -> String {
    on_sale(&api.store, "t2").await;
    let id = placed(api, &post("t2"), LONG).await;
    ledger.has(&[("GetItem", 1), ("TransactWriteItems of 2", 1), ("UpdateItem", 1)], (1.0, 6.0));
    id
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

/// Enters what the outbox in AWS asks for, which is one operation for each thing it is told.
impl Outbox for Ledger {
    async fn publish(&self, events: &[PublishedEvent]) -> Vec<bool> {
        self.enter(format!("PutEvents of {}", events.len()));
        // EventBridge counts an event for each 64 KB of it.
        assert!(events.iter().all(|event| event.detail.len() < 1_024));
        vec![true; events.len()]
    }

    async fn schedule_expiry(&self, _: OrderId, _: Timestamp) -> Result<(), OutboxError> {
        self.enter("CreateSchedule");
        Ok(())
    }

    async fn unschedule_expiry(&self, _: OrderId) -> Result<(), OutboxError> {
        self.enter("DeleteSchedule");
        Ok(())
    }

    async fn send_expiry(&self, _: OrderId, _: Timestamp) -> Result<(), OutboxError> {
        self.enter("SendMessage");
        Ok(())
    }

    async fn bury(&self, _: &str) -> Result<(), OutboxError> {
        self.enter("SendMessage");
        Ok(())
    }
}

/// Relays ten changes of ten orders.
async fn relay(ledger: &Ledger, change: impl Fn(u8) -> (Option<Order>, Order)) {
    let now = Timestamp::from_epoch_ms(PLACED_AT_MS).unwrap();
    let records: Vec<_> = (0..10)
        .map(|byte| {
            let (before, after) = change(byte);
            let change = Ok(Some(Change { before, after, at: now }));
            Record { raw: "", sequence_number: byte.to_string(), change }
        })
        .collect();
    let deadline = Instant::now() + Duration::from_mins(1);
    assert_eq!(order_relay::relay(ledger, now, deadline, &records).await, None);
}

#[tokio::test]
async fn a_batch_of_ten_for_the_relay() {
    let ledger = Ledger::default();
    relay(&ledger, |byte| (None, orders::placed(byte, 30))).await;
    ledger.has(&[("PutEvents of 10", 1), ("SendMessage", 10)], (0.0, 0.0));
    relay(&ledger, |byte| (None, orders::placed(byte, 600))).await;
    ledger.has(&[("CreateSchedule", 10), ("PutEvents of 10", 1)], (0.0, 0.0));
    for (hold_seconds, expected) in [
        (30, &[("PutEvents of 10", 1)][..]),
        (600, &[("DeleteSchedule", 10), ("PutEvents of 10", 1)]),
    ] {
        let cancelled = |byte| {
            let order = orders::placed(byte, hold_seconds);
            let Decision::Apply(cancel) = decide(&order, &Command::Cancel) else { panic!() };
            assert_eq!(cancel.order().status, Status::Cancelled);
            (Some(order), cancel.order().clone())
        };
        relay(&ledger, cancelled).await;
        ledger.has(expected, (0.0, 0.0));
    }
}

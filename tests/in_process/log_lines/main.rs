//! Log lines: each has the ids of its subject, so that a search by order id finds it, and none has a buyer's
//! id, a token or another text of the client.

mod bytes;
mod correlation;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lambda_events::sqs::SqsEvent;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use metrics_util::debugging::DebuggingRecorder;
use orders_domain::{BoxError, OrderStore, Sale, StoreError, TicketRule};
use orders_lambda::{
    clock,
    problem::Problem,
    queue::{Failure, Message, Outcome, Queue, process},
    stream, telemetry,
};
use orders_testing::{MemoryStore, at, order_id, order_with_hold, place, ticket};
use orders_tests::{
    aws_responses,
    events::{self, PAYMENT_LIMITS},
    gateway::{Api, Event, context},
    stores,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::filter::LevelFilter;

/// Written log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Log lines written by the work.
async fn lines_of<T>(work: impl Future<Output = T>) -> Vec<Value> {
    let lines = Lines::default();
    let writer = lines.clone();
    work.with_subscriber(telemetry::log(LevelFilter::INFO, move || writer.clone())).await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("alice"), "a log line has a buyer's id: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A queue that sends nothing.
struct FullQueue;

impl Queue for FullQueue {
    async fn set_visibility_timeout(&self, _: &str, _: Duration) -> Result<(), BoxError> {
        Ok(())
    }

    async fn send(&self, _: &str, _: Duration) -> Result<(), BoxError> {
        Err("the queue is full".into())
    }

    async fn dead_letter(&self, _: &str) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Handles a batch of one message of the payment service, with these orders stored.
async fn handle_payment(store: &MemoryStore, body: &Value) {
    handle(body, async |message| {
        payment_events::handle(store, PAYMENT_LIMITS, at(10), message).await
    })
    .await;
}

/// A batch of one message.
fn batch_of(body: &Value) -> Value {
    let mut batch: Value =
        serde_json::from_str(include_str!("../../support/fixtures/sqs_batch.json")).unwrap();
    batch["Records"][0]["body"] = json!(body.to_string());
    batch["Records"][0]["attributes"]["SentTimestamp"] = json!(clock::now().epoch_ms().to_string());
    batch["Records"].as_array_mut().unwrap().truncate(1);
    batch
}

/// Handles a batch of one message.
async fn handle(body: &Value, handler: impl AsyncFn(Message<'_>) -> Result<Outcome, Failure>) {
    let event: SqsEvent = serde_json::from_value(batch_of(body)).unwrap();
    process(&event, &context(), clock::now(), &FullQueue, &handler).await.unwrap();
}

#[tokio::test]
async fn request_line_has_route_status_and_ids() {
    let api = Api { store: MemoryStore::default() };
    let sale = Sale::Open(ticket("t1", 0));
    api.store.apply_ticket(&sale, TicketRule::FirstOrNext).await.unwrap();
    let event = Event::post(r#"{"ticketId":"t1"}"#)
        .set("routeKey", json!("POST /api/orders"))
        .header("x-correlation-id", "attempt-1");
    let mut id = String::new();
    let lines = lines_of(async {
        id = api.create(&event).await.body()["id"].as_str().unwrap().to_owned();
    })
    .await;
    let [line] = &lines[..] else { panic!("one line for a request: {lines:?}") };
    assert_eq!(line["fields"]["message"], "POST /api/orders 201");
    assert_eq!(line["fields"]["order_id"], json!(id));
    assert_eq!(line["fields"]["correlation_id"], "attempt-1");

    let show = Event::for_order("GET", &id).set("routeKey", json!("GET /api/orders/{id}"));
    let lines = lines_of(api.show(&show)).await;
    assert_eq!(lines[0]["fields"]["message"], "GET /api/orders/{id} 200");
    assert_eq!(lines[0]["fields"]["order_id"], json!(id));
}

#[tokio::test]
async fn failed_request_line_has_ids_and_the_chain_of_causes() {
    let id = order_id(1).to_string();
    let event = Event::for_order("GET", &id).header("x-correlation-id", "attempt-1");
    for (error, level, message) in [
        (StoreError::Unavailable("throttled".into()), "WARN", "Request outcome unknown"),
        (StoreError::Unreadable("schema 2".into()), "WARN", "Request outcome unknown"),
        (StoreError::Refused("no such table".into()), "ERROR", "Request failed"),
    ] {
        let chain = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        let lines = lines_of(event.to(|_| async { Err(Problem::from(error)) })).await;
        let [line] = &lines[..] else { panic!("one line for a request: {lines:?}") };
        assert_eq!((&line["level"], &line["fields"]["message"]), (&json!(level), &json!(message)));
        assert_eq!(line["fields"]["order_id"], json!(id));
        assert_eq!(line["fields"]["correlation_id"], "attempt-1");
        assert_eq!(line["fields"]["error"], json!(chain));
    }
}

#[tokio::test]
async fn request_line_omits_other_texts_of_the_client() {
    let event = Event::for_order("GET", "a-token").set("routeKey", json!("GET /api/orders/{id}"));
    let lines = lines_of(event.to(|_| async { Err(Problem::NoSuchOrder) })).await;
    assert_eq!(lines[0]["fields"]["message"], "GET /api/orders/{id} 404");
    assert!(!lines[0].to_string().contains("a-token"), "{}", lines[0]);

    let without_user = event.with("/requestContext/authorizer/jwt/claims", json!({}));
    let handler = |_| async { panic!("no handler for a request without a user") };
    let lines = lines_of(without_user.to(handler)).await;
    assert_eq!(lines[0]["fields"]["message"], "GET /api/orders/{id} 401");
    assert!(lines[0]["fields"]["correlation_id"].is_string());
}

#[tokio::test]
async fn message_lines_have_the_ids_of_message_and_subject() {
    let order = order_id(7).to_string();
    let body = events::payment("p1", &order, clock::now());
    let store = MemoryStore::default();
    let lines = lines_of(handle_payment(&store, &body)).await;
    assert_eq!(lines[0]["fields"]["message"], "Message failed; it will be retried");
    assert_eq!(lines[0]["span"]["order_id"], json!(order));
    assert_eq!(lines[0]["span"]["payment_id"], "p1");
    assert!(lines[0]["span"]["message_id"].is_string());

    let lines = lines_of(handle_payment(&store, &json!({}))).await;
    let message = "Rejected message; moving it to the dead-letter queue";
    assert_eq!(lines[0]["fields"]["message"], message);
    assert!(lines[0]["span"]["message_id"].is_string());
}

#[tokio::test]
async fn lines_of_starts_and_refunds_have_the_ids_of_their_subject() {
    let (store, order) = (MemoryStore::default(), order_with_hold(7, 30));
    let id = order.id.to_string();
    let start = events::payment_started(&id, at(10));
    let [line] = &lines_of(handle_payment(&store, &start)).await[..] else { panic!("one line") };
    assert_eq!(line["fields"]["message"], "Message failed; it will be retried");
    assert_eq!((&line["span"]["order_id"], line["span"].get("payment_id")), (&json!(id), None));

    place(&store, &order).await;
    let refund = events::payment_refunded("p1", &id, at(10));
    let [line] = &lines_of(handle_payment(&store, &refund)).await[..] else { panic!("one line") };
    assert_eq!(line["fields"]["message"], "Message failed; it will be retried");
    assert_eq!(
        (&line["span"]["order_id"], &line["span"]["payment_id"]),
        (&json!(id), &json!("p1"))
    );
    assert_eq!(
        (&line["span"]["version"], &line["span"]["correlation_id"]),
        (&json!(0), &json!("request-1"))
    );
}

#[tokio::test]
async fn line_of_a_timer_that_cannot_be_sent_has_the_ids_of_its_order() {
    let (store, order) = (MemoryStore::default(), order_with_hold(7, 30));
    place(&store, &order).await;
    let timer = json!({"orderId": order.id.to_string()});
    let fire = handle(&timer, async |message| expire_orders::handle(&store, at(0), message).await);
    let [line] = &lines_of(fire).await[..] else { panic!("one line") };
    let message = "Message failed; it will be retried";
    assert_eq!((&line["level"], &line["fields"]["message"]), (&json!("WARN"), &json!(message)));
    assert_eq!(line["fields"]["error"], "the queue is full");
    assert_eq!(line["span"]["order_id"], order.id.to_string());
}

#[tokio::test]
async fn relay_lines_have_ids_of_record_and_order() {
    let batch = include_str!("../../support/fixtures/stream_batch.json");
    let refusing = |operation: &str, _: &Value| match operation {
        "PutEvents" => (400, json!({"__type": "ThrottlingException", "message": "slow down"})),
        _ => (200, json!({})),
    };
    let relay = async |batch: &str| {
        let records = stream::read(batch).unwrap();
        let deadline = Instant::now() + Duration::from_secs(9);
        let sink = aws_responses::relay_sink(refusing);
        order_relay::relay(&sink, clock::now(), deadline, &records).await
    };
    let order = order_with_hold(7, 30).id.to_string();
    let lines = lines_of(relay(batch)).await;
    assert!(!lines.is_empty());
    for line in &lines {
        assert!(line.to_string().contains(&order), "{line}");
    }
    let last = &lines.last().unwrap()["fields"];
    assert_eq!(last["message"], "Event not published; its record is retried");
    assert_eq!((&last["version"], &last["correlation_id"]), (&json!(0), &json!("request-1")));
    assert!(last["sequence_number"].is_string());

    let lines = lines_of(relay(&batch.replace("NewImage", "NwImage"))).await;
    assert_eq!(lines[0]["fields"]["message"], "Rejected stream record");
    assert!(lines[0]["fields"]["sequence_number"].is_string());
}

#[tokio::test]
async fn reconcile_lines_have_the_ids_of_ticket_and_order() {
    let sdk = stores::in_process_endpoint();
    let (store, client) = (stores::store_on(&sdk).await, Client::new(&sdk));
    let order = order_with_hold(7, 30);
    place(&store, &order).await;
    let run = async || {
        let deadline = Instant::now() + Duration::from_secs(9);
        reconcile::reconcile(&store, reconcile::Request::default(), at(1_800), deadline).await
    };
    let table = stores::make_tables(&client).await.orders;
    let schema = async |number: &str| {
        let update = client.update_item().table_name(&table);
        let update = update.key("id", AttributeValue::S(order.id.to_string()));
        let update = update.update_expression("SET #schema = :schema");
        let update = update.expression_attribute_names("#schema", "schema");
        let number = AttributeValue::N(number.to_owned());
        update.expression_attribute_values(":schema", number).send().await.unwrap();
    };
    schema("2").await;
    let lines = lines_of(run()).await;
    let [_, line, report] = &lines[..] else { panic!("three lines: {lines:?}") };
    assert_eq!(line["fields"]["message"], "Forgotten hold not repaired");
    assert!(line["fields"]["error"].is_string());
    assert_eq!(report["fields"]["unreadable"], json!(1));
    schema("1").await;
    let repaired = lines_of(run()).await;
    let [other, report] = &repaired[..] else { panic!("two lines: {repaired:?}") };
    assert_eq!(other["fields"]["message"], "Forgotten hold repaired");
    assert_eq!(other["fields"]["repair"], "Expired");
    assert_eq!(report["fields"]["message"], "Reconciled lapsed holds");
    assert_eq!(report["fields"]["expired"], json!(1));
    for line in [line, other] {
        assert_eq!(line["span"]["ticket_id"], json!(order.ticket.id.as_str()));
        assert_eq!(line["span"]["order_id"], json!(order.id.to_string()));
    }
}

/// A store with an order that cannot be read, and the order's id.
async fn store_with_an_unreadable_order() -> (impl OrderStore, String) {
    let sdk = stores::in_process_endpoint();
    let (store, client) = (stores::store_on(&sdk).await, Client::new(&sdk));
    let order = order_with_hold(7, 30);
    place(&store, &order).await;
    let id = order.id.to_string();
    let update = client.update_item().table_name(stores::make_tables(&client).await.orders);
    let update = update.key("id", AttributeValue::S(id.clone()));
    let update = update.update_expression("SET user_id = :invalid");
    let invalid = AttributeValue::S("alice and bob".to_owned());
    update.expression_attribute_values(":invalid", invalid).send().await.unwrap();
    (store, id)
}

#[tokio::test]
async fn line_of_an_item_that_cannot_be_read_has_its_id() {
    let (store, id) = store_with_an_unreadable_order().await;

    let lines = lines_of(Api { store }.show(&Event::for_order("GET", &id))).await;
    let [item, request] = &lines[..] else { panic!("two lines: {lines:?}") };
    assert_eq!((&item["level"], &item["fields"]["item_id"]), (&json!("ERROR"), &json!(id)));
    assert_eq!(item["fields"]["message"], "Item cannot be read");
    assert_eq!((&request["level"], &request["fields"]["status"]), (&json!("WARN"), &json!(503)));
    assert_eq!(request["fields"]["order_id"], json!(id));
}

/// The id of the item is the buyer's id.
#[tokio::test]
async fn line_of_a_buyer_that_cannot_be_read_has_no_id() {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let sdk = stores::in_process_endpoint();
    let (store, client) = (stores::store_on(&sdk).await, Client::new(&sdk));
    let sale = Sale::Open(ticket("t1", 0));
    store.apply_ticket(&sale, TicketRule::FirstOrNext).await.unwrap();
    let put = client.put_item().table_name(stores::make_tables(&client).await.buyers);
    let put = put.item("id", AttributeValue::S("alice".to_owned()));
    put.item("schema", AttributeValue::N("2".to_owned())).send().await.unwrap();

    let event = Event::post(r#"{"ticketId":"t1"}"#);
    let lines = lines_of(Api { store }.create(&event)).await;
    let [item, request] = &lines[..] else { panic!("two lines: {lines:?}") };
    assert_eq!((&item["level"], item["fields"].get("item_id")), (&json!("ERROR"), None));
    assert_eq!(item["fields"]["message"], "Item cannot be read");
    assert_eq!((&request["level"], &request["fields"]["status"]), (&json!("WARN"), &json!(503)));
    let counted = recorder.snapshotter().snapshot().into_vec();
    let names: Vec<_> = counted.iter().map(|(key, ..)| key.key().name()).collect();
    assert!(names.contains(&"UnreadableItems"), "{names:?}");
}

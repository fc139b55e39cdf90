//! Stores that fail, lag behind, or hold items that this release cannot read.

use std::sync::atomic::Ordering;

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use orders_domain::{Order, OrderId, Sale, StoreError};
use orders_dynamo::{DynamoStore, TableNames};
use orders_lambda::{clock, problem::Problem};
use orders_testing::{order_id, place, ticket};
use orders_tests::{
    gateway::{Api, Event, context},
    stale_read_store::StaleReadStore,
    stores,
};

use crate::{
    ORDER, apply, assert_problem, on_store_with_tickets, order_of, place_order, retry_after,
};

/// The API on DynamoDB, and the tables beside it.
struct DynamoApi {
    api: Api<DynamoStore>,
    client: Client,
    tables: TableNames,
}

impl DynamoApi {
    async fn new() -> Self {
        let sdk = stores::in_process_endpoint();
        let client = Client::new(&sdk);
        let tables = stores::make_tables(&client).await;
        Self { api: Api { store: stores::store_on(&sdk).await }, client, tables }
    }

    /// Sets the schema of an item. This release reads schema 1.
    async fn set_schema(&self, table: &str, id: &str, schema: u8) {
        let update = self.client.update_item().table_name(table);
        let update = update.key("id", AttributeValue::S(id.to_owned()));
        let update = update.update_expression("SET #schema = :schema");
        let update = update.expression_attribute_names("#schema", "schema");
        let schema = AttributeValue::N(schema.to_string());
        update.expression_attribute_values(":schema", schema).send().await.unwrap();
    }
}

#[tokio::test]
async fn order_that_cannot_be_read_is_unavailable_to_its_buyer_and_its_successor() {
    let dynamo = DynamoApi::new().await;
    let (api, orders) = (&dynamo.api, dynamo.tables.orders.as_str());
    let lapsed = order_of(order_id(1), 30);
    place(&api.store, &lapsed).await;
    let other = Order { ticket: ticket("t2", 0), ..order_of(order_id(2), 0) };
    place(&api.store, &other).await;
    let id = lapsed.id.to_string();
    dynamo.set_schema(orders, &id, 2).await;
    for unavailable in [
        api.show(&Event::for_order("GET", &id)).await,
        api.cancel(&Event::for_order("DELETE", &id)).await,
        api.create(&Event::post(ORDER)).await,
        api.create(&Event::post(ORDER).by("bob")).await,
    ] {
        assert_problem(&unavailable, 503);
        assert!((1..=2).contains(&retry_after(&unavailable)));
    }
    let list = Event::new("GET", "/api/orders");
    let listed = api.list(&list).await;
    assert_eq!((listed.status(), listed.body().as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(listed.body()[0]["id"], other.id.to_string());

    dynamo.set_schema(orders, &id, 1).await;
    assert_eq!(api.list(&list).await.body().as_array().map(Vec::len), Some(2));
    assert_eq!(api.show(&Event::for_order("GET", &id)).await.body()["status"], "expired");
    assert_eq!(api.create(&Event::post(ORDER).by("bob")).await.status(), 201);
}

#[tokio::test]
async fn order_of_an_unreadable_key_or_ticket_is_unavailable() {
    let dynamo = DynamoApi::new().await;
    let api = &dynamo.api;
    let id = OrderId::for_key(&"alice".parse().unwrap(), &"k1".parse().unwrap());
    place(&api.store, &order_of(id, 0)).await;
    let keyed = Event::post(ORDER).header("idempotency-key", "k1");
    dynamo.set_schema(&dynamo.tables.orders, &id.to_string(), 2).await;
    assert_problem(&api.create(&keyed).await, 503);
    dynamo.set_schema(&dynamo.tables.orders, &id.to_string(), 1).await;
    assert_eq!(api.create(&keyed).await.status(), 200);
    dynamo.set_schema(&dynamo.tables.tickets, "t1", 2).await;
    assert_problem(&api.create(&keyed).await, 503);
    assert_problem(&api.create(&Event::post(ORDER).by("bob")).await, 503);
}

/// Orders that the buyer has already are found and end as usual.
#[tokio::test]
async fn buyer_that_cannot_be_read_gets_no_other_ticket() {
    let dynamo = DynamoApi::new().await;
    let api = &dynamo.api;
    for id in ["t1", "t2"] {
        apply(api, &Sale::Open(ticket(id, 0))).await;
    }
    let id = place_order(api, "t1").await;
    dynamo.set_schema(&dynamo.tables.buyers, "alice", 2).await;
    let other = Event::post(r#"{"ticketId":"t2"}"#);
    let unavailable = api.create(&other).await;
    assert_problem(&unavailable, 503);
    assert!((1..=2).contains(&retry_after(&unavailable)));
    assert_eq!(api.create(&Event::post(ORDER)).await.status(), 200);
    assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);
    assert_eq!(api.create(&Event::post(ORDER).by("bob")).await.status(), 201);
    assert_problem(&api.create(&other).await, 503);
    dynamo.set_schema(&dynamo.tables.buyers, "alice", 1).await;
    assert_eq!(api.create(&other).await.status(), 201);
}

#[tokio::test]
async fn repeated_key_survives_a_stale_order_read() {
    let api = on_store_with_tickets::<StaleReadStore>(&["t1"]).await;
    let event = Event::post(ORDER).header("idempotency-key", "k");
    let created = api.create(&event).await;
    api.store.unseen_orders.store(2, Ordering::SeqCst);
    assert_eq!(api.create(&event).await.body()["id"], created.body()["id"]);
    api.store.unseen_orders.store(usize::MAX, Ordering::SeqCst);
    assert_problem(&api.create(&event).await, 503);
}

#[tokio::test]
async fn cancel_retries_after_a_conflict() {
    let api = on_store_with_tickets::<StaleReadStore>(&["t1"]).await;
    let id = place_order(&api, "t1").await;
    api.store.refused_commits.store(usize::MAX, Ordering::SeqCst);
    assert_problem(&api.cancel(&Event::for_order("DELETE", &id)).await, 503);
    api.store.refused_commits.store(2, Ordering::SeqCst);
    assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);
}

#[tokio::test]
async fn handler_timeout_returns_503() {
    let mut context = context();
    context.deadline = clock::now().epoch_ms() + 550;
    let event = include_str!("../../support/fixtures/http_api_request.json");
    let response =
        orders_lambda::http::respond(event, &context, clock::now(), |_| std::future::pending())
            .await;
    assert_eq!(response.status_code, 503);
    assert!(["1", "2"].contains(&response.headers["retry-after"].to_str().unwrap()));
}

#[tokio::test]
async fn store_error_returns_503_or_500() {
    let event = Event::new("GET", "/api/orders");
    let failing = |error: fn() -> StoreError| {
        let event = event.clone();
        async move { event.to(|_| async move { Err(Problem::from(error())) }).await }
    };
    let unavailable = failing(|| StoreError::Unavailable("throttled".into())).await;
    assert_problem(&unavailable, 503);
    assert!((1..=2).contains(&retry_after(&unavailable)));
    assert_problem(&failing(|| StoreError::Refused("no such table".into())).await, 500);
}

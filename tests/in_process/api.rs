//! The HTTP API in process: API Gateway event to response, on the in-memory store.

use std::{sync::atomic::Ordering, time::Duration};

use orders_domain::{Command, OrderStore, StoreError, TicketRule};
use orders_lambda::{clock, problem::Problem};
use orders_testing::{MemoryStore, commit, ticket};
use orders_tests::{
    gateway::{Api, ApiResponse, Event, context},
    stale_read_store::StaleReadStore,
};
use serde_json::{Value, json};

const ORDER: &str = r#"{"ticketId":"t1"}"#;

async fn api_with_tickets(ids: &[&str]) -> Api<MemoryStore> {
    on_store_with_tickets(ids).await
}

async fn on_store_with_tickets<S: OrderStore + Default>(ids: &[&str]) -> Api<S> {
    let api = Api::<S>::default();
    for id in ids {
        api.store.apply_ticket(&ticket(id, 0), TicketRule::FirstOrNext).await.unwrap();
    }
    api
}

async fn place_order(api: &Api<impl OrderStore>, ticket: &str) -> String {
    let response = api.create(&Event::post(&json!({ "ticketId": ticket }).to_string())).await;
    assert_eq!(response.status(), 201, "{response:?}");
    response.body()["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_problem(response: &ApiResponse, status: u64) {
    assert_eq!(response.status(), status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let body = response.body();
    assert_eq!(body["status"], status);
    for field in ["type", "title", "detail"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {body}");
    }
    let errors = body["errors"].as_array().expect("a list of errors");
    assert!(!errors.is_empty());
    assert!(errors.iter().all(|error| error["message"].is_string()), "{body}");
}

#[tokio::test]
async fn order_is_created_shown_listed_and_cancelled() {
    let api = api_with_tickets(&["t1"]).await;
    let created = api.create(&Event::post(ORDER)).await;
    assert_eq!(created.status(), 201);
    let order = created.body();
    let id = order["id"].as_str().unwrap();
    assert_eq!(created.header("location").unwrap(), format!("/api/orders/{id}"));
    assert_eq!(order["userId"], "alice");
    assert_eq!((&order["status"], &order["version"]), (&json!("awaiting_payment"), &json!(0)));
    assert_eq!(order["expiresIn"], 30);
    let expected = json!({"id": "t1", "title": "Concert", "price": 19.9, "version": 0});
    assert_eq!(order["ticket"], expected);

    let shown = api.show(&Event::for_order("GET", id)).await;
    assert_eq!((shown.status(), &shown.body()["id"]), (200, &order["id"]));
    let listed = api.list(&Event::new("GET", "/api/orders")).await;
    assert_eq!((listed.status(), &listed.body()[0]["id"]), (200, &order["id"]));
    assert_eq!(listed.header("link"), None);

    for _ in 0..2 {
        let cancelled = api.cancel(&Event::for_order("DELETE", id)).await;
        assert_eq!((cancelled.status(), cancelled.text()), (204, ""));
    }
    let shown = api.show(&Event::for_order("GET", id)).await.body();
    assert_eq!((&shown["status"], &shown["expiresIn"]), (&json!("cancelled"), &json!(0)));
    assert_eq!(api.create(&Event::post(ORDER).by("bob")).await.status(), 201);
}

#[tokio::test]
async fn create_rejects_a_reserved_ticket_with_retry_after() {
    let api = api_with_tickets(&["t1"]).await;
    place_order(&api, "t1").await;
    let rejected = api.create(&Event::post(ORDER).by("bob")).await;
    assert_problem(&rejected, 409);
    assert_eq!(rejected.body()["type"], "urn:problem-type:orders:ticket-reserved");
    let seconds: u64 = rejected.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds));
}

async fn pay(api: &Api<MemoryStore>, id: &str) {
    let order = api.store.find(id.parse().unwrap()).await.unwrap().unwrap();
    let command = Command::Pay { payment_id: "p1".parse().unwrap(), ticket_is_free: false };
    commit(&api.store, &order, &command).await;
}

#[tokio::test]
async fn sold_ticket_rejects_create_and_cancel() {
    let api = api_with_tickets(&["t1"]).await;
    let id = place_order(&api, "t1").await;
    pay(&api, &id).await;
    let rejected = api.create(&Event::post(ORDER).by("bob")).await;
    assert_problem(&rejected, 409);
    assert_eq!(rejected.body()["type"], "urn:problem-type:orders:ticket-sold");
    assert_eq!(rejected.header("retry-after"), None);
    assert_problem(&api.cancel(&Event::for_order("DELETE", &id)).await, 409);
}

#[tokio::test]
async fn create_rejects_an_unknown_ticket() {
    let api = api_with_tickets(&[]).await;
    assert_problem(&api.create(&Event::post(ORDER)).await, 404);
}

#[tokio::test]
async fn foreign_order_looks_like_a_missing_order() {
    let api = api_with_tickets(&["t1"]).await;
    let own_order = place_order(&api, "t1").await;
    let missing_order = "00000000-0000-4000-8000-000000000000";
    let shown = api.show(&Event::for_order("GET", &own_order).by("bob")).await;
    assert_problem(&shown, 404);
    assert_eq!(shown, api.show(&Event::for_order("GET", missing_order).by("bob")).await);
    let cancelled = api.cancel(&Event::for_order("DELETE", &own_order).by("bob")).await;
    assert_eq!(cancelled, shown);
    assert_eq!(api.list(&Event::new("GET", "/api/orders").by("bob")).await.text(), "[]");
    let unchanged_order = api.show(&Event::for_order("GET", &own_order)).await.body();
    assert_eq!(unchanged_order["status"], "awaiting_payment");
}

#[tokio::test]
async fn invalid_order_id_is_not_found() {
    let api = api_with_tickets(&[]).await;
    for id in ["", "1", "\0", "%00", "../x", "é", &"x".repeat(5_000)] {
        assert_problem(&api.show(&Event::for_order("GET", id)).await, 404);
        assert_problem(&api.cancel(&Event::for_order("DELETE", id)).await, 404);
    }
}

#[tokio::test]
async fn repeated_key_returns_the_same_order() {
    let api = api_with_tickets(&["t1", "t2"]).await;
    let event = Event::post(ORDER).header("idempotency-key", "k1");
    let first = api.create(&event).await;
    assert_eq!(first.status(), 201);
    for _ in 0..3 {
        assert_eq!(api.create(&event).await, first);
    }
    let listed = api.list(&Event::new("GET", "/api/orders")).await.body();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));

    let other = Event::post(r#"{"ticketId":"t2"}"#).header("idempotency-key", "k1");
    assert_problem(&api.create(&other).await, 422);
    assert_eq!(api.create(&other.by("bob")).await.status(), 201);
}

#[tokio::test]
async fn create_rejects_an_invalid_idempotency_key() {
    let api = api_with_tickets(&["t1"]).await;
    for key in ["", " ", "a b", "schlüssel", &"k".repeat(256)] {
        let rejected = api.create(&Event::post(ORDER).header("idempotency-key", key)).await;
        assert_problem(&rejected, 400);
        assert_eq!(rejected.body()["errors"][0]["field"], "idempotency-key", "{key:?}");
    }
}

#[tokio::test]
async fn show_returns_304_for_a_matching_etag() {
    let api = api_with_tickets(&["t1"]).await;
    let id = place_order(&api, "t1").await;
    let tag = api.show(&Event::for_order("GET", &id)).await.header("etag").unwrap().to_owned();
    let conditional = Event::for_order("GET", &id).header("if-none-match", &tag);
    let unchanged = api.show(&conditional).await;
    assert_eq!((unchanged.status(), unchanged.text()), (304, ""));
    assert_eq!(unchanged.header("etag"), Some(tag.as_str()));
    api.cancel(&Event::for_order("DELETE", &id)).await;
    assert_eq!(api.show(&conditional).await.status(), 200);
}

/// Returns the query of the next page from a `Link` header.
fn next_query(response: &ApiResponse) -> Option<String> {
    let link = response.header("link")?;
    let target = link.strip_prefix("</api/orders?")?.strip_suffix(">; rel=\"next\"")?;
    Some(target.to_owned())
}

#[tokio::test]
async fn list_pages_contain_every_order_once() {
    let tickets = ["t1", "t2", "t3", "t4", "t5"];
    let api = api_with_tickets(&tickets).await;
    let mut placed = Vec::new();
    for ticket in tickets {
        placed.push(place_order(&api, ticket).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for (sort, expected) in [
        ("createdAt", placed.clone()),
        ("-createdAt", placed.iter().rev().cloned().collect::<Vec<_>>()),
    ] {
        let mut listed_ids = Vec::new();
        let mut query = Some(format!("limit=2&sort={sort}"));
        while let Some(page_query) = query {
            let page = api.list(&Event::new("GET", "/api/orders").query(&page_query)).await;
            assert_eq!(page.status(), 200, "{page:?}");
            let orders = page.body();
            listed_ids.extend(orders.as_array().unwrap().iter().map(|order| order["id"].clone()));
            query = next_query(&page);
        }
        assert_eq!(listed_ids, expected, "{sort}");
    }
}

#[tokio::test]
async fn foreign_cursor_lists_only_own_orders() {
    let api = api_with_tickets(&["t1", "t2", "t3"]).await;
    place_order(&api, "t1").await;
    place_order(&api, "t2").await;
    api.create(&Event::post(r#"{"ticketId":"t3"}"#).by("bob")).await;
    let first = api.list(&Event::new("GET", "/api/orders").query("limit=1")).await;
    let foreign = Event::new("GET", "/api/orders").query(&next_query(&first).unwrap()).by("bob");
    for order in api.list(&foreign).await.body().as_array().unwrap() {
        assert_eq!(order["userId"], "bob");
    }
}

#[tokio::test]
async fn list_rejects_an_invalid_parameter() {
    let api = api_with_tickets(&[]).await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1000000000", "limit"),
        ("limit=", "limit"),
        ("limit=%00", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=%FF%FE", "cursor"),
        ("sort=price", "sort"),
    ] {
        let rejected = api.list(&Event::new("GET", "/api/orders").query(query)).await;
        assert_problem(&rejected, 400);
        assert_eq!(rejected.body()["errors"][0]["field"], field, "{query}");
    }
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
async fn create_rejects_an_invalid_body() {
    let api = api_with_tickets(&["t1"]).await;
    for body in ["", "{", "null", "[]", "{}", r#"{"ticketId":1}"#, r#"{"ticketId":"a\u0000"}"#] {
        assert_problem(&api.create(&Event::post(body)).await, 400);
    }
    let oversized = format!(r#"{{"ticketId":"t1","padding":"{}"}}"#, "x".repeat(5_000));
    assert_problem(&api.create(&Event::post(&oversized)).await, 413);
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let event = Event::post(ORDER).header("content-type", media_type);
        assert_problem(&api.create(&event).await, 415);
    }
    for media_type in ["application/json; charset=utf-8", "Application/JSON"] {
        let event = Event::post(r#"{"ticketId":"t2"}"#).header("content-type", media_type);
        assert_problem(&api.create(&event).await, 404);
    }
}

#[tokio::test]
async fn create_accepts_a_base64_body() {
    let api = api_with_tickets(&["t1"]).await;
    let encoded = |body: &str| Event::post(body).set("isBase64Encoded", json!(true));
    assert_problem(&api.create(&encoded("not base64!")).await, 400);
    assert_problem(&api.create(&encoded("/////w==")).await, 400);
    assert_eq!(api.create(&encoded("eyJ0aWNrZXRJZCI6InQxIn0=")).await.status(), 201);
}

#[tokio::test]
async fn token_without_a_valid_sub_is_rejected() {
    let api = api_with_tickets(&["t1"]).await;
    let claims =
        |claims: Value| Event::post(ORDER).with("/requestContext/authorizer/jwt/claims", claims);
    for sub in ["", " ", "a b", "[alice bob]", "[alice]", "\0", &"x".repeat(256)] {
        let rejected = api.create(&claims(json!({ "sub": sub }))).await;
        assert_problem(&rejected, 401);
        assert!(rejected.header("www-authenticate").is_some());
    }
    assert_problem(&api.create(&claims(json!({}))).await, 401);
    // API Gateway never sends these claims.
    for claims in [claims(json!({"sub": ["alice"]})), claims(json!({"sub": 7}))] {
        assert_problem(&api.create(&claims).await, 400);
    }
    let no_authorizer = Event::post(ORDER).with("/requestContext/authorizer", Value::Null);
    assert_problem(&api.create(&no_authorizer).await, 401);
}

#[tokio::test]
async fn hostile_request_never_causes_a_5xx() {
    let api = api_with_tickets(&["t1"]).await;
    let list = || Event::new("GET", "/api/orders");
    for event in [
        list().query("limit=1&\u{0}"),
        list().query("%%%"),
        list().query("\u{fe0f}=\"<>\" {}|^`"),
        list().header("host", "[::1"),
        list().header("host", "a b"),
        list().header("x-forwarded-proto", "://"),
        list().header("x-correlation-id", "a b"),
        list().header("x-correlation-id", &"x".repeat(300)),
        list().header("traceparent", "00"),
        list().header("cookie", "\u{1}"),
        list().header("x-é", "é"),
        list().set("cookies", json!(["a=b", "é"])),
        list().set("rawPath", json!("//\u{0}/ %")),
        list().set("headers", Value::Null),
        list().set("body", json!(7)),
        list().set("requestContext", Value::Null),
    ] {
        let response = api.list(&event).await;
        assert!((200..500).contains(&response.status()), "{event:?}: {response:?}");
        if response.status() >= 400 {
            assert_problem(&response, response.status());
        }
    }
}

#[tokio::test]
async fn invalid_gateway_event_returns_400() {
    for event in ["null", "[]", "{}", "7", r#""x""#] {
        let handler = |_| async { panic!("called without a request") };
        let response = orders_lambda::http::respond(event, &context(), clock::now(), handler).await;
        assert_eq!(response.status_code, 400, "{event}");
    }
}

#[tokio::test]
async fn handler_timeout_returns_503() {
    let mut context = context();
    context.deadline = clock::now().epoch_ms() + 550;
    let event = include_str!("../support/fixtures/http_api_request.json");
    let response =
        orders_lambda::http::respond(event, &context, clock::now(), |_| std::future::pending())
            .await;
    assert_eq!(response.status_code, 503);
    assert_eq!(response.headers["retry-after"], "1");
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
    assert_eq!(unavailable.header("retry-after"), Some("1"));
    assert_problem(&failing(|| StoreError::Refused("no such table".into())).await, 500);
}

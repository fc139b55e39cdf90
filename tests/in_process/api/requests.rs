//! Invalid requests.

use orders_lambda::clock;
use orders_tests::gateway::{Event, context};
use serde_json::{Value, json};

use crate::{ORDER, api_with_tickets, assert_problem};

#[tokio::test]
async fn create_rejects_an_unknown_ticket() {
    let api = api_with_tickets(&[]).await;
    assert_problem(&api.create(&Event::post(ORDER)).await, 404);
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
async fn create_rejects_an_invalid_idempotency_key() {
    let api = api_with_tickets(&["t1"]).await;
    for key in ["", " ", "a b", "schlüssel", &"k".repeat(256)] {
        let rejected = api.create(&Event::post(ORDER).header("idempotency-key", key)).await;
        assert_problem(&rejected, 400);
        assert_eq!(rejected.body()["errors"][0]["field"], "idempotency-key", "{key:?}");
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

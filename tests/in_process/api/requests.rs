//! Invalid requests.

use orders_contracts::OutgoingEvent;
use orders_domain::{OrderEvent, OrderStore};
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
        list().header("traceparent", "é"),
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
async fn events_of_a_traced_request_are_in_its_trace() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let valid = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let later = format!("cc-{TRACE}-00f067aa0ba902b7-09-more");
    let event = Event::post(ORDER);
    for (event, correlation_id, flags) in [
        (event.clone().header("traceparent", &valid), Some(TRACE), Some("01")),
        (event.clone().header("traceparent", &later), Some(TRACE), Some("01")),
        (
            event.clone().header("traceparent", &valid.replace("-01", "-00")),
            Some(TRACE),
            Some("00"),
        ),
        (event.clone().header("traceparent", &format!("{valid},{valid}")), None, None),
        (event.clone().header("traceparent", "é"), None, None),
        (event.clone().header("tracestate", "congo=t61rcWkgMzE"), None, None),
        (event, None, None),
    ] {
        for sent in [None, Some("checkout-42")] {
            let event =
                sent.map_or(event.clone(), |id| event.clone().header("x-correlation-id", id));
            let api = api_with_tickets(&["t1"]).await;
            let id = api.create(&event).await.body()["id"].as_str().unwrap().parse().unwrap();
            let order = api.store.find(id).await.unwrap().unwrap();
            let published = OutgoingEvent::new(&OrderEvent::Created, &order, order.created_at);
            let detail: Value = serde_json::from_str(&published.unwrap().detail).unwrap();
            let metadata = &detail["metadata"];
            if let Some(correlation_id) = sent.or(correlation_id) {
                assert_eq!(metadata["correlationId"], correlation_id);
            }
            let traceparent =
                metadata["traceparent"].as_str().map(|text| text.split('-').collect());
            let traceparent: Option<Vec<&str>> = traceparent;
            let trace = traceparent.as_ref().map(|fields| (fields[0], fields[1], fields[3]));
            assert_eq!(trace, flags.map(|flags| ("00", TRACE, flags)), "{event:?}");
            assert_ne!(traceparent.map(|fields| fields[2]), Some("00f067aa0ba902b7"));
        }
    }
}

//! Invalid requests: each gets the documented 4xx, never a 5xx.

use reqwest::Method;
use serde_json::json;

use orders_tests::buyers::{ApiResponse, Buyer, TestStack, buyer_with_claims, new_buyer};

async fn post(buyer: &Buyer, content_type: &str, body: impl Into<reqwest::Body>) -> ApiResponse {
    let request = buyer.request(Method::POST, "/api/orders").header("Content-Type", content_type);
    buyer.send(request.body(body)).await
}

#[tokio::test]
async fn create_rejects_an_invalid_body() {
    let buyer = new_buyer();
    let bodies: [&[u8]; 13] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\"ticket\"",
        b"{}",
        b"{\"ticketId\":null}",
        b"{\"ticketId\":7}",
        b"{\"ticketId\":[\"a\"]}",
        b"{\"ticketId\":\"\"}",
        b"{\"ticketId\":\"a\\u0000b\"}",
        b"\0",
        b"{\"ticketId\":\"\xff\"}",
    ];
    for body in bodies {
        let response = post(&buyer, "application/json", body).await;
        assert_eq!(response.checked_status(), 400, "{body:?}");
    }
    let oversized = vec![b'x'; 100_000];
    assert_eq!(post(&buyer, "application/json", oversized).await.checked_status(), 413);
    for content_type in ["text/plain", "application/octet-stream", "multipart/form-data"] {
        let response = post(&buyer, content_type, r#"{"ticketId":"a"}"#).await;
        assert_eq!(response.checked_status(), 415, "{content_type}");
    }
    assert_eq!(post(&buyer, "application/json", r#"{"ticketId":"a"}"#).await.checked_status(), 404);
}

#[tokio::test]
async fn invalid_parameter_is_rejected() {
    let buyer = new_buyer();
    for query in [
        "limit=0",
        "limit=1000000000",
        "limit=-1",
        "limit=x",
        "limit=%00",
        "cursor=x",
        "cursor=%FF",
        "cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "sort=price",
    ] {
        let response = buyer.get(&format!("/api/orders?{query}")).await;
        assert_eq!(response.checked_status(), 400, "{query}");
    }
    for id in ["x", "%00", "%FF", "a%20b", "%25", "%C3%A9", "a%22%3C%3E%7B%7D%5C%5E%60"] {
        let response = buyer.get(&format!("/api/orders/{id}")).await;
        assert_eq!(response.checked_status(), 404, "{id}");
        assert_eq!(buyer.cancel(id).await.checked_status(), 404, "{id}");
    }
}

#[tokio::test]
async fn create_rejects_an_invalid_header() {
    let buyer = new_buyer();
    let ticket = TestStack::connect().await.new_ticket().await;
    for (header, value) in [
        ("Idempotency-Key", "".as_bytes()),
        ("Idempotency-Key", "a b".as_bytes()),
        ("Idempotency-Key", "é".as_bytes()),
        ("Idempotency-Key", &[0xff]),
        ("Idempotency-Key", &[b'k'; 300]),
    ] {
        let request = buyer.request(Method::POST, "/api/orders").header(header, value);
        let response = buyer.send(request.json(&json!({ "ticketId": ticket }))).await;
        assert_eq!(response.checked_status(), 400, "{header}: {value:?}");
    }
    let request = buyer.request(Method::GET, "/api/orders").header("X-Other", [0xffu8].as_slice());
    assert!(buyer.send(request).await.status.as_u16() < 500);
}

#[tokio::test]
async fn token_without_a_valid_sub_is_rejected() {
    for claims in [json!({}), json!({"sub": ["a", "b"]}), json!({"sub": ["a"]}), json!({"sub": ""})]
    {
        let caller = buyer_with_claims(&claims);
        for response in [caller.get("/api/orders").await, caller.order("a").await] {
            assert_eq!(response.checked_status(), 401, "{claims}");
        }
    }
}

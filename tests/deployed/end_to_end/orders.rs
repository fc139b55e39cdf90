//! The life of an order, as seen by its buyer.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use orders_tests::buyers::{TestStack, eventually, http_client, new_buyer, new_buyers};

#[tokio::test]
async fn order_is_created_shown_listed_and_cancelled() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();

    let created = alice.order(&ticket).await;
    assert_eq!(created.status, 201, "{created:?}");
    let order = created.json();
    let id = order["id"].as_str().unwrap();
    assert_eq!(created.header("location"), format!("/api/orders/{id}"));
    assert_eq!((&order["status"], &order["version"]), (&json!("awaiting_payment"), &json!(0)));
    let expected = json!({"id": ticket, "title": "Version 0", "price": 0.5, "version": 0});
    assert_eq!(order["ticket"], expected);

    let rejected = bob.order(&ticket).await;
    assert_eq!(rejected.checked_status(), 409);
    let seconds: u64 = rejected.header("retry-after").parse().unwrap();
    // Not before the hold lapses, and at most a second later.
    assert!((1..=32).contains(&seconds), "{seconds} s");

    let path = format!("/api/orders/{id}");
    let shown = alice.get(&path).await;
    assert_eq!((shown.status.as_u16(), &shown.json()["expiresAt"]), (200, &order["expiresAt"]));
    let again = alice.request(Method::GET, &path).header("If-None-Match", shown.header("etag"));
    assert_eq!(alice.send(again).await.status, 304);
    let listed = alice.get("/api/orders").await;
    assert_eq!((listed.status.as_u16(), &listed.json()[0]["id"]), (200, &order["id"]));

    for (response, status) in [
        (bob.get(&path).await, 404),
        (bob.cancel(id).await, 404),
        (alice.get("/api/orders/00000000-0000-4000-8000-000000000000").await, 404),
        (alice.order("no-such-ticket").await, 404),
    ] {
        assert_eq!(response.checked_status(), status);
    }
    assert_eq!(bob.get("/api/orders").await.text, "[]");

    assert_eq!(alice.cancel(id).await.status, 204);
    assert_eq!(alice.cancel(id).await.status, 204);
    assert_eq!(alice.get(&path).await.json()["status"], "cancelled");
    assert_eq!(bob.order(&ticket).await.status, 201, "a free ticket");
}

#[tokio::test]
async fn missing_or_forged_token_is_rejected() {
    let alice = new_buyer();
    let forged = format!("{}x", token_of(&alice.request(Method::GET, "/api/orders")));
    let url = format!("{}/api/orders", orders_tests::stack::stack().api_url);
    let none = http_client().get(&url);
    for request in [none.try_clone().unwrap(), none.bearer_auth(forged)] {
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
}

fn token_of(request: &reqwest::RequestBuilder) -> String {
    let request = request.try_clone().unwrap().build().unwrap();
    let header = request.headers()["authorization"].to_str().unwrap();
    header.strip_prefix("Bearer ").unwrap().to_owned()
}

#[tokio::test]
async fn lapsed_hold_is_taken_over_by_another_buyer() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();
    let order = alice.order(&ticket).await.json();
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    assert_eq!(bob.order(&ticket).await.status, 409);
    eventually(async || alice.get(&path).await.json()["status"] == "expired").await;
    let taken_over = bob.order(&ticket).await;
    assert_eq!(taken_over.status, 201);
    let lapsed = alice.get(&path).await.json();
    assert_eq!((&lapsed["status"], &lapsed["version"]), (&json!("expired"), &json!(1)));
    let row = test_stack.ticket_row(&ticket).await.unwrap();
    assert_eq!(row["locked_by"], taken_over.json()["id"]);
    let id = order["id"].as_str().unwrap();
    assert_eq!(alice.cancel(id).await.status, 204, "an expired order");
    let cancelled = alice.get(&path).await.json();
    assert_eq!((&cancelled["status"], &cancelled["version"]), (&json!("cancelled"), &json!(2)));
    assert_eq!(test_stack.ticket_row(&ticket).await.unwrap(), row, "an unchanged lock");
}

#[tokio::test]
async fn buyer_who_holds_the_ticket_gets_the_order_again() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();
    let created = alice.order(&ticket).await;
    assert_eq!(
        (created.status.as_u16(), created.header("cache-control")),
        (201, "private, no-store")
    );
    for again in [alice.order(&ticket).await, alice.order_with_key(&ticket, "unused").await] {
        assert_eq!(again.status, 200, "{again:?}");
        assert_eq!(again.header("location"), created.header("location"));
        assert_eq!(again.json()["id"], created.json()["id"]);
    }
    assert_eq!(bob.order(&ticket).await.checked_status(), 409);
    // The key is still unused.
    let other = alice.order_with_key(&test_stack.new_ticket().await, "unused").await;
    assert_eq!(other.status, 201);
}

#[tokio::test]
async fn repeated_key_returns_the_order_with_the_time_left() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let alice = new_buyer();
    let created = alice.order_with_key(&ticket, "attempt").await;
    assert_eq!((created.status.as_u16(), &created.json()["expiresIn"]), (201, &json!(29)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let repeated = alice.order_with_key(&ticket, "attempt").await;
    assert_eq!(repeated.status, 200);
    let (before, after) = (created.json(), repeated.json());
    assert!(after["expiresIn"].as_u64().unwrap() <= 26, "{after}");
    for field in ["id", "version", "createdAt", "expiresAt", "ticket"] {
        assert_eq!(before[field], after[field]);
    }
    let reused = alice.order_with_key(&test_stack.new_ticket().await, "attempt").await;
    assert_eq!(reused.checked_status(), 422);
}

#[tokio::test]
async fn list_is_read_page_by_page() {
    let test_stack = TestStack::connect().await;
    let tickets = test_stack.new_tickets(5).await;
    let alice = new_buyer();
    let mut placed = Vec::new();
    for ticket in &tickets {
        placed.push(alice.order(ticket).await.json()["id"].clone());
    }
    for (sort, expected) in
        [("createdAt", placed.clone()), ("-createdAt", placed.iter().rev().cloned().collect())]
    {
        let mut listed_ids = Vec::new();
        let mut path = Some(format!("/api/orders?limit=2&sort={sort}"));
        while let Some(page_path) = path {
            let page = alice.get(&page_path).await;
            assert_eq!(page.status, 200, "{page:?}");
            listed_ids
                .extend(page.json().as_array().unwrap().iter().map(|order| order["id"].clone()));
            path = page.headers.get("link").map(|link| {
                let target = link.to_str().unwrap().strip_prefix('<').unwrap();
                target.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
            });
        }
        assert_eq!(listed_ids, expected, "{sort}");
    }
}

//! Orders: created, found again, shown, listed, cancelled and paid.

use std::time::Duration;

use orders_domain::{Command, OrderId};
use orders_lambda::clock;
use orders_testing::{MemoryStore, commit, order_id, place};
use orders_tests::{
    events,
    gateway::{Api, ApiResponse, Event},
};
use serde_json::json;

use crate::{
    ORDER, api_with_tickets, assert_problem, assert_rejected, deliver_payment_event, order_of, pay,
    place_order, retry_after,
};

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
    assert!((1..=30).contains(&order["expiresIn"].as_u64().unwrap()), "{order}");
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
    assert_rejected(&rejected, 409, "ticket-reserved");
    // The time left, and up to a second more.
    assert!((1..=31).contains(&retry_after(&rejected)));
}

#[tokio::test]
async fn own_hold_is_found_again_without_its_key() {
    let api = api_with_tickets(&["t1"]).await;
    let id = place_order(&api, "t1").await;
    let with_key = Event::post(ORDER).header("idempotency-key", "k1");
    for event in [Event::post(ORDER), with_key.clone()] {
        let found = api.create(&event).await;
        assert_eq!((found.status(), &found.body()["id"]), (200, &json!(id)));
        assert_eq!(found.header("location").unwrap(), format!("/api/orders/{id}"));
    }
    // The key has made no order.
    api.cancel(&Event::for_order("DELETE", &id)).await;
    let created = api.create(&with_key).await;
    assert_eq!(created.status(), 201);
    assert_ne!(created.body()["id"], json!(id));
}

#[tokio::test]
async fn own_paid_order_is_found_again() {
    let api = api_with_tickets(&["t1"]).await;
    let id = place_order(&api, "t1").await;
    pay(&api, &id, "p1").await;
    let found = api.create(&Event::post(ORDER)).await;
    assert_eq!((found.status(), &found.body()["id"]), (200, &json!(id)));
    assert_eq!(found.body()["paidBy"], "p1");
}

#[tokio::test]
async fn own_lapsed_hold_is_taken_over() {
    let api = Api::<MemoryStore>::default();
    let lapsed = order_of(order_id(1), 30);
    place(&api.store, &lapsed).await;
    let created = api.create(&Event::post(ORDER)).await;
    assert_eq!(created.status(), 201);
    assert_ne!(created.body()["id"], lapsed.id.to_string());
}

#[tokio::test]
async fn later_replay_by_key_has_the_time_that_is_left() {
    let api = Api::<MemoryStore>::default();
    let id = OrderId::for_key(&"alice".parse().unwrap(), &"k1".parse().unwrap());
    place(&api.store, &order_of(id, 20)).await;
    let event = Event::post(ORDER).header("idempotency-key", "k1");
    let replay = api.create(&event).await;
    assert_eq!((replay.status(), &replay.body()["id"]), (200, &json!(id.to_string())));
    assert_eq!(replay.header("location").unwrap(), format!("/api/orders/{id}"));
    let body = replay.body();
    assert!(body["expiresIn"].as_u64().unwrap() <= 10, "{body}");
    assert_eq!(body["status"], "awaiting_payment");
}

#[tokio::test]
async fn replay_by_key_of_a_due_order_shows_it_expired() {
    let api = Api::<MemoryStore>::default();
    let id = OrderId::for_key(&"alice".parse().unwrap(), &"k1".parse().unwrap());
    place(&api.store, &order_of(id, 30)).await;
    let replay = api.create(&Event::post(ORDER).header("idempotency-key", "k1")).await;
    assert_eq!(replay.status(), 200);
    let body = replay.body();
    assert_eq!((&body["status"], &body["expiresIn"]), (&json!("expired"), &json!(0)));
}

/// The cancellation of a due order is final, whether or not a timer has expired the order before.
#[tokio::test]
async fn payment_never_buys_a_cancelled_order() {
    for timer_has_fired in [false, true] {
        let api = Api::<MemoryStore>::default();
        let order = order_of(order_id(1), 31);
        place(&api.store, &order).await;
        if timer_has_fired {
            commit(&api.store, &order, &Command::Expire { now: clock::now() }).await;
        }
        let id = order.id.to_string();
        assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);

        // Sent while the hold was active.
        deliver_payment_event(&api, &events::payment("p1", &id, order.created_at)).await;
        let shown = api.show(&Event::for_order("GET", &id)).await.body();
        assert_eq!(shown["status"], "cancelled");
        let refund = json!({"paymentId": "p1", "reason": "order_cancelled", "state": "due"});
        assert_eq!(shown["refunds"], json!([refund]));
    }
}

#[tokio::test]
async fn order_has_its_payments() {
    let api = api_with_tickets(&["t1"]).await;
    let id = place_order(&api, "t1").await;
    let show = || async { api.show(&Event::for_order("GET", &id)).await.body() };
    let unpaid = show().await;
    assert_eq!((unpaid.get("paidBy"), unpaid.get("refunds")), (None, None));
    pay(&api, &id, "p1").await;
    pay(&api, &id, "p2").await;
    let listed = api.list(&Event::new("GET", "/api/orders")).await.body()[0].take();
    for order in [show().await, listed] {
        assert_eq!((&order["status"], &order["paidBy"]), (&json!("paid"), &json!("p1")));
        let refund = json!({"paymentId": "p2", "reason": "already_paid", "state": "due"});
        assert_eq!(order["refunds"], json!([refund]));
    }
}

#[tokio::test]
async fn response_is_private_and_stored_only_with_an_etag() {
    let api = api_with_tickets(&["t1"]).await;
    let created = api.create(&Event::post(ORDER)).await;
    let id = created.body()["id"].as_str().unwrap().to_owned();
    let show = Event::for_order("GET", &id);
    let shown = api.show(&show).await;
    let tag = shown.header("etag").unwrap();
    let not_modified = api.show(&show.clone().header("if-none-match", tag)).await;
    assert_eq!(not_modified.status(), 304);
    for response in [&shown, &not_modified] {
        assert_eq!(response.header("cache-control"), Some("private, no-cache"), "{response:?}");
    }
    let delete = Event::for_order("DELETE", &id);
    for response in [
        created,
        api.create(&Event::post(ORDER)).await,
        api.create(&Event::post(ORDER).by("bob")).await,
        api.create(&Event::post("{}")).await,
        api.list(&Event::new("GET", "/api/orders")).await,
        api.show(&show.by("bob")).await,
        api.cancel(&delete).await,
        api.cancel(&delete.by("bob")).await,
        api.list(&Event::new("GET", "/api/orders").by("")).await,
    ] {
        assert_eq!(response.header("etag"), None);
        assert_eq!(response.header("cache-control"), Some("private, no-store"), "{response:?}");
    }
}

#[tokio::test]
async fn sold_ticket_rejects_create_and_cancel() {
    let api = api_with_tickets(&["t1"]).await;
    let id = place_order(&api, "t1").await;
    pay(&api, &id, "p1").await;
    let rejected = api.create(&Event::post(ORDER).by("bob")).await;
    assert_rejected(&rejected, 409, "ticket-sold");
    assert_eq!(rejected.header("retry-after"), None);
    assert_problem(&api.cancel(&Event::for_order("DELETE", &id)).await, 409);
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
async fn repeated_key_returns_the_same_order() {
    let api = api_with_tickets(&["t1", "t2"]).await;
    let event = Event::post(ORDER).header("idempotency-key", "k1");
    let first = api.create(&event).await;
    assert_eq!(first.status(), 201);
    // Another request: the same request in the same millisecond would count as its own repeat.
    let event = event.header("x-correlation-id", "replay");
    for _ in 0..3 {
        let replay = api.create(&event).await;
        assert_eq!((replay.status(), &replay.body()["id"]), (200, &first.body()["id"]));
        assert_eq!(replay.header("location"), first.header("location"));
    }
    let listed = api.list(&Event::new("GET", "/api/orders")).await.body();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));

    let other = Event::post(r#"{"ticketId":"t2"}"#).header("idempotency-key", "k1");
    assert_problem(&api.create(&other).await, 422);
    assert_eq!(api.create(&other.by("bob")).await.status(), 201);
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

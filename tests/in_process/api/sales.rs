//! Tickets that cost nothing, are withdrawn, or have changed; and the order of the checks.

use orders_domain::{OrderStore, Price, Sale, Ticket, TicketRule, TicketVersion};
use orders_testing::{MemoryStore, order_id, place, ticket};
use orders_tests::gateway::{Api, ApiResponse, Event};
use serde_json::{Value, json};

use crate::{
    ORDER, api_with_tickets, apply, assert_problem, assert_rejected, order_of, pay, place_order,
    retry_after,
};

const WITHDRAWN: &str = "ticket-withdrawn";
const CHANGED: &str = "ticket-changed";

/// The API with `t1`, which costs nothing.
async fn api_with_a_gift() -> Api<MemoryStore> {
    let api = Api::<MemoryStore>::default();
    let gift = Ticket { price: Price::from_minor(0).unwrap(), ..ticket("t1", 0) };
    apply(&api, &Sale::Open(gift)).await;
    api
}

/// Withdraws `t1` with version 1.
async fn withdraw(api: &Api<MemoryStore>) {
    let (id, version) = ("t1".parse().unwrap(), TicketVersion::new(1));
    apply(api, &Sale::Withdrawn { id, version }).await;
}

/// An order of `t1` at the version that the buyer has seen.
fn order_at_version(version: &Value) -> Event {
    Event::post(&json!({"ticketId": "t1", "ticketVersion": version}).to_string())
}

#[tokio::test]
async fn free_ticket_is_paid_at_once_and_can_be_given_back() {
    let api = api_with_a_gift().await;
    let created = api.create(&Event::post(ORDER)).await;
    assert_eq!(created.status(), 201);
    let order = created.body();
    assert_eq!((&order["status"], &order["version"]), (&json!("paid"), &json!(0)));
    assert_eq!((&order["expiresIn"], &order["ticket"]["price"]), (&json!(0), &json!(0)));
    assert_eq!((order.get("paidBy"), order.get("refunds")), (None, None));
    let id = order["id"].as_str().unwrap();
    assert_eq!(created.header("location").unwrap(), format!("/api/orders/{id}"));

    let shown = api.show(&Event::for_order("GET", id)).await;
    assert_eq!((shown.status(), shown.body()), (200, order.clone()));
    assert_eq!(shown.header("etag"), Some("W/\"0-paid\""));
    let again = api.create(&Event::post(ORDER)).await;
    assert_eq!((again.status(), again.body()), (200, order.clone()));
    assert_rejected(&api.create(&Event::post(ORDER).by("bob")).await, 409, "ticket-sold");

    for _ in 0..2 {
        let cancelled = api.cancel(&Event::for_order("DELETE", id)).await;
        assert_eq!((cancelled.status(), cancelled.text()), (204, ""));
    }
    let shown = api.show(&Event::for_order("GET", id)).await.body();
    assert_eq!((&shown["status"], &shown["version"]), (&json!("cancelled"), &json!(1)));
    let next = api.create(&Event::post(ORDER).by("bob")).await;
    assert_eq!((next.status(), &next.body()["status"]), (201, &json!("paid")));
    assert_rejected(&api.create(&Event::post(ORDER)).await, 409, "ticket-sold");
}

#[tokio::test]
async fn free_ticket_is_kept_after_its_hold() {
    let api = api_with_a_gift().await;
    let mut order = order_of(order_id(1), 31);
    order.ticket.price = Price::from_minor(0).unwrap();
    order.status = orders_domain::Status::Free;
    place(&api.store, &order).await;
    let id = order.id.to_string();
    assert_eq!(api.show(&Event::for_order("GET", &id)).await.body()["status"], "paid");
    assert_rejected(&api.create(&Event::post(ORDER).by("bob")).await, 409, "ticket-sold");
    assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);
    assert_eq!(api.create(&Event::post(ORDER).by("bob")).await.status(), 201);
}

#[tokio::test]
async fn replay_by_key_of_a_free_order_is_that_order_in_every_status() {
    let api = api_with_a_gift().await;
    let event = Event::post(ORDER).header("idempotency-key", "k1");
    let created = api.create(&event).await;
    assert_eq!(created.status(), 201);
    let id = created.body()["id"].as_str().unwrap().to_owned();
    let replay = event.header("x-correlation-id", "replay");
    let found = api.create(&replay).await;
    assert_eq!((found.status(), &found.body()["status"]), (200, &json!("paid")));
    assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);
    let found = api.create(&replay).await;
    assert_eq!((found.status(), &found.body()["status"]), (200, &json!("cancelled")));
    assert_eq!(found.body()["id"], json!(id));
}

#[tokio::test]
async fn withdrawn_ticket_is_gone_until_it_is_on_sale_again() {
    let api = Api::<MemoryStore>::default();
    withdraw(&api).await; // a ticket that was never on sale
    let gone = api.create(&Event::post(ORDER)).await;
    assert_rejected(&gone, 410, WITHDRAWN);
    assert_eq!(gone.header("retry-after"), None);
    assert_eq!(gone.body().get("ticket"), None);
    apply(&api, &Sale::Open(ticket("t1", 2))).await;
    place_order(&api, "t1").await;
}

#[tokio::test]
async fn hold_of_a_withdrawn_ticket_continues() {
    let api = api_with_tickets(&["t1"]).await;
    let with_key = Event::post(ORDER).header("idempotency-key", "k1");
    let id = api.create(&with_key).await.body()["id"].as_str().unwrap().to_owned();
    withdraw(&api).await;
    let shown = api.show(&Event::for_order("GET", &id)).await;
    assert_eq!(shown.body()["status"], "awaiting_payment");
    for own in [Event::post(ORDER), with_key.header("x-correlation-id", "replay")] {
        let found = api.create(&own).await;
        assert_eq!((found.status(), &found.body()["id"]), (200, &json!(id)));
    }
    assert_rejected(&api.create(&Event::post(ORDER).by("bob")).await, 410, WITHDRAWN);

    pay(&api, &id, "p1").await;
    assert_eq!(api.create(&Event::post(ORDER)).await.body()["status"], "paid");
    assert_rejected(&api.create(&Event::post(ORDER).by("bob")).await, 410, WITHDRAWN);
}

#[tokio::test]
async fn cancelled_order_of_a_withdrawn_ticket_leaves_nothing_to_order() {
    let api = api_with_tickets(&["t1"]).await;
    let id = place_order(&api, "t1").await;
    withdraw(&api).await;
    assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);
    for buyer in ["alice", "bob"] {
        assert_rejected(&api.create(&Event::post(ORDER).by(buyer)).await, 410, WITHDRAWN);
    }
}

#[tokio::test]
async fn ticket_version_of_the_current_ticket_is_accepted() {
    for version in [json!(3), json!(null)] {
        let api = Api::<MemoryStore>::default();
        apply(&api, &Sale::Open(ticket("t1", 3))).await;
        let created = api.create(&order_at_version(&version)).await;
        assert_eq!((created.status(), &created.body()["ticket"]["version"]), (201, &json!(3)));
    }
}

#[tokio::test]
async fn ticket_version_of_another_ticket_is_answered_with_the_current_one() {
    let api = Api::<MemoryStore>::default();
    apply(&api, &Sale::Open(ticket("t1", 3))).await;
    let current = json!({"id": "t1", "title": "Concert", "price": 19.9, "version": 3});
    let rejected = async |version| {
        let response = api.create(&order_at_version(&json!(version))).await;
        assert_rejected(&response, 409, CHANGED);
        assert_eq!(response.body()["ticket"], current);
        response
    };
    for older in [0_u64, 2] {
        assert_eq!(rejected(older).await.header("retry-after"), None);
    }
    // Its event is on the way.
    for newer in [4, TicketVersion::MAX.number()] {
        assert!((1..=2).contains(&retry_after(&rejected(newer).await)));
    }
    // Nothing is locked.
    assert_eq!(api.list(&Event::new("GET", "/api/orders")).await.text(), "[]");
    assert_eq!(api.create(&Event::post(ORDER).by("bob")).await.status(), 201);
}

#[tokio::test]
async fn invalid_ticket_version_is_rejected() {
    let api = api_with_tickets(&["t1"]).await;
    let beyond = TicketVersion::MAX.number() + 1;
    for version in [
        json!("0"),
        json!(-1),
        json!(0.5),
        json!(1e30),
        json!(beyond),
        json!([0]),
        json!({}),
        json!(true),
    ] {
        let rejected = api.create(&order_at_version(&version)).await;
        assert_problem(&rejected, 400);
        assert_eq!(rejected.body()["errors"][0]["field"], "ticketVersion", "{version}");
    }
}

/// Responses to an order at this version: by alice, by alice with the key, and by bob.
async fn responses_to_version(api: &Api<MemoryStore>, version: u64) -> [ApiResponse; 3] {
    let order = order_at_version(&json!(version));
    let replay = order.clone().header("idempotency-key", "k1");
    // Another request than the one that placed the order, even in the same millisecond.
    let replay = replay.header("x-correlation-id", "replay");
    [api.create(&order).await, api.create(&replay).await, api.create(&order.by("bob")).await]
}

/// The order of the key and the buyer's own order come before the version, and the version before
/// the lock.
#[tokio::test]
async fn ticket_version_is_compared_after_own_orders_and_before_the_lock() {
    let api = api_with_tickets(&["t1", "t2"]).await;
    let with_key = Event::post(ORDER).header("idempotency-key", "k1");
    let id = api.create(&with_key).await.body()["id"].as_str().unwrap().to_owned();
    for is_paid in [false, true] {
        if is_paid {
            pay(&api, &id, "p1").await;
        }
        for version in [1, 7] {
            let [own, replay, stranger] = responses_to_version(&api, version).await;
            for found in [own, replay] {
                assert_eq!((found.status(), &found.body()["id"]), (200, &json!(id)));
            }
            assert_rejected(&stranger, 409, CHANGED);
        }
    }
    let body = r#"{"ticketId":"t2","ticketVersion":7}"#;
    let other = Event::post(body).header("idempotency-key", "k1");
    assert_rejected(&api.create(&other).await, 422, "idempotency-key-reused");
    let unknown = Event::post(r#"{"ticketId":"t3","ticketVersion":7}"#);
    assert_rejected(&api.create(&unknown).await, 404, "no-such-ticket");
    withdraw(&api).await;
    let [own, replay, stranger] = responses_to_version(&api, 7).await;
    assert_eq!((own.status(), replay.status()), (200, 200));
    assert_rejected(&stranger, 410, WITHDRAWN);
}

/// The buyer's own lapsed hold is nobody's.
#[tokio::test]
async fn ticket_version_is_compared_for_a_lapsed_hold() {
    let api = Api::<MemoryStore>::default();
    place(&api.store, &order_of(order_id(1), 31)).await;
    for buyer in ["alice", "bob"] {
        let event = order_at_version(&json!(1)).by(buyer);
        assert_rejected(&api.create(&event).await, 409, CHANGED);
    }
    let newer = Sale::Open(ticket("t1", 1));
    api.store.apply_ticket(&newer, TicketRule::Next).await.unwrap();
    assert_eq!(api.create(&order_at_version(&json!(1))).await.status(), 201);
}

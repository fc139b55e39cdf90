//! Refunds of payments.

use orders_lambda::clock;
use orders_testing::MemoryStore;
use orders_tests::{
    events,
    gateway::{Api, Event},
};
use serde_json::json;

use crate::{
    ORDER, api_with_tickets, assert_problem, assert_rejected, deliver_payment_event, pay,
    place_order,
};

async fn refund(api: &Api<MemoryStore>, id: &str, payment: &str) {
    deliver_payment_event(api, &events::payment_refunded(payment, id, clock::now())).await;
}

#[tokio::test]
async fn refunded_order_gives_its_ticket_back() {
    let api = api_with_tickets(&["t1"]).await;
    let with_key = Event::post(ORDER).header("idempotency-key", "k1");
    let id = api.create(&with_key).await.body()["id"].as_str().unwrap().to_owned();
    pay(&api, &id, "p1").await;
    let show = Event::for_order("GET", &id);
    let tag = api.show(&show).await.header("etag").unwrap().to_owned();
    refund(&api, &id, "p1").await;

    let shown = api.show(&show.header("if-none-match", &tag)).await;
    assert_eq!(shown.header("etag"), Some("W/\"2-refunded\""));
    let listed = api.list(&Event::new("GET", "/api/orders")).await.body()[0].take();
    let replay = api.create(&with_key.header("x-correlation-id", "replay")).await;
    assert_eq!((shown.status(), replay.status()), (200, 200));
    for order in [shown.body(), listed, replay.body()] {
        assert_eq!((&order["status"], &order["paidBy"]), (&json!("refunded"), &json!("p1")));
        assert_eq!((&order["version"], &order["expiresIn"]), (&json!(2), &json!(0)));
        assert_eq!(order.get("refunds"), None);
    }
    // Ended already.
    assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);
    let again = api.create(&Event::post(ORDER)).await;
    assert_eq!(again.status(), 201);
    assert_ne!(again.body()["id"], json!(id));
    assert_rejected(&api.create(&Event::post(ORDER).by("bob")).await, 409, "ticket-reserved");
}

/// The ticket of a refunded order belongs to its next buyer.
#[tokio::test]
async fn repeated_refund_leaves_the_next_order_alone() {
    let api = api_with_tickets(&["t1"]).await;
    let id = place_order(&api, "t1").await;
    pay(&api, &id, "p1").await;
    refund(&api, &id, "p1").await;
    let next = api.create(&Event::post(ORDER).by("bob")).await.body();
    let next = next["id"].as_str().unwrap();
    refund(&api, &id, "p1").await;
    deliver_payment_event(&api, &events::payment("p1", &id, clock::now())).await;
    pay(&api, next, "p2").await;
    let owned = api.show(&Event::for_order("GET", next).by("bob")).await.body();
    assert_eq!((&owned["status"], &owned["paidBy"]), (&json!("paid"), &json!("p2")));
    let refunded = api.show(&Event::for_order("GET", &id)).await.body();
    assert_eq!((&refunded["status"], refunded.get("refunds")), (&json!("refunded"), None));
}

#[tokio::test]
async fn order_has_its_settled_refunds() {
    let api = api_with_tickets(&["t1"]).await;
    let id = place_order(&api, "t1").await;
    for payment in ["p1", "p2", "p3"] {
        pay(&api, &id, payment).await;
    }
    refund(&api, &id, "p3").await;
    let refund_of =
        |payment, reason, state| json!({"paymentId": payment, "reason": reason, "state": state});
    let shown = api.show(&Event::for_order("GET", &id)).await.body();
    assert_eq!((&shown["status"], &shown["paidBy"]), (&json!("paid"), &json!("p1")));
    let (due, settled) =
        (refund_of("p2", "already_paid", "due"), refund_of("p3", "already_paid", "settled"));
    assert_eq!(shown["refunds"], json!([due, settled]));
    assert_problem(&api.cancel(&Event::for_order("DELETE", &id)).await, 409);

    refund(&api, &id, "p1").await;
    deliver_payment_event(&api, &events::payment("p4", &id, clock::now())).await;
    let shown = api.show(&Event::for_order("GET", &id)).await.body();
    assert_eq!((&shown["status"], &shown["paidBy"]), (&json!("refunded"), &json!("p1")));
    assert_eq!(shown["refunds"], json!([due, settled, refund_of("p4", "order_refunded", "due")]));
}

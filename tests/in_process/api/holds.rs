//! Longer holds, and the limit of holds per buyer.

use orders_domain::{OrderId, Slot, SlotCount, Slots, Timestamp};
use orders_lambda::clock;
use orders_testing::{MemoryStore, order_id, place, ticket};
use orders_tests::{
    events::{self, TIME_TO_PAY},
    gateway::{Api, Event},
};
use serde_json::{Value, json};

use crate::{
    ORDER, api_with_tickets, assert_problem, assert_rejected, deliver_payment_event, order_of, pay,
    place_order, retry_after,
};

const TOO_MANY: &str = "too-many-holds";

fn order_for(ticket: &str) -> Event {
    Event::post(&json!({ "ticketId": ticket }).to_string())
}

/// The API with tickets `t0` to `t11`. Alice holds `t0` to `t9`: as many as allowed.
async fn api_at_the_limit() -> (Api<MemoryStore>, Vec<String>) {
    let ids: Vec<_> = (0..12).map(|number| format!("t{number}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let api = api_with_tickets(&ids).await;
    let mut orders = Vec::new();
    for id in &ids[..10] {
        orders.push(place_order(&api, id).await);
    }
    (api, orders)
}

#[tokio::test]
async fn buyer_holds_ten_unpaid_tickets() {
    let (api, _) = api_at_the_limit().await;
    let rejected = api.create(&order_for("t10")).await;
    assert_rejected(&rejected, 409, TOO_MANY);
    assert!((1..=31).contains(&retry_after(&rejected)));
    let listed = api.list(&Event::new("GET", "/api/orders")).await.body();
    assert_eq!(listed.as_array().map(Vec::len), Some(10));
    // Neither the ticket nor another buyer is concerned.
    assert_eq!(api.create(&order_for("t10").by("bob")).await.status(), 201);
}

/// Slots of which the first lapses in so many seconds, and the others later.
fn slots_until(seconds: u64) -> Slots {
    let ends = (0..SlotCount::MAX).filter_map(Slot::new).zip((seconds..).step_by(100));
    let end =
        |seconds: u64| Timestamp::from_epoch_ms(clock::now().epoch_ms() + seconds * 1_000).unwrap();
    ends.map(|(slot, seconds)| (slot, end(seconds))).collect()
}

#[tokio::test]
async fn too_many_holds_are_retried_when_the_next_slot_is_free() {
    let api = api_with_tickets(&["t1"]).await;
    let alice = || "alice".parse().unwrap();
    for (seconds, expected) in [(60, 31..=61), (3_000, 2_971..=3_001)] {
        api.store.put_slots(alice(), slots_until(seconds));
        let rejected = api.create(&Event::post(ORDER)).await;
        assert_rejected(&rejected, 409, TOO_MANY);
        assert!(expected.contains(&retry_after(&rejected)), "{rejected:?}");
    }
    api.store.put_slots(alice(), slots_until(0));
    assert_eq!(api.create(&Event::post(ORDER)).await.status(), 201);
    assert_rejected(&api.create(&order_for("t1").by("bob")).await, 409, "ticket-reserved");
}

#[tokio::test]
async fn payment_and_cancellation_make_room_for_a_hold() {
    let (api, orders) = api_at_the_limit().await;
    let with_key = order_for("t10").header("idempotency-key", "k1");
    assert_rejected(&api.create(&with_key).await, 409, TOO_MANY);
    pay(&api, &orders[3], "p1").await;
    // The refused request left its key unused.
    assert_eq!(api.create(&with_key).await.status(), 201);
    assert_rejected(&api.create(&order_for("t11")).await, 409, TOO_MANY);
    api.cancel(&Event::for_order("DELETE", &orders[4])).await;
    assert_eq!(api.create(&order_for("t11")).await.status(), 201);
    assert_rejected(&api.create(&order_for("t4")).await, 409, TOO_MANY);
}

/// Everything else that a buyer can be answered comes first.
#[tokio::test]
async fn hold_limit_is_checked_last() {
    let (api, orders) = api_at_the_limit().await;
    let key = Event::post(r#"{"ticketId":"t10"}"#).header("idempotency-key", "k1");
    let id = OrderId::for_key(&"alice".parse().unwrap(), &"k1".parse().unwrap());
    place(&api.store, &orders_domain::Order { ticket: ticket("t10", 0), ..order_of(id, 0) }).await;
    for (event, order) in [(order_for("t0"), &orders[0]), (key, &id.to_string())] {
        let found = api.create(&event).await;
        assert_eq!((found.status(), &found.body()["id"]), (200, &json!(order)));
    }
    let changed = Event::post(r#"{"ticketId":"t11","ticketVersion":1}"#);
    assert_rejected(&api.create(&changed).await, 409, "ticket-changed");
    assert_rejected(&api.create(&order_for("t12")).await, 404, "no-such-ticket");
    assert_problem(&api.create(&order_for("")).await, 400);
    assert_eq!(api.create(&order_for("t11").by("bob")).await.status(), 201);
    assert_rejected(&api.create(&order_for("t11")).await, 409, "ticket-reserved");
}

#[tokio::test]
async fn started_payment_gives_time_to_pay() {
    let api = api_with_tickets(&["t1"]).await;
    let with_key = Event::post(ORDER).header("idempotency-key", "k1");
    let id = api.create(&with_key).await.body()["id"].as_str().unwrap().to_owned();
    let show = || async { api.show(&Event::for_order("GET", &id)).await };
    let tag = show().await.header("etag").unwrap().to_owned();
    for _ in 0..2 {
        deliver_payment_event(&api, &events::payment_started(&id, clock::now())).await;
    }
    let shown = show().await;
    assert_ne!(shown.header("etag").unwrap(), tag);
    let is_extended = |order: &Value| {
        assert_eq!((&order["status"], &order["version"]), (&json!("awaiting_payment"), &json!(1)));
        let left = order["expiresIn"].as_u64().unwrap();
        assert!((TIME_TO_PAY.as_secs() - 30..=TIME_TO_PAY.as_secs()).contains(&left), "{order}");
    };
    is_extended(&shown.body());
    for replay in [Event::post(ORDER), with_key.header("x-correlation-id", "replay")] {
        let found = api.create(&replay).await;
        assert_eq!(found.status(), 200);
        is_extended(&found.body());
    }
    let reserved = api.create(&Event::post(ORDER).by("bob")).await;
    assert_rejected(&reserved, 409, "ticket-reserved");
    assert!(retry_after(&reserved) > 270);
    assert_eq!(api.cancel(&Event::for_order("DELETE", &id)).await.status(), 204);
    assert_eq!(api.create(&Event::post(ORDER).by("bob")).await.status(), 201);
}

#[tokio::test]
async fn payment_of_a_due_order_starts_in_vain() {
    let api = Api::<MemoryStore>::default();
    let order = order_of(order_id(1), 31);
    place(&api.store, &order).await;
    let id = order.id.to_string();
    // Sent while the hold was active.
    deliver_payment_event(&api, &events::payment_started(&id, order.created_at)).await;
    assert_eq!(api.show(&Event::for_order("GET", &id)).await.body()["status"], "expired");
    assert_eq!(api.create(&Event::post(ORDER).by("bob")).await.status(), 201);
}

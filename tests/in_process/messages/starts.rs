//! Payments that start: the hold becomes longer, once.

use std::time::Duration;

use orders_domain::{Command, Lock, Order, OrderId, OrderStore, Price, Ticket};
use orders_lambda::queue::Message;
use orders_testing::{
    LATE_LIMIT, MemoryStore, at, commit, new_order, order, order_id, place, ticket,
};
use orders_tests::events;
use serde_json::{Value, json};

use crate::{
    all_rejected, deliver,
    payments::{book, pay, placed, stored},
    waits, with_detail,
};

/// The start of a payment for the order, sent at this second.
pub(crate) fn start(order: OrderId, seconds: u64) -> Value {
    events::payment_started(&order.to_string(), at(seconds))
}

async fn lock_of(store: &MemoryStore, order: &Order) -> Lock {
    store.find_ticket(&order.ticket.id).await.unwrap().unwrap().lock
}

#[tokio::test]
async fn started_payment_extends_its_hold_once() {
    let (store, order) = placed().await;
    // Sent at second 10, repeated, and started again.
    for (sent_at, handled_at) in [(10, 12), (10, 12), (20, 25), (300, 300)] {
        book(&store, start(order.id, sent_at), handled_at).await;
        let extended = stored(&store, &order).await;
        assert_eq!((extended.expires_at, extended.version.number()), (at(310), 1));
        assert_eq!(lock_of(&store, &order).await, Lock::Held { by: order.id, until: at(310) });
    }
    book(&store, events::payment("p1", &order.id.to_string(), at(309)), 309).await;
    assert_eq!(stored(&store, &order).await.status.name(), "paid");
}

#[tokio::test]
async fn order_id_of_a_start_may_have_capitals() {
    let (store, order) = (MemoryStore::default(), order(0xab));
    place(&store, &order).await;
    let id = json!(order.id.to_string().to_uppercase());
    book(&store, with_detail(&start(order.id, 10), "orderId", &id), 10).await;
    assert!(stored(&store, &order).await.extended);
}

/// The time of sending counts, not the time of handling.
#[tokio::test]
async fn start_that_gives_no_more_time_has_no_effect() {
    let store = MemoryStore::default();
    let order = orders_testing::order_with_hold(1, 600);
    place(&store, &order).await;
    book(&store, start(order.id, 300), 599).await;
    assert_eq!(stored(&store, &order).await, order);
    book(&store, start(order.id, 301), 599).await;
    assert_eq!(stored(&store, &order).await.expires_at, at(601));
}

#[tokio::test]
async fn start_without_time_to_pay_has_no_effect() {
    let (store, order) = placed().await;
    let body = start(order.id, 10).to_string();
    let limits = payment_events::Limits { late_payment: LATE_LIMIT, time_to_pay: Duration::ZERO };
    let results = deliver(&[body.as_str()], async |message: Message<'_>| {
        payment_events::handle(&store, limits, at(10), message).await
    })
    .await;
    assert_eq!(results, (Vec::new(), Vec::new()));
    assert_eq!(stored(&store, &order).await, order);
}

#[tokio::test]
async fn start_after_the_end_has_no_effect() {
    // Due, whether or not the expiry is committed.
    let (store, order) = placed().await;
    for is_committed in [false, true] {
        if is_committed {
            commit(&store, &order, &Command::Expire { now: at(30) }).await;
        }
        let before = stored(&store, &order).await;
        book(&store, start(order.id, 29), 30).await;
        assert_eq!(stored(&store, &order).await, before);
    }
    let (store, order) = placed().await;
    commit(&store, &order, &Command::Cancel).await;
    let cancelled = stored(&store, &order).await;
    book(&store, start(order.id, 5), 5).await;
    assert_eq!(stored(&store, &order).await, cancelled);

    let (store, order) = placed().await;
    let id = order.id.to_string();
    for event in [events::payment("p1", &id, at(5)), events::payment_refunded("p1", &id, at(6))] {
        book(&store, event, 6).await;
        let before = stored(&store, &order).await;
        book(&store, start(order.id, 7), 7).await;
        assert_eq!(stored(&store, &order).await, before);
    }

    let gift = Ticket { price: Price::from_minor(0).unwrap(), ..ticket("ticket-2", 0) };
    let free = Order::new(new_order(order_id(2), at(0)), gift);
    place(&store, &free).await;
    book(&store, start(free.id, 7), 7).await;
    assert_eq!(stored(&store, &free).await, free);
}

#[tokio::test]
async fn start_waits_for_an_unknown_order() {
    let (store, _) = placed().await;
    assert_eq!(pay(&store, &[start(order_id(9), 5)], 5).await, waits());
}

#[tokio::test]
async fn invalid_start_is_rejected() {
    let (store, order) = placed().await;
    let valid = start(order.id, 5);
    let with = |field: &str, value: Value| {
        let mut event = valid.clone();
        event[field] = value;
        event
    };
    let events = [
        with_detail(&valid, "orderId", &Value::Null),
        with_detail(&valid, "orderId", &json!("")),
        with_detail(&valid, "orderId", &json!("x")),
        with_detail(&valid, "orderId", &json!(7)),
        with("time", json!("yesterday")),
        with("time", json!(1_700_000_000)),
        with("time", Value::Null),
        with("source", json!("tickets")),
        with("detail", json!([])),
        with("detail-type", json!("PaymentStarting")),
    ];
    assert_eq!(pay(&store, &events, 5).await, all_rejected(events.len()));
    assert_eq!(stored(&store, &order).await, order);
}

/// The clock of the payment service is ahead.
#[tokio::test]
async fn start_from_the_future_counts_from_now() {
    let (store, order) = placed().await;
    book(&store, start(order.id, 10_000), 10).await;
    assert_eq!(stored(&store, &order).await.expires_at, at(310));
    assert_eq!(lock_of(&store, &order).await, Lock::Held { by: order.id, until: at(310) });
}

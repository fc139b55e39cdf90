//! Refunds that have been made.

use orders_domain::{Command, Lock, Order, OrderId, OrderStore, RefundState, Status};
use orders_testing::{MemoryStore, at, commit, order, order_id, place, ticket};
use orders_tests::events;
use serde_json::{Value, json};

use crate::{
    all_rejected, is_rejected,
    payments::{book, pay, placed, stored},
    starts::start,
    waits, with_detail,
};

fn payment(id: &str, order: OrderId) -> Value {
    events::payment(id, &order.to_string(), at(5))
}

fn refund(id: &str, order: OrderId) -> Value {
    events::payment_refunded(id, &order.to_string(), at(6))
}

fn refund_of_amount(id: &str, order: OrderId, amount: &Value) -> Value {
    with_detail(&refund(id, order), "amount", amount)
}

/// The placed order, paid by `p1`.
async fn paid() -> (MemoryStore, Order) {
    let (store, order) = placed().await;
    book(&store, payment("p1", order.id), 5).await;
    (store, order)
}

async fn assert_refunded(store: &MemoryStore, order: &Order, version: u64) {
    let refunded = stored(store, order).await;
    assert_eq!(refunded.status, Status::Refunded { payment_id: "p1".parse().unwrap() });
    assert_eq!((refunded.version.number(), refunded.refunds_due), (version, Vec::new()));
    let replica = store.find_ticket(&order.ticket.id).await.unwrap().unwrap();
    assert_eq!((replica.lock, replica.locked_for), (Lock::Free, None));
}

#[tokio::test]
async fn refund_in_any_form_gives_the_ticket_back() {
    for amount in ["null", "19.9", "19.90", "1.99e1", "19.900000000000002", "20"] {
        let (store, order) = paid().await;
        let amount = serde_json::from_str(amount).unwrap();
        book(&store, refund_of_amount("p1", order.id, &amount), 6).await;
        assert_refunded(&store, &order, 2).await;
    }
    let (store, order) = (MemoryStore::default(), order(0xab));
    place(&store, &order).await;
    book(&store, payment("p1", order.id), 5).await;
    let capitals = json!(order.id.to_string().to_uppercase());
    book(&store, with_detail(&refund("p1", order.id), "orderId", &capitals), 6).await;
    assert_refunded(&store, &order, 2).await;
}

/// A message that fails is delivered again after the others.
async fn deliver_until_done(store: &MemoryStore, events: &[&Value]) {
    let mut events: Vec<Value> = events.iter().map(|event| (*event).clone()).collect();
    for _ in 0..10 {
        if events.is_empty() {
            return;
        }
        let (failed, _) = pay(store, &events, 7).await;
        let number = |id: &String| id[1..].parse::<usize>().unwrap();
        events = failed.iter().map(|id| events[number(id)].clone()).collect();
    }
    panic!("never done: {events:#?}");
}

/// In every order of delivery, with repeats.
#[tokio::test]
async fn refund_and_payment_end_alike_in_any_order() {
    let order = order(1);
    let (paid, refunded) = (payment("p1", order.id), refund("p1", order.id));
    let started = start(order.id, 4);
    for number in 0..27 {
        let (store, _) = placed().await;
        let event = |digit: u32| [&paid, &refunded, &started][(number / 3_usize.pow(digit)) % 3];
        let events = [event(0), event(1), event(2), &refunded, &paid, &refunded, &paid];
        deliver_until_done(&store, &events).await;
        let is_extended = stored(&store, &order).await.extended;
        assert_refunded(&store, &order, 2 + u64::from(is_extended)).await;
    }
}

#[tokio::test]
async fn refund_waits_for_its_payment_and_its_order() {
    let (store, order) = placed().await;
    for early in [refund("p1", order.id), refund("p1", order_id(9))] {
        assert_eq!(pay(&store, &[early], 6).await, waits());
    }
    assert_eq!(stored(&store, &order).await, order);
    book(&store, payment("p1", order.id), 7).await;
    // Another payment than the one that bought the order.
    assert_eq!(pay(&store, &[refund("p2", order.id)], 8).await, waits());
    book(&store, refund("p1", order.id), 8).await;
    assert_refunded(&store, &order, 2).await;
    assert_eq!(pay(&store, &[refund("p2", order.id)], 9).await, waits());
}

#[tokio::test]
async fn payment_redelivered_after_its_refund_is_done() {
    let (store, order) = paid().await;
    for event in [refund("p1", order.id), payment("p1", order.id), refund("p1", order.id)] {
        book(&store, event, 100).await;
        assert_refunded(&store, &order, 2).await;
    }
    // Another payment does not buy the order again.
    book(&store, payment("p2", order.id), 100).await;
    let refunded = stored(&store, &order).await;
    assert_eq!(refunded.refunds_due[0].reason.name(), "order_refunded");
    assert_eq!(refunded.status.name(), "refunded");
}

#[tokio::test]
async fn partial_refund_is_rejected_and_changes_nothing() {
    let (store, order) = paid().await;
    book(&store, with_detail(&payment("p2", order.id), "amount", &json!(25)), 5).await;
    book(&store, with_detail(&payment("p3", order.id), "amount", &Value::Null), 5).await;
    let before = stored(&store, &order).await;
    for (payment, amount) in [
        ("p1", json!(19.89)),
        ("p1", json!(0)),
        // A refund that is due: of the amount paid, or of the price if that is unknown.
        ("p2", json!(24.99)),
        ("p3", json!(19.89)),
    ] {
        let event = refund_of_amount(payment, order.id, &amount);
        assert_eq!(pay(&store, &[event], 6).await, is_rejected());
        assert_eq!(stored(&store, &order).await, before);
    }
    for (payment, amount) in [("p2", json!(25)), ("p3", json!(19.9)), ("p1", json!(19.9))] {
        book(&store, refund_of_amount(payment, order.id, &amount), 7).await;
    }
    let after = stored(&store, &order).await;
    assert_eq!((after.status.name(), after.version.number()), ("refunded", 6));
}

#[tokio::test]
async fn refund_that_is_due_is_settled_in_every_status() {
    let ends: [&[Value]; 2] = [&[], &[refund("p1", order_id(1))]];
    for end in ends {
        let (store, order) = paid().await;
        book(&store, payment("p2", order.id), 5).await;
        for event in end {
            book(&store, event.clone(), 6).await;
        }
        let before = stored(&store, &order).await;
        for _ in 0..2 {
            book(&store, refund("p2", order.id), 7).await;
            let after = stored(&store, &order).await;
            assert_eq!(after.refunds_due[0].state, RefundState::Settled);
            assert_eq!(
                (after.status, after.version),
                (before.status.clone(), before.version.next())
            );
        }
        // A repeated payment is not refunded again.
        book(&store, payment("p2", order.id), 8).await;
        assert_eq!(stored(&store, &order).await.refunds_due.len(), 1);
    }
    let (store, order) = placed().await;
    commit(&store, &order, &Command::Cancel).await;
    book(&store, payment("p1", order.id), 5).await;
    book(&store, refund("p1", order.id), 6).await;
    let after = stored(&store, &order).await;
    assert_eq!((after.status.name(), after.refunds_due[0].state.name()), ("cancelled", "settled"));
}

/// The payment names an order that does not exist, or another order than its own.
#[tokio::test]
async fn refund_of_another_order_frees_nothing() {
    let (store, order) = paid().await;
    let other = Order { ticket: ticket("ticket-2", 0), ..orders_testing::order(2) };
    place(&store, &other).await;
    book(&store, payment("p2", other.id), 5).await;
    assert_eq!(pay(&store, &[refund("p1", order_id(9))], 6).await, is_rejected());
    assert_eq!(pay(&store, &[refund("p1", other.id)], 6).await, waits());
    for order in [&order, &other] {
        assert_eq!(stored(&store, order).await.status.name(), "paid");
    }
}

/// The order was removed after its payment was booked.
#[tokio::test]
async fn refund_of_a_removed_order_is_done() {
    let (store, order) = paid().await;
    store.remove_order(order.id);
    book(&store, refund("p1", order.id), 6).await;
}

#[tokio::test]
async fn repeated_refund_leaves_the_next_order_alone() {
    let (store, order) = paid().await;
    book(&store, refund("p1", order.id), 6).await;
    let next = orders_testing::order_at(2, 10);
    place(&store, &next).await;
    for event in [refund("p1", order.id), payment("p1", order.id)] {
        book(&store, event, 11).await;
        let replica = store.find_ticket(&order.ticket.id).await.unwrap().unwrap();
        assert_eq!(replica.lock, Lock::Held { by: next.id, until: at(40) });
    }
}

#[tokio::test]
async fn invalid_refund_is_rejected() {
    let (store, order) = paid().await;
    let valid = refund("p1", order.id);
    let with = |field: &str, value: Value| {
        let mut event = valid.clone();
        event[field] = value;
        event
    };
    let details = [
        ("id", [Value::Null, json!(""), json!("a b"), json!(7)]),
        ("orderId", [Value::Null, json!(""), json!("x"), json!(7)]),
        ("amount", [json!("19.90"), json!(-19.9), json!(19.905), json!([19.9])]),
    ];
    let details = details
        .iter()
        .flat_map(|(field, values)| values.iter().map(|value| with_detail(&valid, field, value)));
    let others = [
        with("time", json!("yesterday")),
        with("time", Value::Null),
        with("source", json!("tickets")),
        with("detail", json!("p1")),
        with("detail-type", json!("PaymentRefundFailed")),
    ];
    let events: Vec<_> = details.chain(others).collect();
    assert_eq!(pay(&store, &events, 6).await, all_rejected(events.len()));
    assert_eq!(stored(&store, &order).await.status.name(), "paid");
}

//! Payment events.

use orders_domain::{
    Command, Lock, Order, OrderId, OrderStore, PaymentResult, Price, RefundReason, Sale, Ticket,
    TicketReplica, TicketRule, TicketVersion,
};
use orders_lambda::queue::{Message, Outcome};
use orders_testing::{
    LATE_LIMIT, MemoryStore, at, commit, new_order, order, order_at, order_id, place, ticket,
};
use orders_tests::{
    events::{self, PAYMENT_LIMITS},
    stale_read_store::StaleReadStore,
};
use serde_json::{Value, json};

use crate::{Results, deliver, is_rejected};

/// An event with this amount, sent at this second.
fn event(payment: &str, order: OrderId, amount: Value, seconds: u64) -> Value {
    let mut event = events::payment(payment, &order.to_string(), at(seconds));
    event["detail"]["amount"] = amount;
    event
}

/// Delivers a batch of events at this second.
pub(crate) async fn pay(store: &impl OrderStore, events: &[Value], seconds: u64) -> Results {
    let bodies: Vec<_> = events.iter().map(ToString::to_string).collect();
    let bodies: Vec<_> = bodies.iter().map(String::as_str).collect();
    deliver(&bodies, async |message: Message<'_>| {
        payment_events::handle(store, PAYMENT_LIMITS, at(seconds), message).await
    })
    .await
}

/// Delivers one event, which is done.
pub(crate) async fn book(store: &MemoryStore, event: Value, seconds: u64) {
    assert_eq!(pay(store, &[event], seconds).await, (Vec::new(), Vec::new()));
}

pub(crate) async fn result_of(store: &MemoryStore, payment: &str) -> Option<PaymentResult> {
    let booked = store.find_payment(&payment.parse().unwrap()).await.unwrap();
    booked.map(|booked| booked.result)
}

pub(crate) async fn stored(store: &impl OrderStore, order: &Order) -> Order {
    store.find(order.id).await.unwrap().unwrap()
}

pub(crate) async fn placed() -> (MemoryStore, Order) {
    let (store, order) = (MemoryStore::default(), order(1));
    place(&store, &order).await;
    (store, order)
}

#[tokio::test]
async fn payment_fixture_buys_its_order() {
    let (store, order) = placed().await;
    let body = include_str!("../../support/fixtures/payment_created.json");
    book(&store, serde_json::from_str(body).unwrap(), 10).await;
    assert_eq!(stored(&store, &order).await.status.name(), "paid");
    assert_eq!(result_of(&store, "payment-1").await, Some(PaymentResult::Bought));
}

#[tokio::test]
async fn payment_batch_has_a_result_for_each_message() {
    let (store, first) = placed().await;
    let second = Order { ticket: ticket("ticket-2", 0), ..order(2) };
    place(&store, &second).await;
    let unknown = order_id(9);
    let valid = |payment, order| event(payment, order, json!(19.9), 5);
    let with = |field: &str, value: Value| {
        let mut event = valid("p9", second.id);
        event[field] = value;
        event
    };
    let mut without_time = valid("p9", second.id);
    without_time.as_object_mut().unwrap().remove("time");
    let events = [
        without_time,
        with("time", json!("yesterday")),
        with("time", json!(1_700_000_000)),
        with("source", json!("tickets")),
        with("detail-type", json!("PaymentFailed")),
        valid("p1", first.id),
        valid("p1", second.id), // names a second order
        valid("p1", unknown),
        valid("p2", unknown),
        valid("p3", first.id), // a refund is due
        valid("p4", second.id),
    ];
    let (stay, dead) = pay(&store, &events, 5).await;
    assert_eq!(stay, ["m8"]);
    assert_eq!(dead, ["m0", "m1", "m2", "m3", "m4", "m6", "m7"]);
    assert_eq!(result_of(&store, "p9").await, None);
    for (order, version) in [(&first, 2), (&second, 1)] {
        let order = stored(&store, order).await;
        assert_eq!((order.status.name(), order.version.number()), ("paid", version));
    }
}

#[tokio::test]
async fn amount_of_the_price_buys_in_every_form() {
    for amount in ["null", "19.9", "19.90", "1.99e1", "19.900000000000002"] {
        let (store, order) = placed().await;
        let amount = serde_json::from_str(amount).unwrap();
        book(&store, event("p1", order.id, amount, 5), 5).await;
        assert_eq!(result_of(&store, "p1").await, Some(PaymentResult::Bought));
    }
    let (store, order) = placed().await;
    let mut without_amount = event("p1", order.id, Value::Null, 5);
    without_amount["detail"].as_object_mut().unwrap().remove("amount");
    book(&store, without_amount, 5).await;
    assert_eq!(result_of(&store, "p1").await, Some(PaymentResult::Bought));
}

#[tokio::test]
async fn wrong_amount_is_a_refund_due_and_an_invalid_amount_is_rejected() {
    let (store, order) = placed().await;
    let wrong = PaymentResult::RefundDue(RefundReason::WrongAmount);
    for (payment, amount) in [("p1", json!(19.89)), ("p2", json!(1990)), ("p3", json!(0))] {
        book(&store, event(payment, order.id, amount, 5), 5).await;
        assert_eq!(result_of(&store, payment).await, Some(wrong));
    }
    for amount in [json!("19.90"), json!(-19.9), json!(19.905), json!([19.9])] {
        let event = event("p4", order.id, amount, 5);
        assert_eq!(pay(&store, &[event], 5).await, is_rejected());
    }
    assert_eq!(result_of(&store, "p4").await, None);
    // The hold goes on.
    book(&store, event("p5", order.id, json!(19.9), 29), 29).await;
    assert_eq!(stored(&store, &order).await.status.name(), "paid");
}

/// The time of sending decides, whenever the payment is handled.
#[tokio::test]
async fn payment_sent_too_late_is_a_refund_due() {
    let last = 30 + LATE_LIMIT.as_secs();
    for (sent_at, expected) in [
        (29, PaymentResult::Bought),
        (last, PaymentResult::Bought),
        (last + 1, PaymentResult::RefundDue(RefundReason::TooLate)),
    ] {
        for handled_at in [last + 1, 1_000_000] {
            let (store, order) = placed().await;
            book(&store, event("p1", order.id, json!(19.9), sent_at), handled_at).await;
            assert_eq!(result_of(&store, "p1").await, Some(expected), "{sent_at} {handled_at}");
        }
    }
}

#[tokio::test]
async fn late_payment_of_a_changed_or_taken_ticket_is_a_refund_due() {
    let (store, order) = placed().await;
    let dearer = Ticket { price: Price::from_minor(50_000).unwrap(), ..ticket("ticket-1", 1) };
    store.apply_ticket(&Sale::Open(dearer), TicketRule::Next).await.unwrap();
    book(&store, event("p1", order.id, json!(19.9), 31), 31).await;
    let changed = PaymentResult::RefundDue(RefundReason::TicketChanged);
    assert_eq!(result_of(&store, "p1").await, Some(changed));

    let (store, order) = placed().await;
    let (id, version) = (order.ticket.id.clone(), TicketVersion::new(1));
    let withdrawn = Sale::Withdrawn { id, version };
    store.apply_ticket(&withdrawn, TicketRule::Next).await.unwrap();
    book(&store, event("p1", order.id, json!(19.9), 31), 31).await;
    assert_eq!(result_of(&store, "p1").await, Some(changed));

    let (store, order) = placed().await;
    commit(&store, &order, &Command::Expire { now: at(30) }).await;
    place(&store, &order_at(2, 30)).await;
    book(&store, event("p1", order.id, json!(19.9), 31), 31).await;
    let taken = PaymentResult::RefundDue(RefundReason::TicketTaken);
    assert_eq!(result_of(&store, "p1").await, Some(taken));
}

#[tokio::test]
async fn hold_of_a_withdrawn_ticket_is_paid() {
    let (store, order) = placed().await;
    let (id, version) = (order.ticket.id.clone(), TicketVersion::new(1));
    store.apply_ticket(&Sale::Withdrawn { id, version }, TicketRule::Next).await.unwrap();
    book(&store, event("p1", order.id, json!(19.9), 29), 29).await;
    assert_eq!(result_of(&store, "p1").await, Some(PaymentResult::Bought));
}

/// Its buyer has nothing to pay.
#[tokio::test]
async fn payment_of_a_free_order_is_a_refund_due() {
    let store = MemoryStore::default();
    let gift = Ticket { price: Price::from_minor(0).unwrap(), ..ticket("ticket-1", 0) };
    let order = Order::new(new_order(order_id(1), at(0)), gift);
    place(&store, &order).await;
    book(&store, event("p0", order.id, json!(0), 5), 5).await;
    assert_eq!(result_of(&store, "p0").await, None);
    assert_eq!(stored(&store, &order).await, order);
    let due = PaymentResult::RefundDue(RefundReason::AlreadyPaid);
    for (payment, amount) in [("p1", json!(19.9)), ("p2", Value::Null)] {
        book(&store, event(payment, order.id, amount, 5), 5).await;
        assert_eq!(result_of(&store, payment).await, Some(due));
    }
    assert_eq!(stored(&store, &order).await.status.name(), "paid");
}

#[tokio::test]
async fn payment_beyond_the_last_refund_is_rejected() {
    let (store, order) = placed().await;
    commit(&store, &order, &Command::Cancel).await;
    let events: Vec<_> = (0..=Order::MAX_REFUNDS)
        .map(|number| event(&format!("p{number}"), order.id, json!(19.9), 5))
        .collect();
    assert_eq!(pay(&store, &events, 5).await, (Vec::new(), vec!["m20".to_owned()]));
    let cancelled = stored(&store, &order).await;
    assert_eq!(cancelled.refunds_due.len(), Order::MAX_REFUNDS);
    // Repeats are done, and the rejected payment is not booked.
    assert_eq!(pay(&store, &events[..20], 5).await, (Vec::new(), Vec::new()));
    assert_eq!(stored(&store, &order).await, cancelled);
    assert_eq!(result_of(&store, "p20").await, None);
}

#[tokio::test]
async fn late_payment_retries_after_a_stale_ticket_read() {
    let store = StaleReadStore::default();
    let order = order(7);
    place(&store, &order).await;
    commit(&store, &order, &Command::Expire { now: at(30) }).await;
    let other = order_at(8, 30);
    place(&store, &other).await;
    // The read does not see the other order's lock yet.
    let (sale, lock) = (Sale::Open(order.ticket.clone()), Lock::Free);
    store.old_tickets.lock().unwrap().push(TicketReplica { sale, lock, locked_for: None });

    let body = event("p1", order.id, json!(19.9), 31).to_string();
    let message = Message::new(&body);
    let outcome = payment_events::handle(&store, PAYMENT_LIMITS, at(31), message).await.unwrap();
    assert_eq!(outcome, Outcome::Done);
    let after = stored(&store, &order).await;
    assert_eq!(after.refunds_due.last().unwrap().reason, RefundReason::TicketTaken);
    let replica = store.find_ticket(&order.ticket.id).await.unwrap().unwrap();
    assert_eq!(replica.lock, Lock::Held { by: other.id, until: at(60) });
}

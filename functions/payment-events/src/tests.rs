use orders_domain::{
    BookedPayment, Lock, Order, PaymentResult, Price, RefundReason, RefundState, Sale, Status,
    TicketReplica, TicketRule,
};
use orders_testing::{
    LATE_LIMIT, MemoryStore, at, commit, order, order_at, order_id, payment, place, ticket,
};
use serde_json::{Value, json};

use super::*;

const LIMITS: Limits = Limits { late_payment: LATE_LIMIT, time_to_pay: Duration::from_mins(5) };

/// A payment event, sent at this second.
fn event(order: OrderId, payment: &str, amount: Value, sent_at: u64) -> String {
    let mut detail = json!({"id": payment, "orderId": order.to_string()});
    if !amount.is_null() {
        detail["amount"] = amount;
    }
    let sent_at = i64::try_from(at(sent_at).epoch_ms() / 1_000).unwrap();
    let time = chrono::DateTime::from_timestamp(sent_at, 0).unwrap().to_rfc3339();
    json!({"source": "payments", "detail-type": "PaymentCreated", "time": time, "detail": detail})
        .to_string()
}

async fn receive(store: &MemoryStore, body: &str, now: u64) -> Result<Outcome, Failure> {
    handle(store, LIMITS, at(now), Message::new(body)).await
}

/// Sends and handles a payment without an amount at this second.
async fn pay(store: &MemoryStore, order: OrderId, payment: &str, now: u64) -> Outcome {
    receive(store, &event(order, payment, Value::Null, now), now).await.unwrap()
}

async fn stored(store: &MemoryStore, order: &Order) -> Order {
    store.find(order.id).await.unwrap().unwrap()
}

async fn lock(store: &MemoryStore, order: &Order) -> Lock {
    store.find_ticket(&order.ticket.id).await.unwrap().unwrap().lock
}

fn reasons(order: &Order) -> Vec<RefundReason> {
    order.refunds_due.iter().map(|refund| refund.reason).collect()
}

async fn result_of(store: &MemoryStore, id: &str) -> Option<PaymentResult> {
    let booked = store.find_payment(&id.parse().unwrap()).await.unwrap();
    booked.map(|booked| booked.result)
}

async fn placed() -> (MemoryStore, Order) {
    let (store, order) = (MemoryStore::default(), order(1));
    place(&store, &order).await;
    (store, order)
}

async fn expired() -> (MemoryStore, Order) {
    let (store, order) = placed().await;
    commit(&store, &order, &Command::Expire { now: at(30) }).await;
    (store, order)
}

#[tokio::test]
async fn payment_buys_its_order_once() {
    let (store, order) = placed().await;
    for _ in 0..2 {
        assert_eq!(pay(&store, order.id, "p1", 10).await, Outcome::Done);
    }
    let paid = stored(&store, &order).await;
    assert_eq!((paid.status.name(), paid.version.number()), ("paid", 1));
    assert_eq!(lock(&store, &order).await, Lock::Sold { to: order.id });
    assert_eq!(pay(&store, order.id, "p2", 11).await, Outcome::Done);
    assert_eq!(reasons(&stored(&store, &order).await), [RefundReason::AlreadyPaid]);
    assert_eq!(result_of(&store, "p1").await, Some(PaymentResult::Bought));
    let refund = PaymentResult::RefundDue(RefundReason::AlreadyPaid);
    assert_eq!(result_of(&store, "p2").await, Some(refund));
}

#[tokio::test]
async fn payment_of_a_wrong_amount_is_a_refund_due_and_the_order_can_still_be_paid() {
    let (store, order) = placed().await;
    for (id, amount) in [("p1", json!(19.89)), ("p2", json!(1990))] {
        let body = event(order.id, id, amount, 10);
        assert_eq!(receive(&store, &body, 10).await.unwrap(), Outcome::Done);
    }
    assert_eq!(reasons(&stored(&store, &order).await), [RefundReason::WrongAmount; 2]);
    let body = event(order.id, "p3", json!(19.90), 11);
    assert_eq!(receive(&store, &body, 11).await.unwrap(), Outcome::Done);
    assert_eq!(stored(&store, &order).await.status.name(), "paid");
}

#[tokio::test]
async fn payment_of_a_cancelled_order_makes_a_refund_due() {
    let (store, order) = placed().await;
    commit(&store, &order, &Command::Cancel).await;
    for _ in 0..2 {
        assert_eq!(pay(&store, order.id, "p1", 10).await, Outcome::Done);
    }
    assert_eq!(reasons(&stored(&store, &order).await), [RefundReason::OrderCancelled]);
    assert_eq!(lock(&store, &order).await, Lock::Free);
}

#[tokio::test]
async fn payment_never_buys_a_cancelled_order_that_had_expired() {
    let (store, order) = expired().await;
    commit(&store, &stored(&store, &order).await, &Command::Cancel).await;
    // Sent before the end of the hold.
    let body = event(order.id, "p1", Value::Null, 29);
    assert_eq!(receive(&store, &body, 31).await.unwrap(), Outcome::Done);
    let after = stored(&store, &order).await;
    assert_eq!(
        (after.status.name(), reasons(&after)),
        ("cancelled", vec![RefundReason::OrderCancelled])
    );
}

#[tokio::test]
async fn late_payment_buys_the_same_whether_the_expiry_is_committed_or_not() {
    for (store, order) in [expired().await, placed().await] {
        assert_eq!(pay(&store, order.id, "p1", 31).await, Outcome::Done);
        assert_eq!(stored(&store, &order).await.status.name(), "paid");
        assert_eq!(lock(&store, &order).await, Lock::Sold { to: order.id });
    }
}

#[tokio::test]
async fn late_payment_that_cannot_buy_ends_alike_whether_the_expiry_is_committed_or_not() {
    for (store, order) in [expired().await, placed().await] {
        assert_eq!(pay(&store, order.id, "p1", 631).await, Outcome::Done);
        let after = stored(&store, &order).await;
        assert_eq!((after.status.name(), after.version.number()), ("expired", 2));
        assert_eq!(reasons(&after), [RefundReason::TooLate]);
        assert_eq!(lock(&store, &order).await, Lock::Free);
    }
}

#[tokio::test]
async fn payment_sent_in_time_buys_hours_later() {
    for (store, order) in [expired().await, placed().await] {
        let body = event(order.id, "p1", Value::Null, 29);
        assert_eq!(receive(&store, &body, 7_200).await.unwrap(), Outcome::Done);
        assert_eq!(stored(&store, &order).await.status.name(), "paid");
    }
}

#[tokio::test]
async fn late_payment_never_buys_at_a_price_that_is_no_longer_asked() {
    for (store, order) in [expired().await, placed().await] {
        let mut dearer = ticket("ticket-1", 1);
        dearer.price = Price::from_minor(50_000).unwrap();
        store.apply_ticket(&Sale::Open(dearer), TicketRule::AnyNewer).await.unwrap();
        assert_eq!(pay(&store, order.id, "p1", 31).await, Outcome::Done);
        let after = stored(&store, &order).await;
        assert_eq!(
            (after.status.name(), reasons(&after)),
            ("expired", vec![RefundReason::TicketChanged])
        );
    }
}

#[tokio::test]
async fn late_payment_makes_a_refund_due_if_another_order_holds_the_ticket() {
    let (store, order) = expired().await;
    let other = order_at(2, 30);
    place(&store, &other).await;
    assert_eq!(pay(&store, order.id, "p1", 59).await, Outcome::Done);
    assert_eq!(reasons(&stored(&store, &order).await), [RefundReason::TicketTaken]);
    assert_eq!(lock(&store, &order).await, Lock::Held { by: other.id, until: at(60) });
}

#[tokio::test]
async fn late_payment_takes_over_a_lapsed_hold() {
    let (store, order) = expired().await;
    let other = order_at(2, 30);
    place(&store, &other).await;
    assert_eq!(pay(&store, order.id, "p1", 60).await, Outcome::Done);
    assert_eq!(stored(&store, &order).await.status.name(), "paid");
    assert_eq!(stored(&store, &other).await.status.name(), "expired");
    assert_eq!(lock(&store, &order).await, Lock::Sold { to: order.id });
}

#[tokio::test]
async fn payment_that_names_a_second_order_is_poison() {
    let (store, order) = placed().await;
    assert_eq!(pay(&store, order.id, "p1", 10).await, Outcome::Done);
    let mut second = order_at(2, 10);
    second.ticket = ticket("ticket-2", 0);
    place(&store, &second).await;
    let body = event(second.id, "p1", Value::Null, 11);
    assert!(matches!(receive(&store, &body, 11).await, Err(Failure::Poison(_))));
    assert_eq!(stored(&store, &second).await, second);
    let body = event(order_id(9), "p1", Value::Null, 11);
    assert!(matches!(receive(&store, &body, 11).await, Err(Failure::Poison(_))));
}

#[tokio::test]
async fn payment_beyond_20_refunds_is_poison() {
    let (store, order) = placed().await;
    commit(&store, &order, &Command::Cancel).await;
    for number in 0..20 {
        assert_eq!(pay(&store, order.id, &format!("p{number}"), 10).await, Outcome::Done);
    }
    let body = event(order.id, "p20", Value::Null, 10);
    assert!(matches!(receive(&store, &body, 10).await, Err(Failure::Poison(_))));
    assert_eq!(stored(&store, &order).await.refunds_due.len(), 20);
}

#[tokio::test]
async fn payment_waits_for_an_unknown_order() {
    let outcome = pay(&MemoryStore::default(), order_id(9), "p1", 0).await;
    assert_eq!(outcome, Outcome::Retry("the order is unknown"));
}

#[tokio::test]
async fn booked_payment_is_done_when_its_order_is_gone() {
    let (store, order) = placed().await;
    store.put_payment(BookedPayment {
        payment: payment("p1", &order, 10),
        result: PaymentResult::Bought,
    });
    store.remove_order(order.id);
    assert_eq!(pay(&store, order.id, "p1", 20).await, Outcome::Done);
}

#[tokio::test]
async fn payment_of_an_order_without_its_lock_follows_the_buy_back_rule() {
    let unlocked = || async {
        let (store, order) = placed().await;
        let lock = Lock::Free;
        let sale = Sale::Open(order.ticket.clone());
        store.put_ticket(TicketReplica { sale, lock, locked_for: None });
        (store, order)
    };
    let (store, order) = unlocked().await;
    assert_eq!(pay(&store, order.id, "p1", 10).await, Outcome::Done);
    assert_eq!(lock(&store, &order).await, Lock::Sold { to: order.id });

    let (store, order) = unlocked().await;
    let other = order_at(2, 5);
    place(&store, &other).await;
    assert_eq!(pay(&store, order.id, "p1", 10).await, Outcome::Done);
    let after = stored(&store, &order).await;
    assert_eq!(
        (after.status.clone(), reasons(&after)),
        (Status::AwaitingPayment, vec![RefundReason::TicketTaken])
    );
    assert_eq!(lock(&store, &order).await, Lock::Held { by: other.id, until: at(35) });
}

#[tokio::test]
async fn message_without_a_payment_is_poison() {
    let outcome = receive(&MemoryStore::default(), "{}", 0).await;
    assert!(matches!(outcome, Err(Failure::Poison(_))));
}

/// An event of this type for the order, sent at this second.
fn other_event(kind: &str, mut detail: Value, order: OrderId, sent_at: u64) -> String {
    let mut event: Value =
        serde_json::from_str(&event(order, "unused", Value::Null, sent_at)).unwrap();
    detail["orderId"] = json!(order.to_string());
    (event["detail-type"], event["detail"]) = (json!(kind), detail);
    event.to_string()
}

#[tokio::test]
async fn start_of_a_payment_extends_the_hold_and_its_lock_once() {
    let (store, order) = placed().await;
    for (sent_at, now) in [(10, 12), (10, 12), (20, 20)] {
        let body = other_event("PaymentStarted", json!({}), order.id, sent_at);
        assert_eq!(receive(&store, &body, now).await.unwrap(), Outcome::Done);
        let stored = stored(&store, &order).await;
        assert_eq!((stored.expires_at, stored.version.number()), (at(310), 1));
        assert_eq!(lock(&store, &order).await, Lock::Held { by: order.id, until: at(310) });
    }
    assert_eq!(pay(&store, order.id, "p1", 309).await, Outcome::Done);
    assert_eq!(stored(&store, &order).await.status.name(), "paid");
}

#[tokio::test]
async fn start_of_a_payment_of_a_due_order_has_no_effect() {
    let (store, order) = placed().await;
    // Sent in time and handled too late.
    let body = other_event("PaymentStarted", json!({}), order.id, 29);
    assert_eq!(receive(&store, &body, 30).await.unwrap(), Outcome::Done);
    assert_eq!(stored(&store, &order).await, order);
}

#[tokio::test]
async fn refunded_order_frees_its_ticket() {
    let (store, order) = placed().await;
    let refund = |amount: Value| {
        other_event("PaymentRefunded", json!({"id": "p1", "amount": amount}), order.id, 20)
    };
    // Before the payment.
    let early = receive(&store, &refund(Value::Null), 20).await.unwrap();
    assert_eq!(early, Outcome::Retry("the payment is unknown to its order"));
    assert_eq!(pay(&store, order.id, "p1", 10).await, Outcome::Done);
    // A part of the price is no refund of the order.
    let partial = receive(&store, &refund(json!(19.89)), 20).await;
    assert!(matches!(partial, Err(Failure::Poison(_))));
    for _ in 0..2 {
        assert_eq!(receive(&store, &refund(json!(19.9)), 20).await.unwrap(), Outcome::Done);
        assert_eq!(stored(&store, &order).await.status.name(), "refunded");
        assert_eq!(lock(&store, &order).await, Lock::Free);
    }
    // The payment arrives again.
    assert_eq!(pay(&store, order.id, "p1", 10).await, Outcome::Done);
    let after = stored(&store, &order).await;
    assert_eq!((after.version.number(), after.refunds_due.len()), (2, 0));
}

#[tokio::test]
async fn refund_never_frees_the_lock_of_another_order() {
    let (store, order) = placed().await;
    assert_eq!(pay(&store, order.id, "p1", 10).await, Outcome::Done);
    // The lock of the paid order was lost, and another order has the ticket.
    let (sale, lock_of) = (Sale::Open(order.ticket.clone()), Lock::Free);
    store.put_ticket(TicketReplica { sale, lock: lock_of, locked_for: None });
    let other = order_at(2, 20);
    place(&store, &other).await;
    let body = other_event("PaymentRefunded", json!({"id": "p1"}), order.id, 21);
    assert_eq!(receive(&store, &body, 21).await.unwrap(), Outcome::Done);
    assert_eq!(stored(&store, &order).await.status.name(), "refunded");
    assert_eq!(lock(&store, &order).await, Lock::Held { by: other.id, until: at(50) });
}

#[tokio::test]
async fn refund_that_is_due_is_settled() {
    let (store, order) = placed().await;
    let body = event(order.id, "p1", json!(5), 10);
    assert_eq!(receive(&store, &body, 10).await.unwrap(), Outcome::Done);
    let body = other_event("PaymentRefunded", json!({"id": "p1", "amount": 5}), order.id, 20);
    for _ in 0..2 {
        assert_eq!(receive(&store, &body, 20).await.unwrap(), Outcome::Done);
        let after = stored(&store, &order).await;
        assert_eq!((after.version.number(), after.status), (2, Status::AwaitingPayment));
        assert_eq!(after.refunds_due[0].state, RefundState::Settled);
    }
}

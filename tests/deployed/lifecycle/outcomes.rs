//! Every outcome of an order, alone and in a race with another.

use std::{collections::BTreeMap, time::Duration};

use orders_testing::TRACEPARENT;
use orders_tests::{
    bus::{Listener, check_event_sequences, kinds, payment_result},
    buyers::{TestStack, eventually, id_of, new_buyers, new_payment},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::holds::{Hold, Timers};

const ROUNDS: usize = 200;

#[tokio::test]
async fn every_outcome_publishes_its_events() {
    let test_stack = TestStack::connect().await;
    let tickets = test_stack.new_tickets(3).await;
    let [alice] = new_buyers(1).try_into().unwrap();
    let hold = Hold::take().await;
    hold.set(5).await;
    let listener = Listener::start().await;

    let paid = id_of(&alice.order(&tickets[0]).await.json());
    let payment = new_payment();
    test_stack.publish_payment(&payment, &paid).await;
    let cancelled = id_of(&alice.order(&tickets[1]).await.json());
    assert_eq!(alice.cancel(&cancelled).await.status, 204);
    let refunded = new_payment();
    test_stack.publish_payment(&refunded, &cancelled).await;
    let expired = id_of(&alice.order(&tickets[2]).await.json());
    hold.set(30).await;
    drop(hold);

    let sequences = [
        (&paid, vec!["OrderCreated", "OrderPaid"]),
        (&cancelled, vec!["OrderCreated", "OrderCancelled", "OrderRefundDue"]),
        (&expired, vec!["OrderCreated", "OrderExpired"]),
    ];
    let orders: Vec<_> = sequences.iter().map(|(order, _)| (*order).clone()).collect();
    let received = listener
        .collect(&orders, |all| {
            sequences.iter().all(|(order, sequence)| kinds(&all[*order]).len() >= sequence.len())
        })
        .await;
    check_event_sequences(&received);
    for (order, sequence) in sequences {
        assert_eq!(kinds(&received[order]), sequence);
    }
    assert_eq!(received[&paid][1].detail()["paymentId"], payment);
    assert_eq!(received[&cancelled][2].detail()["paymentId"], refunded);
    assert_eq!(received[&cancelled][2].detail()["reason"], "order_cancelled");
}

#[tokio::test]
async fn lapsed_hold_is_taken_over_before_its_timer_fires() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let [alice, bob] = new_buyers(2).try_into().unwrap();
    let hold = Hold::take().await;
    let timers = Timers::stop().await;
    hold.set(5).await;
    let listener = Listener::start().await;
    let lapsed = id_of(&alice.order(&ticket).await.json());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(test_stack.order_row(&lapsed).await.unwrap()["status"], "awaiting_payment");
    let shown = alice.get(&format!("/api/orders/{lapsed}")).await.json();
    assert_eq!((&shown["status"], &shown["expiresIn"]), (&json!("expired"), &json!(0)));

    hold.set(60).await;
    let taken_over = id_of(&bob.order(&ticket).await.json());
    assert_eq!(test_stack.order_row(&lapsed).await.unwrap()["status"], "expired");
    timers.start().await;
    // The old timer fires now and must keep the new lock.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(test_stack.ticket_row(&ticket).await.unwrap()["locked_by"], taken_over);
    assert_eq!(bob.cancel(&taken_over).await.status, 204);
    hold.set(30).await;

    let orders = [lapsed, taken_over];
    let received =
        listener.collect(&orders, |all| all.values().all(|it| kinds(it).len() >= 2)).await;
    check_event_sequences(&received);
    assert_eq!(kinds(&received[&orders[0]]), ["OrderCreated", "OrderExpired"]);
    assert_eq!(kinds(&received[&orders[1]]), ["OrderCreated", "OrderCancelled"]);
}

#[tokio::test]
async fn events_carry_the_correlation_id_and_the_trace() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let [alice] = new_buyers(1).try_into().unwrap();
    let listener = Listener::start().await;
    let request = alice.request(reqwest::Method::POST, "/api/orders");
    let request = request.header("X-Correlation-Id", "checkout-42");
    let request = request.header("traceparent", TRACEPARENT);
    let order = alice.send(request.json(&json!({ "ticketId": ticket }))).await.json();
    assert_eq!(alice.cancel(&id_of(&order)).await.status, 204);
    let received = listener.collect(&[id_of(&order)], |all| all[&id_of(&order)].len() >= 2).await;
    for event in &received[&id_of(&order)] {
        let metadata = &event.detail()["metadata"];
        assert_eq!(metadata["correlationId"], "checkout-42");
        let traceparent = metadata["traceparent"].as_str().unwrap();
        assert_eq!(traceparent.split('-').nth(1), TRACEPARENT.split('-').nth(1));
        assert_ne!(traceparent, TRACEPARENT);
    }
}

#[tokio::test]
async fn late_expiry_keeps_the_next_buyers_lock() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let [alice, bob] = new_buyers(2).try_into().unwrap();
    let hold = Hold::take().await;
    hold.set(5).await;
    let first = id_of(&alice.order(&ticket).await.json());
    assert_eq!(alice.cancel(&first).await.status, 204);
    hold.set(60).await;
    let second = id_of(&bob.order(&ticket).await.json());
    // Two extra messages; the real one comes after 5 seconds.
    for _ in 0..2 {
        test_stack.send("ExpiryQueueUrl", &json!({ "orderId": first }).to_string()).await;
    }
    let bystander = json!({ "orderId": Uuid::new_v4().to_string() }).to_string();
    test_stack.send("ExpiryQueueUrl", &bystander).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let row = test_stack.ticket_row(&ticket).await.unwrap();
    assert_eq!(row["locked_by"], second);
    assert_eq!(test_stack.order_row(&second).await.unwrap()["version"], 0);
    assert_eq!(test_stack.order_row(&first).await.unwrap()["status"], "cancelled");
    assert_eq!(bob.cancel(&second).await.status, 204);
    hold.set(30).await;
}

#[tokio::test]
async fn concurrent_payment_and_expiry_end_as_paid() {
    // A payment takes a moment to arrive, and longer on a busy machine.
    const EARLY_MS: [i64; 8] = [-100, 0, 50, 100, 200, 500, 1_500, 5_000];
    let test_stack = std::sync::Arc::new(TestStack::connect().await);
    let tickets = test_stack.new_tickets(ROUNDS).await;
    let [alice] = new_buyers(1).try_into().unwrap();
    let hold = Hold::take().await;
    hold.set(10).await;
    let listener = Listener::start().await;
    let mut rounds = JoinSet::new();
    for (ticket, early_ms) in tickets.into_iter().zip(EARLY_MS.into_iter().cycle()) {
        let order = alice.order(&ticket).await.json();
        let (test_stack, payment) = (test_stack.clone(), new_payment());
        rounds.spawn(async move {
            let expires_at = order["expiresAt"].as_str().unwrap();
            let expires_at = chrono::DateTime::parse_from_rfc3339(expires_at).unwrap();
            let left = expires_at.timestamp_millis() - early_ms - now_ms();
            tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
            test_stack.publish_payment(&payment, &id_of(&order)).await;
            (id_of(&order), payment)
        });
    }
    let (ids, payments): (Vec<_>, Vec<_>) = rounds.join_all().await.into_iter().unzip();
    hold.set(30).await;
    for (id, payment) in ids.iter().zip(&payments) {
        eventually(async || {
            payment_result(&test_stack.order_row(id).await.unwrap(), payment).is_some()
        })
        .await;
    }
    let received = listener
        .collect(&ids, |all| all.values().all(|history| kinds(history).contains(&"OrderPaid")))
        .await;
    check_event_sequences(&received);
    let mut sequences: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
    for (id, payment) in ids.iter().zip(&payments) {
        let row = test_stack.order_row(id).await.unwrap();
        // Without other buyers even a late payment buys the ticket.
        assert_eq!((&row["status"], payment_result(&row, payment)), (&json!("paid"), Some("paid")));
        *sequences.entry(kinds(&received[id])).or_default() += 1;
    }
    let in_time = vec!["OrderCreated", "OrderPaid"];
    let late = vec!["OrderCreated", "OrderExpired", "OrderPaid"];
    assert_eq!(sequences.keys().collect::<Vec<_>>(), [&late, &in_time], "{sequences:?}");
}

fn now_ms() -> i64 {
    i64::try_from(orders_lambda::clock::now().epoch_ms()).unwrap()
}

#[tokio::test]
async fn concurrent_payment_and_cancellation_have_one_winner() {
    let test_stack = std::sync::Arc::new(TestStack::connect().await);
    let tickets = test_stack.new_tickets(ROUNDS).await;
    let [alice] = new_buyers(1).try_into().unwrap();
    let hold = Hold::take().await;
    hold.set(60).await;
    let listener = Listener::start().await;
    let mut rounds = JoinSet::new();
    for ticket in tickets {
        let id = id_of(&alice.order(&ticket).await.json());
        let (alice, test_stack, payment) = (alice.clone(), test_stack.clone(), new_payment());
        rounds.spawn(async move {
            let publish = test_stack.publish_payment(&payment, &id);
            let (cancelled, ()) = tokio::join!(alice.cancel(&id), publish);
            (id, payment, ticket, cancelled.status.as_u16())
        });
    }
    let rounds = rounds.join_all().await;
    hold.set(30).await;
    drop(hold);
    for (id, payment, _, _) in &rounds {
        eventually(async || {
            payment_result(&test_stack.order_row(id).await.unwrap(), payment).is_some()
        })
        .await;
    }
    let ids: Vec<_> = rounds.iter().map(|(id, ..)| id.clone()).collect();
    let final_kinds = ["OrderPaid", "OrderRefundDue"];
    let received = listener
        .collect(&ids, |all| {
            all.values().all(|history| kinds(history).iter().any(|kind| final_kinds.contains(kind)))
        })
        .await;
    check_event_sequences(&received);
    for (id, payment, ticket, cancelled) in rounds {
        let row = test_stack.order_row(&id).await.unwrap();
        let lock = test_stack.ticket_row(&ticket).await.unwrap()["locked_by"].clone();
        let outcome = (row["status"].as_str().unwrap(), payment_result(&row, &payment));
        let kinds = kinds(&received[&id]);
        match cancelled {
            204 => {
                assert_eq!((outcome, lock), (("cancelled", Some("refund due")), Value::Null));
                assert_eq!(kinds, ["OrderCreated", "OrderCancelled", "OrderRefundDue"]);
            }
            409 => {
                assert_eq!((outcome, lock), (("paid", Some("paid")), json!(id)));
                assert_eq!(kinds, ["OrderCreated", "OrderPaid"]);
            }
            other => panic!("unexpected status {other}"),
        }
    }
}

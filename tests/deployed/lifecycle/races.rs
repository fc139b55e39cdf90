//! Commands that meet: each pair, in 200 rounds.

use std::{sync::Arc, time::Duration};

use orders_tests::{
    bus::{Listener, check_event_sequences, kinds, payment_result},
    buyers::{TestStack, eventually, id_of, new_buyers, new_payment},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::holds::Hold;

const ROUNDS: usize = 200;

#[tokio::test]
async fn payment_and_start_of_the_payment_in_the_last_second_end_as_paid() {
    let test_stack = Arc::new(TestStack::connect().await);
    let tickets = test_stack.new_tickets(ROUNDS).await;
    let [alice] = new_buyers(1).try_into().unwrap();
    let hold = Hold::take().await;
    hold.set(15).await;
    let listener = Listener::start().await;
    let mut rounds = JoinSet::new();
    for (round, ticket) in tickets.into_iter().enumerate() {
        let order = alice.order(&ticket).await.json();
        let test_stack = test_stack.clone();
        rounds.spawn(async move {
            let (id, payment) = (id_of(&order), new_payment());
            let expires_at = order["expiresAt"].as_str().unwrap();
            let expires_at = chrono::DateTime::parse_from_rfc3339(expires_at).unwrap();
            let early_ms = i64::try_from(round * 1_000 / ROUNDS).unwrap();
            let left = expires_at.timestamp_millis() - early_ms - now_ms();
            tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
            let started = json!({"orderId": id}).to_string();
            tokio::join!(
                test_stack.publish("payments", "PaymentStarted", &started),
                test_stack.publish_payment(&payment, &id)
            );
            (id, payment)
        });
    }
    let rounds = rounds.join_all().await;
    hold.set(30).await;
    for (id, payment) in &rounds {
        eventually(async || {
            payment_result(&test_stack.order_row(id).await.unwrap(), payment) == Some("paid")
        })
        .await;
    }
    let ids: Vec<_> = rounds.into_iter().map(|(id, _)| id).collect();
    let received = listener
        .collect(&ids, |all| all.values().all(|history| kinds(history).contains(&"OrderPaid")))
        .await;
    check_event_sequences(&received);
    for history in received.values() {
        let between = &kinds(history)[1..];
        // Extended, or expired before the payment came, or neither; never both.
        assert!(between.len() <= 2 && between.last() == Some(&"OrderPaid"), "{between:?}");
    }
}

fn now_ms() -> i64 {
    i64::try_from(orders_lambda::clock::now().epoch_ms()).unwrap()
}

#[tokio::test]
async fn refund_and_next_order_never_share_the_ticket() {
    let test_stack = Arc::new(TestStack::connect().await);
    let tickets = test_stack.new_tickets(ROUNDS).await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();
    let hold = Hold::take().await;
    hold.set(120).await;
    let mut paid = Vec::new();
    for ticket in tickets {
        let (order, payment) = (id_of(&alice.order(&ticket).await.json()), new_payment());
        test_stack.publish_payment(&payment, &order).await;
        paid.push((ticket, order, payment));
    }
    let mut rounds = JoinSet::new();
    for (ticket, order, payment) in paid {
        eventually(async || test_stack.order_row(&order).await.unwrap()["status"] == "paid").await;
        let (bob, test_stack) = (bob.clone(), test_stack.clone());
        rounds.spawn(async move {
            let refund = json!({"id": payment, "orderId": order}).to_string();
            let refund = test_stack.publish("payments", "PaymentRefunded", &refund);
            let (next, ()) = tokio::join!(bob.order(&ticket), refund);
            (ticket, order, next)
        });
    }
    for (ticket, order, next) in rounds.join_all().await {
        let refunded = async || test_stack.order_row(&order).await.unwrap()["status"] == "refunded";
        eventually(refunded).await;
        let lock = test_stack.ticket_row(&ticket).await.unwrap()["locked_by"].clone();
        match next.status.as_u16() {
            201 => assert_eq!(lock, next.json()["id"]),
            409 => assert_eq!(lock, Value::Null, "{next:?}"),
            other => panic!("unexpected status {other}"),
        }
    }
    hold.set(30).await;
}

#[tokio::test]
async fn withdrawal_and_order_have_one_winner() {
    let test_stack = Arc::new(TestStack::connect().await);
    let tickets = test_stack.new_tickets(ROUNDS).await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();
    let hold = Hold::take().await;
    hold.set(120).await;
    let mut rounds = JoinSet::new();
    for ticket in tickets {
        let (alice, test_stack) = (alice.clone(), test_stack.clone());
        rounds.spawn(async move {
            let withdrawal = json!({"id": ticket, "version": 1}).to_string();
            let withdrawal = test_stack.publish("tickets", "TicketWithdrawn", &withdrawal);
            let (order, ()) = tokio::join!(alice.order(&ticket), withdrawal);
            (ticket, order)
        });
    }
    for (ticket, order) in rounds.join_all().await {
        let withdrawn = async || test_stack.ticket_row(&ticket).await.unwrap()["withdrawn"] == true;
        eventually(withdrawn).await;
        let lock = test_stack.ticket_row(&ticket).await.unwrap()["locked_by"].clone();
        match order.status.as_u16() {
            201 => assert_eq!(lock, order.json()["id"]),
            410 => assert_eq!(lock, Value::Null),
            other => panic!("unexpected status {other}"),
        }
        assert_eq!(bob.order(&ticket).await.checked_status(), 410);
    }
    hold.set(30).await;
}

//! Every way an order can end, alone and against another way at the same instant.

use std::{collections::BTreeMap, time::Duration};

use orders_tests::{
    bus::{Listener, check_histories, kinds, use_of_charge},
    buyers::{TestStack, eventually, new_buyers},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::holds::{Hold, Timers};

const ROUNDS: usize = 200;

fn id_of(order: &Value) -> String {
    order["id"].as_str().unwrap().to_owned()
}

fn new_payment() -> String {
    format!("payment-{}", Uuid::new_v4())
}

#[tokio::test]
async fn each_way_of_life_is_told_in_full() {
    let test_stack = TestStack::connect().await;
    let tickets = test_stack.new_tickets(3).await;
    let [alice] = new_buyers(1).try_into().unwrap();
    let hold = Hold::take().await;
    hold.set(5).await;
    let listener = Listener::start().await;

    let paid = id_of(&alice.order(&tickets[0]).await.json());
    let payment = new_payment();
    test_stack.charge(&payment, &paid).await;
    let cancelled = id_of(&alice.order(&tickets[1]).await.json());
    assert_eq!(alice.cancel(&cancelled).await.status, 204);
    let refunded = new_payment();
    test_stack.charge(&refunded, &cancelled).await;
    let expired = id_of(&alice.order(&tickets[2]).await.json());
    hold.set(30).await;
    drop(hold);

    let ways = [
        (&paid, vec!["OrderCreated", "OrderPaid"]),
        (&cancelled, vec!["OrderCreated", "OrderCancelled", "OrderRefundDue"]),
        (&expired, vec!["OrderCreated", "OrderExpired"]),
    ];
    let orders: Vec<_> = ways.iter().map(|(order, _)| (*order).clone()).collect();
    let heard = listener
        .stop(&orders, |all| ways.iter().all(|(order, way)| kinds(&all[*order]).len() >= way.len()))
        .await;
    check_histories(&heard);
    for (order, way) in ways {
        assert_eq!(kinds(&heard[order]), way);
    }
    assert_eq!(heard[&paid][1].detail()["paymentId"], payment);
    assert_eq!(heard[&cancelled][2].detail()["paymentId"], refunded);
    assert_eq!(heard[&cancelled][2].detail()["reason"], "order_cancelled");
}

#[tokio::test]
async fn a_lapsed_hold_is_taken_over_before_its_timer_has_fired() {
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
    // Its timer fires now, and must leave the new lock alone.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(test_stack.ticket_row(&ticket).await.unwrap()["locked_by"], taken_over);
    assert_eq!(bob.cancel(&taken_over).await.status, 204);
    hold.set(30).await;

    let orders = [lapsed, taken_over];
    let heard = listener.stop(&orders, |all| all.values().all(|it| kinds(it).len() >= 2)).await;
    check_histories(&heard);
    assert_eq!(kinds(&heard[&orders[0]]), ["OrderCreated", "OrderExpired"]);
    assert_eq!(kinds(&heard[&orders[1]]), ["OrderCreated", "OrderCancelled"]);
}

#[tokio::test]
async fn the_id_of_a_request_travels_in_its_events() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let [alice] = new_buyers(1).try_into().unwrap();
    let listener = Listener::start().await;
    let request = alice.request(reqwest::Method::POST, "/api/orders");
    let request = request.header("X-Correlation-Id", "checkout-42");
    let order = alice.send(request.json(&json!({ "ticketId": ticket }))).await.json();
    assert_eq!(alice.cancel(&id_of(&order)).await.status, 204);
    let heard = listener.stop(&[id_of(&order)], |all| all[&id_of(&order)].len() >= 2).await;
    for event in &heard[&id_of(&order)] {
        assert_eq!(event.detail()["metadata"]["correlationId"], "checkout-42");
    }
}

#[tokio::test]
async fn an_expiry_late_and_twice_leaves_the_next_buyers_lock_alone() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let [alice, bob] = new_buyers(2).try_into().unwrap();
    let hold = Hold::take().await;
    hold.set(5).await;
    let first = id_of(&alice.order(&ticket).await.json());
    assert_eq!(alice.cancel(&first).await.status, 204);
    hold.set(60).await;
    let second = id_of(&bob.order(&ticket).await.json());
    // The real message comes after 5 seconds; these are two more.
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
async fn of_a_payment_and_an_expiry_at_the_same_instant_one_comes_first() {
    // A charge takes a moment to arrive, and longer on a busy machine.
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
            test_stack.charge(&payment, &id_of(&order)).await;
            (id_of(&order), payment)
        });
    }
    let (ids, payments): (Vec<_>, Vec<_>) = rounds.join_all().await.into_iter().unzip();
    hold.set(30).await;
    for (id, payment) in ids.iter().zip(&payments) {
        eventually(async || {
            use_of_charge(&test_stack.order_row(id).await.unwrap(), payment).is_some()
        })
        .await;
    }
    let heard = listener
        .stop(&ids, |all| all.values().all(|history| kinds(history).contains(&"OrderPaid")))
        .await;
    check_histories(&heard);
    let mut ways: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
    for (id, payment) in ids.iter().zip(&payments) {
        let row = test_stack.order_row(id).await.unwrap();
        // Nobody else wants the ticket: even a late payment gets it.
        assert_eq!(
            (&row["status"], use_of_charge(&row, payment)),
            (&json!("paid"), Some("bought"))
        );
        *ways.entry(kinds(&heard[id])).or_default() += 1;
    }
    let in_time = vec!["OrderCreated", "OrderPaid"];
    let late = vec!["OrderCreated", "OrderExpired", "OrderPaid"];
    assert_eq!(ways.keys().collect::<Vec<_>>(), [&late, &in_time], "{ways:?}");
}

fn now_ms() -> i64 {
    i64::try_from(orders_lambda::clock::now().epoch_ms()).unwrap()
}

#[tokio::test]
async fn of_a_payment_and_a_cancellation_at_the_same_instant_one_comes_first() {
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
            let charge = test_stack.charge(&payment, &id);
            let (cancelled, ()) = tokio::join!(alice.cancel(&id), charge);
            (id, payment, ticket, cancelled.status.as_u16())
        });
    }
    let rounds = rounds.join_all().await;
    hold.set(30).await;
    drop(hold);
    for (id, payment, _, _) in &rounds {
        eventually(async || {
            use_of_charge(&test_stack.order_row(id).await.unwrap(), payment).is_some()
        })
        .await;
    }
    let ids: Vec<_> = rounds.iter().map(|(id, ..)| id.clone()).collect();
    let told = ["OrderPaid", "OrderRefundDue"];
    let heard = listener
        .stop(&ids, |all| {
            all.values().all(|history| kinds(history).iter().any(|kind| told.contains(kind)))
        })
        .await;
    check_histories(&heard);
    for (id, payment, ticket, cancelled) in rounds {
        let row = test_stack.order_row(&id).await.unwrap();
        let lock = test_stack.ticket_row(&ticket).await.unwrap()["locked_by"].clone();
        let outcome = (row["status"].as_str().unwrap(), use_of_charge(&row, &payment));
        let kinds = kinds(&heard[&id]);
        match cancelled {
            204 => {
                assert_eq!((outcome, lock), (("cancelled", Some("owed")), Value::Null));
                assert_eq!(kinds, ["OrderCreated", "OrderCancelled", "OrderRefundDue"]);
            }
            409 => {
                assert_eq!((outcome, lock), (("paid", Some("bought")), json!(id)));
                assert_eq!(kinds, ["OrderCreated", "OrderPaid"]);
            }
            other => panic!("{other}"),
        }
    }
}

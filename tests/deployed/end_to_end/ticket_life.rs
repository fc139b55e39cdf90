//! Tickets that cost nothing, go back or are withdrawn; longer holds; the limit of holds.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use orders_tests::{
    bus::{Listener, check_event_sequences, kinds},
    buyers::{
        ApiResponse, Buyer, TestStack, eventually, id_of, new_buyer, new_buyers, new_payment,
        ticket,
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

fn problem_type(response: &ApiResponse) -> String {
    response.checked_status();
    let kind = response.json()["type"].as_str().unwrap().to_owned();
    kind.trim_start_matches("urn:problem-type:orders:").to_owned()
}

/// Waits until the buyer sees the order in this status.
async fn until_status(buyer: &Buyer, id: &str, status: &str) -> Value {
    let path = format!("/api/orders/{id}");
    eventually(async || buyer.get(&path).await.json()["status"] == status).await;
    buyer.get(&path).await.json()
}

async fn refund(test_stack: &TestStack, payment: &str, order: &str) {
    let detail = json!({"id": payment, "orderId": order});
    test_stack.publish("payments", "PaymentRefunded", &detail.to_string()).await;
}

#[tokio::test]
async fn free_ticket_is_owned_at_once_and_can_be_given_back() {
    let test_stack = TestStack::connect().await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();
    let listener = Listener::start().await;
    let id = format!("ticket-{}", Uuid::new_v4());
    let free = json!({"id": id, "title": "Open day", "price": 0, "version": 0});
    test_stack.publish_tickets(&[free]).await;
    eventually(async || test_stack.ticket_row(&id).await.is_some()).await;

    let created = alice.order(&id).await;
    let order = created.json();
    assert_eq!((created.status.as_u16(), &order["status"]), (201, &json!("paid")));
    assert_eq!((&order["version"], &order["expiresIn"]), (&json!(0), &json!(0)));
    assert_eq!(alice.order(&id).await.status, 200);
    assert_eq!(problem_type(&bob.order(&id).await), "ticket-sold");
    assert_eq!(alice.cancel(&id_of(&order)).await.status, 204);
    assert_eq!(bob.order(&id).await.status, 201);

    let orders = [id_of(&order)];
    let received = listener.collect(&orders, |all| all[&orders[0]].len() >= 2).await;
    check_event_sequences(&received);
    assert_eq!(kinds(&received[&orders[0]]), ["OrderPaid", "OrderCancelled"]);
}

#[tokio::test]
async fn refunded_ticket_is_on_sale_again() {
    let test_stack = TestStack::connect().await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();
    let listener = Listener::start().await;
    let ticket = test_stack.new_ticket().await;
    let order = id_of(&alice.order(&ticket).await.json());
    let payment = new_payment();
    test_stack.publish_payment(&payment, &order).await;
    until_status(&alice, &order, "paid").await;
    // A part of the price is no refund of the order.
    let partial = json!({
        "source": "payments", "detail-type": "PaymentRefunded", "time": "2026-01-02T03:04:05Z",
        "detail": {"id": payment, "orderId": order, "amount": 0.1},
    })
    .to_string();
    test_stack.send("PaymentEventsQueueUrl", &partial).await;
    let dead_letters = "PaymentEventsDeadLetterQueueUrl";
    eventually(async || test_stack.delete_message(dead_letters, &partial).await).await;
    assert_eq!(problem_type(&bob.order(&ticket).await), "ticket-sold");

    refund(&test_stack, &payment, &order).await;
    let refunded = until_status(&alice, &order, "refunded").await;
    assert_eq!(refunded["paidBy"], payment);
    let next = bob.order(&ticket).await;
    assert_eq!(next.status, 201);
    // Events repeat: neither the payment nor the refund changes the next buyer's lock.
    test_stack.publish_payment(&payment, &order).await;
    refund(&test_stack, &payment, &order).await;
    let second = new_payment();
    test_stack.publish_payment(&second, &order).await;
    eventually(async || test_stack.payment_row(&second).await.is_some()).await;
    let row = test_stack.payment_row(&second).await.unwrap();
    assert_eq!(row["result"], "order_refunded");
    refund(&test_stack, &second, &order).await;
    let path = format!("/api/orders/{order}");
    eventually(async || alice.get(&path).await.json()["refunds"][0]["state"] == "settled").await;
    let row = test_stack.ticket_row(&ticket).await.unwrap();
    assert_eq!(row["locked_by"], next.json()["id"]);

    let orders = [order];
    let received = listener.collect(&orders, |all| kinds(&all[&orders[0]]).len() >= 5).await;
    check_event_sequences(&received);
    assert_eq!(
        kinds(&received[&orders[0]]),
        ["OrderCreated", "OrderPaid", "OrderRefunded", "OrderRefundDue", "OrderRefundSettled"]
    );
}

#[tokio::test]
async fn withdrawn_ticket_is_not_sold_until_a_newer_event() {
    let test_stack = TestStack::connect().await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();
    let id = test_stack.new_ticket().await;
    let order = id_of(&alice.order(&id).await.json());
    let withdrawn = json!({"id": id, "version": 1});
    test_stack.publish("tickets", "TicketWithdrawn", &withdrawn.to_string()).await;
    eventually(async || bob.order(&id).await.status == 410).await;
    assert_eq!(problem_type(&bob.order(&id).await), "ticket-withdrawn");
    // The hold continues, and its buyer finds the order again.
    assert_eq!(alice.order(&id).await.status, 200);
    test_stack.publish_payment(&new_payment(), &order).await;
    until_status(&alice, &order, "paid").await;
    test_stack.publish_tickets(&[ticket(&id, 2)]).await;
    eventually(async || problem_type(&bob.order(&id).await) == "ticket-sold").await;
}

#[tokio::test]
async fn order_names_the_version_that_the_buyer_has_seen() {
    let test_stack = TestStack::connect().await;
    let alice = new_buyer();
    let id = test_stack.new_ticket().await;
    test_stack.publish_tickets(&[ticket(&id, 1)]).await;
    eventually(async || test_stack.ticket_row(&id).await.unwrap()["version"] == 1).await;
    let order = async |version: Value| {
        let body = json!({"ticketId": id, "ticketVersion": version});
        alice.send(alice.request(Method::POST, "/api/orders").json(&body)).await
    };
    let outdated = order(json!(0)).await;
    assert_eq!(problem_type(&outdated), "ticket-changed");
    let current = json!({"id": id, "title": "Version 1", "price": 1.5, "version": 1});
    assert_eq!(outdated.json()["ticket"], current);
    assert!(!outdated.headers.contains_key("retry-after"));
    let newer = order(json!(2)).await;
    assert_eq!(
        (problem_type(&newer), &newer.json()["ticket"]),
        ("ticket-changed".into(), &current)
    );
    assert!(["1", "2"].contains(&newer.header("retry-after")));
    for invalid in [json!("1"), json!(-1), json!(1.5), json!({})] {
        assert_eq!(order(invalid).await.checked_status(), 400);
    }
    assert_eq!(order(json!(1)).await.status, 201);
    assert_eq!(order(json!(0)).await.status, 200, "the buyer's own order");
}

#[tokio::test]
async fn start_of_a_payment_extends_the_hold_once() {
    let test_stack = TestStack::connect().await;
    let alice = new_buyer();
    let ticket = test_stack.new_ticket().await;
    let order = alice.order(&ticket).await.json();
    let started = json!({"orderId": id_of(&order)}).to_string();
    test_stack.publish("payments", "PaymentStarted", &started).await;
    let path = format!("/api/orders/{}", id_of(&order));
    eventually(async || alice.get(&path).await.json()["version"] == 1).await;
    let extended = alice.get(&path).await.json();
    let end =
        |order: &Value| order["expiresAt"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    // 300 s from the start of the payment, whose time is in whole seconds.
    assert!(end(&extended) - end(&order) > TimeDelta::seconds(250), "{extended}");
    let row = test_stack.ticket_row(&ticket).await.unwrap();
    assert_eq!(row["locked_until"], end(&extended).timestamp_millis());
    tokio::time::sleep(Duration::from_secs(2)).await;
    test_stack.publish("payments", "PaymentStarted", &started).await;
    test_stack.publish_payment(&new_payment(), &id_of(&order)).await;
    let paid = until_status(&alice, &id_of(&order), "paid").await;
    assert_eq!((&paid["version"], &paid["expiresAt"]), (&json!(2), &extended["expiresAt"]));
}

#[tokio::test]
async fn buyer_holds_at_most_ten_unpaid_tickets() {
    let test_stack = TestStack::connect().await;
    let tickets = test_stack.new_tickets(13).await;
    let alice = new_buyer();
    let mut orders = Vec::new();
    for ticket in &tickets[..10] {
        let placed = alice.order(ticket).await;
        assert_eq!(placed.status, 201, "{placed:?}");
        orders.push(id_of(&placed.json()));
    }
    let refused = alice.order(&tickets[10]).await;
    assert_eq!(problem_type(&refused), "too-many-holds");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=32).contains(&seconds), "{seconds} s");
    assert_eq!(alice.order(&tickets[0]).await.status, 200, "the buyer's own order");
    // A cancelled and a paid order free their slots.
    assert_eq!(alice.cancel(&orders[0]).await.status, 204);
    assert_eq!(alice.order(&tickets[10]).await.status, 201);
    test_stack.publish_payment(&new_payment(), &orders[1]).await;
    until_status(&alice, &orders[1], "paid").await;
    assert_eq!(alice.order(&tickets[11]).await.status, 201);
    assert_eq!(problem_type(&alice.order(&tickets[12]).await), "too-many-holds");
}

#[tokio::test]
async fn hundred_orders_of_one_buyer_at_once_delay_no_other_buyer() {
    let test_stack = TestStack::connect().await;
    let tickets = test_stack.new_tickets(200).await;
    let (bot, others) = (new_buyer(), new_buyers(100));
    let mut requests = JoinSet::new();
    for (ticket, buyer) in tickets[..100].iter().cloned().zip(std::iter::repeat(bot.clone())) {
        requests.spawn(async move { (true, buyer.order(&ticket).await) });
    }
    for (ticket, buyer) in tickets[100..].iter().cloned().zip(others) {
        requests.spawn(async move { (false, buyer.order(&ticket).await) });
    }
    let (by_bot, by_others): (Vec<_>, Vec<_>) =
        requests.join_all().await.into_iter().partition(|(is_bot, _)| *is_bot);
    for (_, response) in by_others {
        assert_eq!(response.status, 201, "{response:?}");
    }
    let placed = by_bot.iter().filter(|(_, response)| response.status == 201).count();
    assert!(placed <= 10, "{placed} orders");
    let row = test_stack.buyer_row(&bot.sub).await.unwrap();
    let slots = row.as_object().unwrap().keys().filter(|name| name.starts_with("slot_"));
    assert_eq!(slots.count(), placed);
    // Contention can refuse an order that had a slot, never give one too many.
    for ticket in &tickets[..100] {
        let response = bot.order(ticket).await;
        assert!([200, 201, 409].contains(&response.status.as_u16()), "{response:?}");
    }
    let row = test_stack.buyer_row(&bot.sub).await.unwrap();
    let slots = row.as_object().unwrap().keys().filter(|name| name.starts_with("slot_"));
    assert_eq!(slots.count(), 10);
}

//! Payments of holds that have lapsed: the result depends neither on the timer nor on the time of delivery.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use orders_tests::buyers::{Buyer, TestStack, eventually, new_buyers, payment_message, ticket};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::holds::{Hold, Timers};

/// An order whose hold has lapsed.
struct Lapsed {
    id: String,
    ticket: String,
    expires_at: DateTime<Utc>,
}

/// Places an order for a new ticket with a hold of 5 s.
async fn place(test_stack: &TestStack, buyer: &Buyer) -> Lapsed {
    let ticket = test_stack.new_ticket().await;
    let order = buyer.order(&ticket).await.json();
    let id = order["id"].as_str().unwrap().to_owned();
    let expires_at = order["expiresAt"].as_str().unwrap().parse().unwrap();
    Lapsed { id, ticket, expires_at }
}

impl Lapsed {
    /// Delivers a payment, sent so many seconds after the end of the hold. Returns its result.
    async fn pay(&self, test_stack: &TestStack, seconds_late: i64) -> (Value, Value) {
        let payment = format!("payment-{}", Uuid::new_v4());
        let sent_at = self.expires_at + TimeDelta::seconds(seconds_late);
        let body = payment_message(&payment, &self.id, sent_at, &Value::Null);
        test_stack.send("PaymentEventsQueueUrl", &body).await;
        eventually(async || test_stack.payment_row(&payment).await.is_some()).await;
        let booked = test_stack.payment_row(&payment).await.unwrap();
        let order = test_stack.order_row(&self.id).await.unwrap();
        (order["status"].clone(), booked["result"].clone())
    }
}

#[tokio::test]
async fn late_payment_ends_alike_with_and_without_the_timer() {
    let test_stack = TestStack::connect().await;
    let [alice] = new_buyers(1).try_into().unwrap();
    let hold = Hold::take().await;
    for with_timer in [true, false] {
        let timers = if with_timer { None } else { Some(Timers::stop().await) };
        hold.set(5).await;
        let mut orders = Vec::new();
        for _ in 0..5 {
            orders.push(place(&test_stack, &alice).await);
        }
        let [cancelled, dearer, in_time, late, too_late] = orders.try_into().ok().unwrap();
        test_stack.publish_tickets(&[ticket(&dearer.ticket, 1)]).await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let stored = test_stack.order_row(&too_late.id).await.unwrap()["status"].clone();
        assert_eq!(stored == "expired", with_timer, "{stored}");

        assert_eq!(alice.cancel(&cancelled.id).await.status, 204);
        for (order, seconds_late, status, result) in [
            (&cancelled, -1, "cancelled", "order_cancelled"),
            (&dearer, -1, "expired", "ticket_changed"),
            (&in_time, -3, "paid", "bought"),
            (&late, 599, "paid", "bought"),
            (&too_late, 601, "expired", "too_late"),
        ] {
            let ended = order.pay(&test_stack, seconds_late).await;
            assert_eq!(ended, (json!(status), json!(result)), "timer: {with_timer}");
        }
        if let Some(timers) = timers {
            timers.start().await;
        }
    }
    hold.set(30).await;
}

#[tokio::test]
async fn late_payment_is_refunded_if_another_buyer_has_the_ticket() {
    let test_stack = TestStack::connect().await;
    let [alice, bob] = new_buyers(2).try_into().unwrap();
    let hold = Hold::take().await;
    hold.set(5).await;
    let order = place(&test_stack, &alice).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    hold.set(60).await;
    let taken_over = bob.order(&order.ticket).await;
    assert_eq!(taken_over.status, 201);
    assert_eq!(order.pay(&test_stack, -1).await, (json!("expired"), json!("ticket_taken")));
    let row = test_stack.ticket_row(&order.ticket).await.unwrap();
    assert_eq!(row["locked_by"], taken_over.json()["id"]);
    hold.set(30).await;
}

//! Crashes of the functions and of the emulator: exactly the committed versions are published.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use orders_tests::{
    bus::{Listener, check_event_sequences, kinds, payment_result},
    buyers::{Buyer, TestStack, eventually, new_buyers},
    stack::{Crash, crash, refuse_events},
};
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

const ORDERS: usize = 60;

#[tokio::test]
async fn committed_versions_are_published_after_crashes() {
    let test_stack = Arc::new(TestStack::connect().await);
    // One buyer for each ticket: a buyer holds a limited number of unpaid tickets.
    let buyers = new_buyers(3 * ORDERS);
    let tickets = test_stack.new_tickets(3 * ORDERS).await;
    let of_part = |part: usize| {
        let range = part * ORDERS..(part + 1) * ORDERS;
        start_traffic(&test_stack, &buyers[range.clone()], &tickets[range])
    };
    let listener = Listener::start().await;

    refuse_events(true);
    let traffic = of_part(0);
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        crash(Crash::Functions);
    }
    let mut created = traffic.join_all().await;
    refuse_events(false);

    // The emulator crashes after the responses, but before all events are published.
    created.extend(of_part(1).join_all().await);
    crash(Crash::Emulator);
    tokio::time::sleep(Duration::from_secs(1)).await;
    eventually(async || buyers[0].try_get("/api/orders?limit=1").await.is_ok_and(|it| it == 200))
        .await;
    created.extend(of_part(2).join_all().await);

    let created: Vec<CreatedOrder> = created.into_iter().flatten().collect();
    assert!(created.len() > ORDERS, "only {} orders were created", created.len());
    for order in &created {
        assert!(
            test_stack.order_row(&order.id).await.is_some(),
            "acknowledged order {} is missing",
            order.id
        );
        if let Some(payment) = &order.payment {
            let row = async || test_stack.order_row(&order.id).await.unwrap();
            eventually(async || payment_result(&row().await, payment).is_some()).await;
        }
    }
    let rows = final_rows(&test_stack, &tickets).await;
    let orders: Vec<_> = rows.keys().cloned().collect();
    let received = listener
        .collect(&orders, |received| {
            rows.iter().all(|(id, row)| kinds(&received[id]).len() > version(row))
        })
        .await;
    check_event_sequences(&received);
    for (id, row) in &rows {
        let newest = received[id].iter().max_by_key(|received| received.kind().1).unwrap();
        assert_eq!(kinds(&received[id]).len(), version(row) + 1, "{row}");
        assert_eq!(newest.detail()["status"], row["status"]);
    }
    let dead_letters = test_stack.peek("OrderRelayDeadLetterQueueUrl").await;
    assert!(!dead_letters.iter().any(|record| orders.iter().any(|order| record.contains(order))));
}

/// Waits until all orders for these tickets are final, and returns their rows.
async fn final_rows(test_stack: &TestStack, tickets: &[String]) -> BTreeMap<String, Value> {
    let mut rows = BTreeMap::new();
    for ticket in tickets {
        let is_final = |row: &Value| row["status"] != "awaiting_payment";
        eventually(async || test_stack.orders_for(ticket).await.iter().all(is_final)).await;
        for row in test_stack.orders_for(ticket).await {
            rows.insert(row["id"].as_str().unwrap().to_owned(), row);
        }
    }
    rows
}

fn version(row: &Value) -> usize {
    usize::try_from(row["version"].as_u64().unwrap()).unwrap()
}

/// An acknowledged order, and its payment.
struct CreatedOrder {
    id: String,
    payment: Option<String>,
}

/// Places an order per ticket. Of three orders, the first is paid and the second cancelled. A
/// request that fails in a crash is not repeated.
fn start_traffic(
    test_stack: &Arc<TestStack>,
    buyers: &[Buyer],
    tickets: &[String],
) -> JoinSet<Option<CreatedOrder>> {
    let mut traffic = JoinSet::new();
    for (number, (ticket, buyer)) in tickets.iter().cloned().zip(buyers).enumerate() {
        let (test_stack, buyer) = (test_stack.clone(), buyer.clone());
        traffic.spawn(async move {
            let start = u64::try_from(number).unwrap() * 30;
            tokio::time::sleep(Duration::from_millis(start)).await;
            let order = buyer.try_order(&ticket).await.ok()?;
            let id = order["id"].as_str()?.to_owned();
            let mut payment = None;
            match number % 3 {
                0 => {
                    let payment_id = format!("payment-{}", Uuid::new_v4());
                    test_stack.publish_payment(&payment_id, &id).await;
                    payment = Some(payment_id);
                }
                1 => drop(buyer.try_cancel(&id).await),
                _ => {}
            }
            Some(CreatedOrder { id, payment })
        });
    }
    traffic
}

//! Crashes in the middle of it all: whatever was committed is told, and nothing else is.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use orders_tests::{
    bus::{Listener, check_histories, kinds, use_of_charge},
    buyers::{Buyer, TestStack, eventually, new_buyer},
    stack::{Crash, crash, refuse_events},
};
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

const ORDERS: usize = 60;

#[tokio::test]
async fn whatever_was_committed_is_told_after_crashes_and_nothing_else() {
    let test_stack = Arc::new(TestStack::connect().await);
    let buyer = new_buyer();
    let tickets = test_stack.new_tickets(3 * ORDERS).await;
    let listener = Listener::start().await;

    refuse_events(true);
    let traffic = start_traffic(&test_stack, &buyer, &tickets[..ORDERS]);
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        crash(Crash::Functions);
    }
    let mut placed = traffic.join_all().await;
    refuse_events(false);

    // The buyers have their answers by then, but not everything is told.
    placed
        .extend(start_traffic(&test_stack, &buyer, &tickets[ORDERS..2 * ORDERS]).join_all().await);
    crash(Crash::Emulator);
    tokio::time::sleep(Duration::from_secs(1)).await;
    eventually(async || buyer.try_get("/api/orders?limit=1").await.is_ok_and(|it| it == 200)).await;
    placed.extend(start_traffic(&test_stack, &buyer, &tickets[2 * ORDERS..]).join_all().await);

    let placed: Vec<Placed> = placed.into_iter().flatten().collect();
    assert!(placed.len() > ORDERS, "only {} buyers were told of an order", placed.len());
    for order in &placed {
        assert!(
            test_stack.order_row(&order.id).await.is_some(),
            "a buyer was told of {}",
            order.id
        );
        if let Some(payment) = &order.payment {
            let row = async || test_stack.order_row(&order.id).await.unwrap();
            eventually(async || use_of_charge(&row().await, payment).is_some()).await;
        }
    }
    let rows = settled_rows(&test_stack, &tickets).await;
    let orders: Vec<_> = rows.keys().cloned().collect();
    let heard = listener
        .stop(&orders, |heard| rows.iter().all(|(id, row)| kinds(&heard[id]).len() > version(row)))
        .await;
    check_histories(&heard);
    for (id, row) in &rows {
        let last = heard[id].iter().max_by_key(|heard| heard.kind().1).unwrap();
        assert_eq!(kinds(&heard[id]).len(), version(row) + 1, "{row}");
        assert_eq!(last.detail()["status"], row["status"]);
    }
    let given_up = test_stack.look_into("OrderRelayDeadLetterQueueUrl").await;
    assert!(!given_up.iter().any(|record| orders.iter().any(|order| record.contains(order))));
}

/// Every order for these tickets, once each has been paid, cancelled or has expired.
async fn settled_rows(test_stack: &TestStack, tickets: &[String]) -> BTreeMap<String, Value> {
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

/// An order that its buyer was told of, and what was charged for it.
struct Placed {
    id: String,
    payment: Option<String>,
}

/// Places an order for each ticket; pays for one of three and cancels another. What fails in a crash
/// fails: its buyer was told of nothing.
fn start_traffic(
    test_stack: &Arc<TestStack>,
    buyer: &Buyer,
    tickets: &[String],
) -> JoinSet<Option<Placed>> {
    let mut traffic = JoinSet::new();
    for (number, ticket) in tickets.iter().cloned().enumerate() {
        let (test_stack, buyer) = (test_stack.clone(), buyer.clone());
        traffic.spawn(async move {
            let start = u64::try_from(number).unwrap() * 30;
            tokio::time::sleep(Duration::from_millis(start)).await;
            let order = buyer.try_order(&ticket).await.ok()?;
            let id = order["id"].as_str()?.to_owned();
            let mut payment = None;
            match number % 3 {
                0 => {
                    let charge = format!("payment-{}", Uuid::new_v4());
                    test_stack.charge(&charge, &id).await;
                    payment = Some(charge);
                }
                1 => drop(buyer.try_cancel(&id).await),
                _ => {}
            }
            Some(Placed { id, payment })
        });
    }
    traffic
}

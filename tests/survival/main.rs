//! Crashes in the middle of it all: whatever was committed is told, and nothing else is.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use orders_tests::{
    bus::{Heard, Listener},
    buyers::{Backstage, Buyer, eventually, new_buyer},
    stack::{Crash, crash, refuse_events},
};
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

const ORDERS: usize = 60;

#[tokio::test]
async fn whatever_was_committed_is_told_after_crashes_and_nothing_else() {
    let backstage = Arc::new(Backstage::enter().await);
    let buyer = new_buyer();
    let tickets = backstage.new_tickets(3 * ORDERS).await;
    let listener = Listener::start().await;

    refuse_events(true);
    let traffic = start_traffic(&backstage, &buyer, &tickets[..ORDERS]);
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        crash(Crash::Functions);
    }
    traffic.join_all().await;
    refuse_events(false);

    // The buyers have their answers by then, but not everything is told.
    let placed = start_traffic(&backstage, &buyer, &tickets[ORDERS..2 * ORDERS]).join_all().await;
    crash(Crash::Emulator);
    tokio::time::sleep(Duration::from_secs(1)).await;
    eventually(async || buyer.try_get("/api/orders?limit=1").await.is_ok_and(|it| it == 200)).await;
    start_traffic(&backstage, &buyer, &tickets[2 * ORDERS..]).join_all().await;

    let mut rows: BTreeMap<String, Value> = BTreeMap::new();
    for ticket in &tickets {
        for row in backstage.orders_for(ticket).await {
            rows.insert(row["id"].as_str().unwrap().to_owned(), row);
        }
    }
    let orders: Vec<_> = rows.keys().cloned().collect();
    assert!(orders.len() > 2 * ORDERS, "only {} orders were placed", orders.len());
    assert!(placed.iter().flatten().all(|order| rows.contains_key(order)), "an order is lost");
    let all_told = |heard: &BTreeMap<String, Vec<Heard>>| {
        rows.iter().all(|(id, row)| versions(&heard[id]).len() > version_of(row))
    };
    let heard = listener.stop(&orders, all_told).await;
    for (id, row) in &rows {
        let now = backstage.order_row(id).await.unwrap();
        let committed: Vec<u64> = (0..=now["version"].as_u64().unwrap()).collect();
        assert_eq!(versions(&heard[id]), committed, "{row}");
    }
}

fn version_of(row: &Value) -> usize {
    usize::try_from(row["version"].as_u64().unwrap()).unwrap()
}

/// The versions that were told, each once.
fn versions(history: &[Heard]) -> Vec<u64> {
    let mut versions: Vec<_> = history.iter().map(|heard| heard.kind().1).collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}

/// Places an order for each ticket; pays for one of three and cancels another. What fails in a crash
/// fails: only what was committed counts. Each task returns the order, if its buyer was told of it.
fn start_traffic(
    backstage: &Arc<Backstage>,
    buyer: &Buyer,
    tickets: &[String],
) -> JoinSet<Option<String>> {
    let mut traffic = JoinSet::new();
    for (number, ticket) in tickets.iter().cloned().enumerate() {
        let (backstage, buyer) = (backstage.clone(), buyer.clone());
        traffic.spawn(async move {
            let start = u64::try_from(number).unwrap() * 30;
            tokio::time::sleep(Duration::from_millis(start)).await;
            let order = buyer.try_order(&ticket).await.ok()?;
            let id = order["id"].as_str()?;
            match number % 3 {
                0 => backstage.charge(&format!("payment-{}", Uuid::new_v4()), id).await,
                1 => drop(buyer.try_cancel(id).await),
                _ => {}
            }
            Some(id.to_owned())
        });
    }
    traffic
}

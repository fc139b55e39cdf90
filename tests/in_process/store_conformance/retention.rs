//! Retention of orders: when `forget_at` is set and removed. Only on `DynamoDB`, whose time to live
//! reads the attribute.

use std::time::Duration;

use orders_domain::{
    Availability, Command, CommitOutcome, Order, OrderStore, PlaceOutcome, Placement, Transition,
};
use orders_dynamo::{DynamoStore, Retention};
use orders_testing::{START_MS, at, pay, transition};
use orders_tests::stores;
use serde_json::{Value, json};

use crate::{
    suite::{extension_of, late_payment_of, order_at, placed_order, takeover_of},
    tables::Tables,
};

const KEPT: Duration = Duration::from_hours(24 * 60);

/// Epoch seconds: 60 days after the end of a hold that began at second 0.
const FORGET_AT: u64 = START_MS / 1_000 + 30 + 60 * 86_400;

async fn tables() -> (DynamoStore, Tables) {
    let (store, tables) = Tables::on(&stores::in_process_endpoint()).await;
    (store.with_retention(Retention::Limited(KEPT)), tables)
}

async fn forget_at(tables: &Tables, order: &Order) -> Value {
    let item = tables.get(&tables.names.orders, &order.id.to_string()).await;
    item.get("forget_at").cloned().unwrap_or(Value::Null)
}

async fn commit(store: &DynamoStore, transition: Transition) -> Order {
    let outcome = store.commit(&transition).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed, "{transition:?}");
    transition.into_order()
}

#[tokio::test]
async fn cancelled_or_expired_order_is_kept_for_a_time() {
    let (store, tables) = tables().await;
    for command in [Command::Cancel, Command::Expire { now: at(30) }] {
        let order = placed_order(&store).await;
        assert_eq!(forget_at(&tables, &order).await, Value::Null);
        let ended = commit(&store, transition(&order, &command)).await;
        assert_eq!(forget_at(&tables, &ended).await, json!(FORGET_AT), "{command:?}");
    }
}

#[tokio::test]
async fn order_expired_by_a_takeover_is_kept_for_a_time() {
    let (store, tables) = tables().await;
    let lapsed = placed_order(&store).await;
    let order = order_at(&lapsed.ticket, 30);
    let placement = Placement { order, takeover: Some(takeover_of(&lapsed)) };
    assert_eq!(store.place(&placement).await.unwrap(), PlaceOutcome::Placed);
    assert_eq!(forget_at(&tables, &lapsed).await, json!(FORGET_AT));
    assert_eq!(forget_at(&tables, &placement.order).await, Value::Null);
}

#[tokio::test]
async fn live_or_refunded_order_is_kept_for_ever() {
    let (store, tables) = tables().await;
    let order = placed_order(&store).await;
    let extended = commit(&store, extension_of(&order)).await;
    assert_eq!(forget_at(&tables, &extended).await, Value::Null);
    let paid = commit(&store, transition(&extended, &pay("p-1", &extended, 10))).await;
    assert_eq!(forget_at(&tables, &paid).await, Value::Null);
    let refund = Command::Refund { payment_id: "p-1".parse().unwrap(), amount: None };
    let refunded = commit(&store, transition(&paid, &refund)).await;
    assert_eq!(forget_at(&tables, &refunded).await, Value::Null);
}

#[tokio::test]
async fn late_payment_that_buys_keeps_the_order_for_ever() {
    let (store, tables) = tables().await;
    let order = placed_order(&store).await;
    let expired = commit(&store, transition(&order, &Command::Expire { now: at(30) })).await;
    assert_eq!(forget_at(&tables, &expired).await, json!(FORGET_AT));
    let bought = commit(&store, late_payment_of(&expired, Availability::Free)).await;
    assert_eq!(forget_at(&tables, &bought).await, Value::Null);
}

#[tokio::test]
async fn order_is_kept_until_its_refund_is_settled() {
    let (store, tables) = tables().await;
    let order = placed_order(&store).await;
    let cancelled = commit(&store, transition(&order, &Command::Cancel)).await;
    let due = commit(&store, transition(&cancelled, &pay("p-2", &cancelled, 10))).await;
    assert_eq!(forget_at(&tables, &due).await, Value::Null);
    let refund = Command::Refund { payment_id: "p-2".parse().unwrap(), amount: None };
    let settled = commit(&store, transition(&due, &refund)).await;
    assert_eq!(forget_at(&tables, &settled).await, json!(FORGET_AT));
}

/// A transition after a change of the parameter.
#[tokio::test]
async fn unlimited_retention_removes_the_time() {
    let (store, tables) = tables().await;
    let order = placed_order(&store).await;
    let expired = commit(&store, transition(&order, &Command::Expire { now: at(30) })).await;
    let store = store.with_retention(Retention::Unlimited);
    let cancelled = commit(&store, transition(&expired, &Command::Cancel)).await;
    assert_eq!(forget_at(&tables, &cancelled).await, Value::Null);
}

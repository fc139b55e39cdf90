//! Concurrent calls.

use futures_util::future::join_all;
use orders_domain::{
    Command, CommitOutcome, Lock, OrderStore, PlaceOutcome, StoreError, TicketRule,
};

use super::{
    held_by, lock_of, new_ticket, new_ticket_id, order_for, payment_of, place, placed_order,
    replica, stored, ticket, transition_of,
};

pub(crate) async fn concurrent_buyers_of_one_ticket_get_one_order(store: &impl OrderStore) {
    let ticket = new_ticket(store).await;
    let orders: Vec<_> = (0..20).map(|_| order_for(&ticket)).collect();
    let outcomes = join_all(orders.iter().map(|order| place(store, order))).await;
    let placed = outcomes.iter().filter(|outcome| **outcome == PlaceOutcome::Placed).count();
    let changed = outcomes.iter().filter(|outcome| **outcome == PlaceOutcome::Conflict).count();
    assert_eq!((placed, changed), (1, 19));
    let mut stored = Vec::new();
    for order in &orders {
        stored.extend(store.find(order.id).await.unwrap());
    }
    assert_eq!(stored.len(), 1);
    assert_eq!(lock_of(store, &stored[0]).await, held_by(&stored[0]));
}

pub(crate) async fn concurrent_repeats_place_one_order(store: &impl OrderStore) {
    let order = order_for(&new_ticket(store).await);
    let outcomes = join_all((0..20).map(|_| place(store, &order))).await;
    let placed = outcomes.iter().filter(|outcome| **outcome == PlaceOutcome::Placed).count();
    let repeat = PlaceOutcome::AlreadyPlaced(order.clone());
    let repeats = outcomes.iter().filter(|outcome| **outcome == repeat).count();
    assert_eq!((placed, repeats), (1, 19));
}

pub(crate) async fn concurrent_cancel_and_payment_commit_once(store: &impl OrderStore) {
    for _ in 0..10 {
        let order = placed_order(store).await;
        let changes = [transition_of(&order, &Command::Cancel), payment_of(&order, "p1", false)];
        let outcomes: Result<Vec<_>, StoreError> =
            join_all(changes.iter().map(|change| store.commit(change))).await.into_iter().collect();
        let committed = outcomes.unwrap().into_iter().filter(|it| *it == CommitOutcome::Committed);
        assert_eq!(committed.count(), 1);
        let order = stored(store, &order).await;
        let lock = if order.status.is_live() { Lock::Sold { to: order.id } } else { Lock::Free };
        assert_eq!(lock_of(store, &order).await, lock);
    }
}

pub(crate) async fn concurrent_ticket_versions_end_at_the_newest(store: &impl OrderStore) {
    let id = new_ticket_id();
    let mut versions: Vec<_> = (0..=20).map(|version| ticket(&id, version)).collect();
    fastrand::shuffle(&mut versions);
    let applying = versions.iter().map(|it| store.apply_ticket(it, TicketRule::AnyNewer));
    for outcome in join_all(applying).await {
        outcome.unwrap();
    }
    assert_eq!(replica(store, &id).await.ticket, ticket(&id, 20));
}

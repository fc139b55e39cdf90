//! Concurrent calls.

use futures_util::future::join_all;
use orders_domain::{
    Availability, Command, CommitOutcome, Lock, OrderStore, Payment, PlaceOutcome, Placement,
    StoreError, TicketRule,
};
use orders_testing::{LATE_LIMIT, at, payment, transition};

use super::{
    expired_order, extensions::extension_of, held_by, late_payment_of, lock_of, new_payment_id,
    new_ticket, new_ticket_id, order_at, order_for, payment_of, place, placed_order, replica, sale,
    sold_to, stored, takeover_of, withdrawal,
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
        let changes = [transition(&order, &Command::Cancel), payment_of(&order)];
        let outcomes: Result<Vec<_>, StoreError> =
            join_all(changes.iter().map(|change| store.commit(change))).await.into_iter().collect();
        let committed = outcomes.unwrap().into_iter().filter(|it| *it == CommitOutcome::Committed);
        assert_eq!(committed.count(), 1);
        let order = stored(store, &order).await;
        let lock = if order.status.is_live() { sold_to(&order) } else { Lock::Free };
        assert_eq!(lock_of(store, &order).await, lock);
    }
}

/// The extension moves the end of the lock; the takeover was decided on the old end.
pub(crate) async fn concurrent_extension_and_takeover_commit_once(store: &impl OrderStore) {
    for _ in 0..10 {
        let order = placed_order(store).await;
        let extension = extension_of(&order);
        let takeover = Some(takeover_of(&order));
        let placement = Placement { order: order_at(&order.ticket, 30), takeover };
        let (extended, placed) = tokio::join!(store.commit(&extension), store.place(&placement));
        let is_extended = extended.unwrap() == CommitOutcome::Committed;
        assert_ne!(is_extended, placed.unwrap() == PlaceOutcome::Placed);
        let holder = if is_extended { extension.order() } else { &placement.order };
        assert_eq!(lock_of(store, &order).await, held_by(holder));
    }
}

pub(crate) async fn concurrent_orders_of_one_payment_get_one_result(store: &impl OrderStore) {
    for _ in 0..10 {
        let orders = [placed_order(store).await, placed_order(store).await];
        let payment = payment(&new_payment_id(), &orders[0], 1);
        let pay = |order| {
            let payment = Payment { order_id: order, ..payment.clone() };
            Command::Pay { payment, late_limit: LATE_LIMIT, now: at(1) }
        };
        let changes = orders.each_ref().map(|order| transition(order, &pay(order.id)));
        let outcomes = join_all(changes.iter().map(|change| store.commit(change))).await;
        let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
        let bought = store.find_payment(&payment.id).await.unwrap().unwrap().payment.order_id;
        for (order, outcome) in orders.iter().zip(outcomes) {
            let is_bought = order.id == bought;
            let expected = if is_bought {
                CommitOutcome::Committed
            } else {
                CommitOutcome::PaymentOfAnotherOrder(bought)
            };
            assert_eq!(outcome, expected);
            assert_eq!(stored(store, order).await.version.number(), u64::from(is_bought));
        }
    }
}

pub(crate) async fn concurrent_late_payment_and_takeover_commit_once(store: &impl OrderStore) {
    for _ in 0..10 {
        let expired = expired_order(store).await;
        let due = order_for(&expired.ticket);
        assert_eq!(place(store, &due).await, PlaceOutcome::Placed);
        let lapsed = Availability::Lapsed(takeover_of(&due));
        let payments =
            [late_payment_of(&expired, lapsed), late_payment_of(&due, Availability::Own)];
        let takeover = Some(takeover_of(&due));
        let placement = Placement { order: order_at(&due.ticket, 40), takeover };
        let (first, second, placed) = tokio::join!(
            store.commit(&payments[0]),
            store.commit(&payments[1]),
            store.place(&placement),
        );
        let mut winners = Vec::new();
        for (payment, outcome) in payments.iter().zip([first, second]) {
            if outcome.unwrap() == CommitOutcome::Committed {
                winners.push(sold_to(payment.order()));
            }
        }
        if placed.unwrap() == PlaceOutcome::Placed {
            winners.push(held_by(&placement.order));
        }
        assert_eq!(winners, [lock_of(store, &due).await]);
    }
}

pub(crate) async fn concurrent_ticket_versions_end_at_the_newest(store: &impl OrderStore) {
    let id = new_ticket_id();
    let content = |version| if version % 3 == 0 { withdrawal } else { sale };
    let mut versions: Vec<_> = (0..=20).map(|version| content(version)(&id, version)).collect();
    fastrand::shuffle(&mut versions);
    let applying = versions.iter().map(|it| store.apply_ticket(it, TicketRule::AnyNewer));
    for outcome in join_all(applying).await {
        outcome.unwrap();
    }
    assert_eq!(replica(store, &id).await.sale, sale(&id, 20));
}

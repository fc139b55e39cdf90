//! Holds that become longer when a payment starts.

use std::time::Duration;

use orders_domain::{Command, Lock, Order, OrderStore, Placement, Status, Transition};
use orders_testing::{at, pay, transition};

use super::{
    Repair, assert_conflicts, assert_free, assert_locked, commit, expiry_of, held_by, new_order_id,
    new_payment_id, order_at, order_for, placed_order, rows_of, sold_to, takeover_of,
};

/// The extension to second 310, by a payment that starts at second 10.
pub(crate) fn extension_of(order: &Order) -> Transition {
    let time_to_pay = Duration::from_mins(5);
    transition(order, &Command::StartPayment { sent_at: at(10), time_to_pay, now: at(10) })
}

pub(crate) async fn extension_moves_the_end_of_order_and_lock(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let extended = commit(store, &extension_of(&order)).await;
    assert_eq!(
        extended,
        Order { expires_at: at(310), extended: true, version: order.version.next(), ..order }
    );
    assert_locked(store, &extended, Lock::Held { by: extended.id, until: at(310) }).await;
}

pub(crate) async fn extended_order_ends_like_any_other(store: &impl OrderStore) {
    let extended = async || commit(store, &extension_of(&placed_order(store).await)).await;
    for command in [Command::Cancel, Command::Expire { now: at(310) }] {
        let ended = commit(store, &transition(&extended().await, &command)).await;
        assert!(ended.extended && ended.expires_at == at(310));
        assert_free(store, &ended.ticket.id).await;
    }
    let order = extended().await;
    let paid = commit(store, &transition(&order, &pay(&new_payment_id(), &order, 309))).await;
    assert_locked(store, &paid, sold_to(&paid)).await;

    let order = extended().await;
    let next =
        Placement { order: order_at(&order.ticket, 310), takeover: Some(takeover_of(&order)) };
    store.place(&next).await.unwrap();
    assert_locked(store, &next.order, held_by(&next.order)).await;
    let expired = store.find(order.id).await.unwrap().unwrap();
    assert_eq!((expired.status, expired.expires_at), (Status::Expired, at(310)));
}

/// What was decided on the shorter hold finds it changed.
pub(crate) async fn extended_order_is_not_ended_by_what_was_decided_before(
    store: &impl OrderStore,
) {
    let order = placed_order(store).await;
    let extended = commit(store, &extension_of(&order)).await;
    assert_conflicts(store, &[expiry_of(&order), extension_of(&order)], &[&extended]).await;
    let takeover = Some(takeover_of(&order));
    let placement = Placement { order: order_at(&order.ticket, 30), takeover };
    let before = rows_of(store, &[&extended, &placement.order]).await;
    assert_eq!(store.place(&placement).await.unwrap(), orders_domain::PlaceOutcome::Conflict);
    assert_eq!(rows_of(store, &[&extended, &placement.order]).await, before);
}

pub(crate) async fn extension_conflicts_with_a_changed_order(store: &impl OrderStore) {
    let commands: [fn(&Order) -> Command; 3] = [
        |_| Command::Cancel,
        |order| Command::Expire { now: order.expires_at },
        |order| pay(&new_payment_id(), order, 1),
    ];
    for command in commands {
        let order = placed_order(store).await;
        let extension = extension_of(&order);
        commit(store, &transition(&order, &command(&order))).await;
        assert_conflicts(store, &[extension], &[&order]).await;
    }
}

pub(crate) async fn extension_conflicts_with_a_lock_that_is_not_its_own(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    let order = placed_order(store).await;
    let other = order_for(&order.ticket);
    let stranger = Lock::Held { by: new_order_id(), until: at(30) };
    for lock in [Lock::Free, stranger, held_by(&other), sold_to(&other)] {
        tables.set_lock(&order.ticket.id, lock).await;
        assert_conflicts(store, &[extension_of(&order)], &[&order]).await;
    }
}

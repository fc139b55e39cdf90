//! Late payments that buy: the ticket is locked again, in the transaction of the payment.

use orders_domain::{
    Availability, Command, CommitOutcome, Lock, Order, OrderStore, PlaceOutcome, Sale, Status,
    Takeover, Ticket, TicketVersion,
};
use orders_testing::transition;

use super::{
    Repair, apply_next, assert_conflicts, assert_locked, commit, expired_order, held_by,
    late_payment_of, lock_of, new_order_id, new_ticket_id, order_at, order_for, payment_of, place,
    placed_order, sale, sold_to, stored, takeover_of,
    takeovers::{ENDED, ended_orders, lapsing},
    ticket,
};

pub(crate) async fn late_payment_buys_a_ticket_that_is_free_or_still_locked(
    store: &impl OrderStore,
) {
    let due = placed_order(store).await;
    let paid = commit(store, &late_payment_of(&due, Availability::Own)).await;
    assert_locked(store, &paid, sold_to(&paid)).await;
    assert_eq!((paid.status.name(), paid.version.number()), ("paid", 1));

    let expired = expired_order(store).await;
    let paid = commit(store, &late_payment_of(&expired, Availability::Free)).await;
    assert_locked(store, &paid, sold_to(&paid)).await;
    assert_eq!((paid.status.name(), paid.version.number()), ("paid", 2));
}

pub(crate) async fn late_payment_buys_at_the_same_price_of_a_newer_version(
    store: &impl OrderStore,
) {
    let expired = expired_order(store).await;
    let renamed = Ticket {
        price: expired.ticket.price,
        version: TicketVersion::new(4),
        ..ticket(&expired.ticket.id, 4)
    };
    apply_next(store, &Sale::Open(renamed)).await;
    let paid = commit(store, &late_payment_of(&expired, Availability::Free)).await;
    assert_locked(store, &paid, sold_to(&paid)).await;
}

/// Two orders of one ticket: the first has expired, the second is due at second 30.
async fn expired_and_due(store: &impl OrderStore) -> (Order, Order) {
    let expired = expired_order(store).await;
    let due = order_for(&expired.ticket);
    assert_eq!(place(store, &due).await, PlaceOutcome::Placed);
    (expired, due)
}

pub(crate) async fn late_payment_expires_the_order_of_a_lapsed_lock(store: &impl OrderStore) {
    let (expired, due) = expired_and_due(store).await;
    let lapsed = Availability::Lapsed(takeover_of(&due));
    let paid = commit(store, &late_payment_of(&expired, lapsed)).await;
    assert_locked(store, &paid, sold_to(&paid)).await;
    let due = stored(store, &due).await;
    assert_eq!((due.status, due.version.number()), (Status::Expired, 1));
}

pub(crate) async fn late_payment_passes_the_lock_of_an_ended_order(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    for kind in 0..ENDED {
        let expired = expired_order(store).await;
        let named = ended_orders(store, &expired.ticket).await[kind];
        tables.set_lock(&expired.ticket.id, lapsing(named)).await;
        let before = store.find(named).await.unwrap();
        let lapsed = Availability::Lapsed(Takeover::Ended(named));
        let paid = commit(store, &late_payment_of(&expired, lapsed)).await;
        assert_locked(store, &paid, sold_to(&paid)).await;
        assert_eq!(store.find(named).await.unwrap(), before);
    }
}

pub(crate) async fn late_payment_conflicts_with_a_changed_price(store: &impl OrderStore) {
    let (expired, due) = expired_and_due(store).await;
    let own = placed_order(store).await;
    for order in [&expired, &own] {
        apply_next(store, &sale(&order.ticket.id, 4)).await;
    }
    let lapsed = Availability::Lapsed(takeover_of(&due));
    assert_conflicts(store, &[late_payment_of(&expired, lapsed)], &[&expired, &due]).await;
    assert_conflicts(store, &[late_payment_of(&own, Availability::Own)], &[&own]).await;
    commit(store, &transition(&due, &Command::Cancel)).await;
    assert_conflicts(store, &[late_payment_of(&expired, Availability::Free)], &[&expired]).await;
}

pub(crate) async fn late_payment_conflicts_with_a_changed_order(store: &impl OrderStore) {
    let commands: [fn(&Order) -> _; 2] = [|order| transition(order, &Command::Cancel), payment_of];
    for command in commands {
        let (expired, due) = expired_and_due(store).await;
        let lapsed = Availability::Lapsed(takeover_of(&due));
        let stale = late_payment_of(&expired, lapsed);
        commit(store, &command(&due)).await;
        assert_conflicts(store, &[stale], &[&expired, &due]).await;

        let due = placed_order(store).await;
        let stale = late_payment_of(&due, Availability::Own);
        commit(store, &command(&due)).await;
        assert_conflicts(store, &[stale], &[&due]).await;
    }
}

pub(crate) async fn late_payment_conflicts_with_an_active_hold(store: &impl OrderStore) {
    let expired = expired_order(store).await;
    // Held until second 41, so active at second 40.
    let holding = order_at(&expired.ticket, 11);
    assert_eq!(place(store, &holding).await, PlaceOutcome::Placed);
    for availability in [
        Availability::Lapsed(takeover_of(&holding)),
        Availability::Lapsed(Takeover::Ended(holding.id)),
        Availability::Free,
        Availability::Own,
    ] {
        let late = late_payment_of(&expired, availability);
        assert_conflicts(store, &[late], &[&expired, &holding]).await;
    }
}

pub(crate) async fn late_payment_conflicts_with_a_lock_of_another_order(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    let (expired, due) = expired_and_due(store).await;
    let late = [takeover_of(&due), Takeover::Ended(due.id)]
        .map(|takeover| late_payment_of(&expired, Availability::Lapsed(takeover)));
    for lock in [Lock::Free, lapsing(new_order_id()), lapsing(expired.id), sold_to(&due)] {
        tables.set_lock(&expired.ticket.id, lock).await;
        assert_conflicts(store, &late, &[&expired, &due]).await;
    }
}

pub(crate) async fn late_payment_conflicts_with_a_live_order_assumed_to_have_ended(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    let (expired, due) = expired_and_due(store).await;
    let late = late_payment_of(&expired, Availability::Lapsed(Takeover::Ended(due.id)));
    assert_conflicts(store, std::slice::from_ref(&late), &[&expired, &due]).await;
    let paid = commit(store, &payment_of(&due)).await;
    tables.set_lock(&paid.ticket.id, held_by(&paid)).await;
    assert_conflicts(store, &[late], &[&expired, &due]).await;
    assert_eq!(lock_of(store, &paid).await, held_by(&paid));
}

pub(crate) async fn late_payment_of_a_missing_ticket_conflicts(store: &impl OrderStore) {
    let expired = expired_order(store).await;
    let moved = Order { ticket: ticket(&new_ticket_id(), 3), ..expired.clone() };
    for availability in [Availability::Free, Availability::Own] {
        let late = late_payment_of(&moved, availability);
        assert_eq!(store.commit(&late).await.unwrap(), CommitOutcome::Conflict);
        assert_eq!(store.find_ticket(&moved.ticket.id).await.unwrap(), None);
        assert_eq!(stored(store, &expired).await, expired);
    }
}

//! Scans for lapsed holds, and locks released without an order.

use orders_domain::{CommitOutcome, LapsedHolds, Lock, TicketId, Timestamp};
use orders_testing::{START_MS, at};

use super::{
    Repair,
    gifts::free_order,
    held_by, lock_of, new_ticket, new_ticket_id, order_at, paid_order, placed_order, stored,
    takeovers::{ended_orders, lapsing},
};

/// The tickets of every page.
pub(crate) async fn lapsed_tickets(store: &impl LapsedHolds, before: Timestamp) -> Vec<TicketId> {
    let (mut tickets, mut position) = (Vec::new(), None);
    loop {
        let page = store.find_lapsed(before, position.as_ref()).await.unwrap();
        tickets.extend(page.tickets);
        match page.next {
            Some(next) => position = Some(next),
            None => return tickets,
        }
    }
}

pub(crate) async fn scan_finds_each_lapsed_hold_once(store: &impl LapsedHolds) {
    // More tickets than the in-memory store reads for a page.
    let mut held = Vec::new();
    for _ in 0..9 {
        held.push(placed_order(store).await);
    }
    let kept = [paid_order(store).await, free_order(store).await];
    let lapsed = lapsed_tickets(store, held[0].expires_at).await;
    for order in &held {
        assert_eq!(lapsed.iter().filter(|id| **id == order.ticket.id).count(), 1);
    }
    for order in &kept {
        assert!(!lapsed.contains(&order.ticket.id));
    }
    let just_before = Timestamp::from_epoch_ms(held[0].expires_at.epoch_ms() - 1).unwrap();
    let earlier = lapsed_tickets(store, just_before).await;
    assert!(held.iter().all(|order| !earlier.contains(&order.ticket.id)));
}

pub(crate) async fn lapsed_lock_of_an_ended_order_is_released(
    store: &impl LapsedHolds,
    tables: &impl Repair,
) {
    let ticket = new_ticket(store).await;
    for ended in ended_orders(store, &ticket).await {
        let before = store.find(ended).await.unwrap();
        tables.set_lock(&ticket.id, lapsing(ended)).await;
        let release = async || store.release(&ticket.id, ended, at(30)).await.unwrap();
        assert_eq!(release().await, CommitOutcome::Committed);
        let replica = store.find_ticket(&ticket.id).await.unwrap().unwrap();
        assert_eq!((replica.lock, replica.locked_for), (Lock::Free, None));
        assert_eq!(store.find(ended).await.unwrap(), before);
        assert_eq!(release().await, CommitOutcome::Conflict);
    }
}

pub(crate) async fn lock_is_released_only_after_its_order_and_its_end(
    store: &impl LapsedHolds,
    tables: &impl Repair,
) {
    // Its hold has lapsed, but the order has not ended.
    let due = placed_order(store).await;
    let outcome = store.release(&due.ticket.id, due.id, at(1_000)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Conflict);
    assert_eq!((lock_of(store, &due).await, stored(store, &due).await), (held_by(&due), due));
    // The order is missing, but the lock is another, active or permanent.
    let missing = order_at(&new_ticket(store).await, 0);
    let active =
        Lock::Held { by: missing.id, until: Timestamp::from_epoch_ms(START_MS + 1).unwrap() };
    let other = order_at(&missing.ticket, 0);
    for lock in [Lock::Free, active, Lock::Sold { to: missing.id }, lapsing(other.id)] {
        tables.set_lock(&missing.ticket.id, lock).await;
        let outcome = store.release(&missing.ticket.id, missing.id, at(0)).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Conflict, "{lock:?}");
        assert_eq!(lock_of(store, &missing).await, lock);
    }
    let unknown = new_ticket_id();
    let outcome = store.release(&unknown, missing.id, at(1_000)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Conflict);
    assert_eq!(store.find_ticket(&unknown).await.unwrap(), None);
}

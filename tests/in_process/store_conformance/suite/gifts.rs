//! Tickets that cost nothing: sold by the placement.

use orders_domain::{
    Command, Lock, Order, OrderStore, Payment, PlaceOutcome, Placement, Price, RefundReason, Sale,
    Status, Ticket, TicketRule, TicketVersion,
};
use orders_testing::{LATE_LIMIT, at, payment, transition};

use super::{
    apply, apply_next, assert_free, assert_locked, commit, new_payment_id, new_ticket_id, order_at,
    order_for, place, placed_order, sold_to, stored, takeover_of, ticket,
};

/// Version 3 or 4 of a ticket, for nothing.
fn gift(ticket: Ticket, version: u64) -> Ticket {
    let version = TicketVersion::new(version);
    Ticket { price: Price::from_minor(0).unwrap(), version, ..ticket }
}

/// Places an order for a new ticket that costs nothing.
pub(super) async fn free_order(store: &impl OrderStore) -> Order {
    let gift = gift(ticket(&new_ticket_id(), 3), 3);
    apply(store, &Sale::Open(gift.clone()), TicketRule::FirstOrNext, None).await;
    let order = order_for(&gift);
    assert_eq!(place(store, &order).await, PlaceOutcome::Placed);
    order
}

pub(crate) async fn free_ticket_is_sold_by_its_placement(store: &impl OrderStore) {
    let order = free_order(store).await;
    assert_eq!((&order.status, order.version.number()), (&Status::Free, 0));
    assert_eq!(stored(store, &order).await, order);
    assert_locked(store, &order, sold_to(&order)).await;
    assert_eq!(place(store, &order_for(&order.ticket)).await, PlaceOutcome::Conflict);
    assert_eq!(place(store, &order).await, PlaceOutcome::AlreadyPlaced(order));
}

/// The lock of the lapsed hold had an end; the new lock has none.
pub(crate) async fn free_ticket_is_taken_over_permanently(store: &impl OrderStore) {
    let lapsed = placed_order(store).await;
    let gift = gift(lapsed.ticket.clone(), 4);
    apply_next(store, &Sale::Open(gift.clone())).await;
    let takeover = Some(takeover_of(&lapsed));
    let placement = Placement { order: order_at(&gift, 30), takeover };
    assert_eq!(store.place(&placement).await.unwrap(), PlaceOutcome::Placed);
    assert_locked(store, &placement.order, sold_to(&placement.order)).await;
    assert_eq!(stored(store, &lapsed).await.status, Status::Expired);
}

pub(crate) async fn cancelled_free_order_gives_its_ticket_back(store: &impl OrderStore) {
    let order = free_order(store).await;
    let cancelled = commit(store, &transition(&order, &Command::Cancel)).await;
    assert_eq!((cancelled.status, cancelled.version.number()), (Status::Cancelled, 1));
    assert_free(store, &order.ticket.id).await;
    assert_eq!(place(store, &order_for(&order.ticket)).await, PlaceOutcome::Placed);
}

pub(crate) async fn payment_of_a_free_order_is_a_refund_due(store: &impl OrderStore) {
    let order = free_order(store).await;
    let payment = Payment { amount: None, ..payment(&new_payment_id(), &order, 1) };
    let pay = Command::Pay { payment, late_limit: LATE_LIMIT, now: at(1) };
    let order = commit(store, &transition(&order, &pay)).await;
    assert_eq!(order.refunds_due[0].reason, RefundReason::AlreadyPaid);
    assert_locked(store, &order, Lock::Sold { to: order.id }).await;
    commit(store, &transition(&order, &Command::Cancel)).await;
    assert_free(store, &order.ticket.id).await;
}

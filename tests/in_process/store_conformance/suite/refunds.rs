//! Refunds that have been made.

use orders_domain::{
    Availability, Command, LockChange, Order, OrderStore, PlaceOutcome, RefundState, Status,
    Ticket, Transition,
};
use orders_testing::{pay, transition};

use super::{
    Repair, assert_conflicts, assert_free, assert_locked, cancelled_order, commit, held_by,
    lock_of, new_payment_id, order_for, paid_order, payment_of, place, placed_order, sold_to,
    transition_on,
};

fn refund(payment_id: &str) -> Command {
    Command::Refund { payment_id: payment_id.parse().unwrap(), amount: None }
}

/// The refund of the payment that bought the order.
fn refund_of(order: &Order) -> Command {
    let Status::Paid { payment_id } = &order.status else { panic!("{order:?} is not paid") };
    refund(payment_id.as_str())
}

/// The settlement of the refund at this index.
pub(super) fn settlement_of(order: &Order, index: usize) -> Transition {
    transition(order, &refund(order.refunds_due[index].payment_id.as_str()))
}

/// Orders a free ticket, pays and is refunded.
pub(super) async fn refunded_order(store: &impl OrderStore, ticket: &Ticket) -> Order {
    let order = order_for(ticket);
    assert_eq!(place(store, &order).await, PlaceOutcome::Placed);
    let order = commit(store, &payment_of(&order)).await;
    commit(store, &transition(&order, &refund_of(&order))).await
}

pub(crate) async fn refunded_order_frees_its_ticket(store: &impl OrderStore) {
    let paid = paid_order(store).await;
    let refunded = commit(store, &transition(&paid, &refund_of(&paid))).await;
    let Status::Paid { payment_id } = paid.status else { unreachable!() };
    let booked = store.find_payment(&payment_id).await.unwrap().unwrap();
    assert_eq!(booked.payment.order_id, paid.id, "the payment stays booked");
    assert_eq!(refunded.status, Status::Refunded { payment_id });
    assert_eq!(refunded.version.number(), 2);
    assert_free(store, &refunded.ticket.id).await;
    let next = order_for(&refunded.ticket);
    assert_eq!(place(store, &next).await, PlaceOutcome::Placed);

    // Another payment of the refunded order leaves the next order alone.
    commit(store, &payment_of(&refunded)).await;
    assert_locked(store, &next, held_by(&next)).await;
}

/// The paid order has lost its lock to another order.
pub(crate) async fn refund_never_frees_a_ticket_of_another_order(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    let paid = paid_order(store).await;
    let other = order_for(&paid.ticket);
    tables.set_lock(&paid.ticket.id, sold_to(&other)).await;
    assert_conflicts(store, &[transition(&paid, &refund_of(&paid))], &[&paid]).await;
    let beside = transition_on(&paid, &refund_of(&paid), Availability::Sold);
    assert_eq!(beside.lock(), &LockChange::NotOwn);
    commit(store, &beside).await;
    assert_eq!(lock_of(store, &paid).await, sold_to(&other));
}

pub(crate) async fn refund_beside_the_lock_conflicts_with_an_own_lock(store: &impl OrderStore) {
    let paid = paid_order(store).await;
    let beside = transition_on(&paid, &refund_of(&paid), Availability::Free);
    assert_conflicts(store, &[beside], &[&paid]).await;
}

pub(crate) async fn settled_refund_changes_only_its_state(store: &impl OrderStore) {
    for order in [paid_order(store).await, cancelled_order(store).await] {
        let lock = lock_of(store, &order).await;
        let mut order = order;
        for _ in 0..3 {
            order = commit(store, &payment_of(&order)).await;
        }
        for (index, states) in
            [(1, [false, true, false]), (0, [true, true, false]), (2, [true, true, true])]
        {
            let before = order.clone();
            order = commit(store, &settlement_of(&order, index)).await;
            let is_settled = |index: usize| order.refunds_due[index].state == RefundState::Settled;
            assert_eq!([0, 1, 2].map(is_settled), states);
            assert_eq!(order.status, before.status);
            assert_eq!(order.version, before.version.next());
            assert_eq!(lock_of(store, &order).await, lock);
        }
        // A refund can follow.
        let order = commit(store, &payment_of(&order)).await;
        assert_eq!(order.refunds_due[3].state, RefundState::Due);
    }
}

pub(crate) async fn refund_conflicts_with_a_changed_order(store: &impl OrderStore) {
    let paid = paid_order(store).await;
    let owing = commit(store, &payment_of(&paid)).await;
    let stale = [
        transition(&paid, &refund_of(&paid)),
        transition(&owing, &refund_of(&owing)),
        settlement_of(&owing, 0),
    ];
    commit(store, &transition(&owing, &pay(&new_payment_id(), &owing, 2))).await;
    assert_conflicts(store, &stale, &[&owing]).await;

    let placed = placed_order(store).await;
    let never_paid = Order { status: owing.status.clone(), ..placed.clone() };
    let mut unlike = vec![transition(&never_paid, &refund_of(&never_paid))];
    commit(store, &payment_of(&placed)).await;
    unlike.push(transition(&never_paid, &refund_of(&never_paid)));
    assert_conflicts(store, &unlike, &[&placed]).await;
}

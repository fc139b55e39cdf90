//! Placements, transitions and ticket writes.

use orders_domain::{
    Availability, Command, Lock, LockChange, Order, OrderStore, PlaceOutcome, RefundReason, Slots,
    Status, TicketOutcome, TicketReplica, TicketRule, TicketVersion, Verdict,
};
use orders_testing::{at, pay, transition};

use super::{
    Repair, apply, apply_next, assert_conflicts, assert_free, assert_locked, commit, expiry_of,
    held_by, lists::list_of, lock_of, new_order_id, new_payment_id, new_ticket, new_ticket_id,
    new_user, order_for, paid_order, payment_of, place, placed_order, replica, sale, sold_to,
    stored, ticket, transition_on, withdrawal,
};

pub(crate) async fn missing_rows_are_not_found(store: &impl OrderStore) {
    assert_eq!(store.find_ticket(&new_ticket_id()).await.unwrap(), None);
    assert_eq!(store.find(new_order_id()).await.unwrap(), None);
    assert_eq!(store.find_payment(&new_payment_id().parse().unwrap()).await.unwrap(), None);
    let page = store.list(&list_of(&new_user(), 10)).await.unwrap();
    assert_eq!((page.orders, page.next), (Vec::new(), None));
    assert_eq!(store.find_slots(&new_user()).await.unwrap(), Slots::default());
}

pub(crate) async fn ticket_write_follows_the_version_rule(store: &impl OrderStore) {
    let rules = [TicketRule::Next, TicketRule::FirstOrNext, TicketRule::AnyNewer];
    let stored_versions = [None, Some(0), Some(1), Some(5)];
    for (rule, stored) in rules.into_iter().flat_map(|rule| stored_versions.map(|it| (rule, it))) {
        let id = new_ticket_id();
        if let Some(version) = stored {
            apply(store, &sale(&id, version), TicketRule::FirstOrNext, None).await;
        }
        let stored = stored.map(TicketVersion::new);
        for incoming in [0, 1, 2, 4, 5, 6, 7] {
            let before = store.find_ticket(&id).await.unwrap();
            let current = before.as_ref().map(|replica| replica.sale.version());
            assert!(current >= stored);
            let content = if incoming % 3 == 0 { withdrawal } else { sale };
            let incoming = content(&id, incoming);
            let outcome = store.apply_ticket(&incoming, rule).await.unwrap();
            let after = store.find_ticket(&id).await.unwrap();
            if rule.judge(current, incoming.version()) == Verdict::Apply {
                assert_eq!(outcome, TicketOutcome::Applied { replaced: current });
                let lock = Lock::Free;
                let expected = TicketReplica { sale: incoming, lock, locked_for: None };
                assert_eq!(after, Some(expected));
            } else {
                let stored = before.clone().map(|replica| replica.sale);
                assert_eq!(outcome, TicketOutcome::Refused { stored });
                assert_eq!(after, before);
            }
        }
    }
}

pub(crate) async fn ticket_write_keeps_the_lock(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let newer = sale(&order.ticket.id, 4);
    apply_next(store, &newer).await;
    assert_eq!(replica(store, &order.ticket.id).await.sale, newer);
    assert_locked(store, &order, held_by(&order)).await;

    commit(store, &payment_of(&order)).await;
    apply(store, &sale(&order.ticket.id, 9), TicketRule::AnyNewer, Some(4)).await;
    assert_locked(store, &order, sold_to(&order)).await;
    assert_eq!(stored(store, &order).await.ticket, order.ticket, "ticket of the order");
}

pub(crate) async fn placed_order_is_stored_and_locks_its_ticket(store: &impl OrderStore) {
    let order = placed_order(store).await;
    assert_eq!(stored(store, &order).await, order);
    assert_locked(store, &order, held_by(&order)).await;
}

pub(crate) async fn order_id_is_used_once(store: &impl OrderStore) {
    let order = placed_order(store).await;
    assert_eq!(place(store, &order).await, PlaceOutcome::AlreadyPlaced(order.clone()));

    let other_ticket = Order { id: order.id, ..order_for(&new_ticket(store).await) };
    assert_eq!(place(store, &other_ticket).await, PlaceOutcome::AlreadyPlaced(order.clone()));
    assert_free(store, &other_ticket.ticket.id).await;

    let cancelled = commit(store, &transition(&order, &Command::Cancel)).await;
    assert_eq!(place(store, &order).await, PlaceOutcome::AlreadyPlaced(cancelled));
    assert_free(store, &order.ticket.id).await;
}

pub(crate) async fn place_conflicts_with_a_changed_ticket(store: &impl OrderStore) {
    let free = new_ticket(store).await;
    apply_next(store, &sale(&free.id, 4)).await;
    let held = placed_order(store).await.ticket;
    let sold = paid_order(store).await.ticket;
    let unknown = ticket(&new_ticket_id(), 0);
    for ticket in [free, held, sold, unknown] {
        let before = store.find_ticket(&ticket.id).await.unwrap();
        let order = order_for(&ticket);
        assert_eq!(place(store, &order).await, PlaceOutcome::Conflict);
        assert_eq!(store.find(order.id).await.unwrap(), None);
        assert_eq!(store.find_ticket(&ticket.id).await.unwrap(), before);
    }
}

pub(crate) async fn cancelled_or_expired_order_frees_its_ticket(store: &impl OrderStore) {
    for command in [Command::Cancel, Command::Expire { now: at(30) }] {
        let order = placed_order(store).await;
        commit(store, &transition(&order, &command)).await;
        assert_free(store, &order.ticket.id).await;
        assert_eq!(place(store, &order_for(&order.ticket)).await, PlaceOutcome::Placed);
    }
}

pub(crate) async fn expired_order_is_cancelled_without_its_ticket(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let expired = commit(store, &expiry_of(&order)).await;
    let next = order_for(&order.ticket);
    assert_eq!(place(store, &next).await, PlaceOutcome::Placed);
    let cancelled = commit(store, &transition(&expired, &Command::Cancel)).await;
    assert_eq!((cancelled.status, cancelled.version.number()), (Status::Cancelled, 2));
    assert_locked(store, &next, held_by(&next)).await;
}

pub(crate) async fn paid_order_locks_its_ticket_permanently(store: &impl OrderStore) {
    let order = paid_order(store).await;
    assert_eq!((order.status.name(), order.version.number()), ("paid", 1));
    assert_locked(store, &order, sold_to(&order)).await;
}

pub(crate) async fn refunds_due_are_appended_and_keep_the_lock(store: &impl OrderStore) {
    let mut order = paid_order(store).await;
    for _ in 0..Order::MAX_REFUNDS {
        order = commit(store, &payment_of(&order)).await;
    }
    let reasons: Vec<_> = order.refunds_due.iter().map(|refund| refund.reason).collect();
    assert_eq!(reasons, [RefundReason::AlreadyPaid; Order::MAX_REFUNDS]);
    assert_locked(store, &order, sold_to(&order)).await;
}

pub(crate) async fn refund_due_survives_later_transitions(store: &impl OrderStore) {
    let mut order = placed_order(store).await;
    let Command::Pay { mut payment, late_limit, now } = pay(&new_payment_id(), &order, 1) else {
        unreachable!()
    };
    payment.amount = Some(ticket(&order.ticket.id, 4).price);
    let wrong_amount = Command::Pay { payment, late_limit, now };
    for command in [wrong_amount, Command::Expire { now: at(30) }, Command::Cancel] {
        order = commit(store, &transition(&order, &command)).await;
    }
    order = commit(store, &payment_of(&order)).await;
    let reasons: Vec<_> = order.refunds_due.iter().map(|refund| refund.reason).collect();
    assert_eq!(reasons, [RefundReason::WrongAmount, RefundReason::OrderCancelled]);
    assert_free(store, &order.ticket.id).await;
}

pub(crate) async fn stale_commit_writes_nothing(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let stale = [
        transition(&order, &Command::Cancel),
        expiry_of(&order),
        payment_of(&order),
        transition_on(&order, &Command::Cancel, Availability::Free),
    ];
    commit(store, &transition(&order, &Command::Cancel)).await;
    let next = order_for(&order.ticket);
    assert_eq!(place(store, &next).await, PlaceOutcome::Placed);
    assert_conflicts(store, &stale, &[&order, &next]).await;

    let never_placed = order_for(&order.ticket);
    let change = transition(&never_placed, &Command::Cancel);
    assert_conflicts(store, &[change], &[&never_placed, &next]).await;
}

/// A live order whose lock is gone ends, and the lock stays as it is.
pub(crate) async fn order_without_its_lock_ends_beside_it(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    for command in [Command::Cancel, Command::Expire { now: at(30) }] {
        let order = placed_order(store).await;
        let other = order_for(&order.ticket);
        for lock in [Lock::Free, held_by(&other), sold_to(&other)] {
            tables.set_lock(&order.ticket.id, lock).await;
            let with_lock = [transition(&order, &command), payment_of(&order)];
            assert_conflicts(store, &with_lock, &[&order]).await;
        }
        let end = transition_on(&order, &command, Availability::Sold);
        assert_eq!(end.lock(), &LockChange::NotOwn);
        commit(store, &end).await;
        assert_eq!(lock_of(store, &order).await, sold_to(&other));
    }
}

pub(crate) async fn order_ends_beside_its_lock_only_without_it(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let beside = transition_on(&order, &Command::Cancel, Availability::Free);
    assert_conflicts(store, &[beside], &[&order]).await;
}

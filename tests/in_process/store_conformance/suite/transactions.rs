//! Placements, transitions and ticket writes.

use orders_domain::{
    Command, CommitOutcome, Lock, Order, OrderStore, OrderVersion, PlaceOutcome, Placement,
    RefundReason, Status, TicketOutcome, TicketReplica, TicketRule, TicketVersion, Verdict,
};
use orders_testing::at;

use super::{
    commit, expiry_of, held_by, lists::list_of, lock_of, new_order_id, new_ticket, new_ticket_id,
    new_user, order_at, order_for, payment_id, payment_of, place, placed_order, replica, stored,
    ticket, transition_of,
};

pub(crate) async fn missing_rows_are_not_found(store: &impl OrderStore) {
    assert_eq!(store.find_ticket(&new_ticket_id()).await.unwrap(), None);
    assert_eq!(store.find(new_order_id()).await.unwrap(), None);
    let page = store.list(&list_of(&new_user(), 10)).await.unwrap();
    assert_eq!((page.orders, page.next), (Vec::new(), None));
}

pub(crate) async fn ticket_write_follows_the_version_rule(store: &impl OrderStore) {
    let rules = [TicketRule::Next, TicketRule::FirstOrNext, TicketRule::AnyNewer];
    let stored_versions = [None, Some(0), Some(1), Some(5)];
    for (rule, stored) in rules.into_iter().flat_map(|rule| stored_versions.map(|it| (rule, it))) {
        let id = new_ticket_id();
        if let Some(version) = stored {
            store.apply_ticket(&ticket(&id, version), TicketRule::FirstOrNext).await.unwrap();
        }
        let stored = stored.map(TicketVersion::new);
        for incoming in [0, 1, 2, 4, 5, 6, 7] {
            let before = store.find_ticket(&id).await.unwrap();
            let current = before.as_ref().map(|replica| replica.ticket.version);
            assert!(current >= stored);
            let incoming = ticket(&id, incoming);
            let outcome = store.apply_ticket(&incoming, rule).await.unwrap();
            let after = store.find_ticket(&id).await.unwrap();
            if rule.judge(current, incoming.version) == Verdict::Apply {
                assert_eq!(outcome, TicketOutcome::Applied { replaced: current });
                assert_eq!(after, Some(TicketReplica { ticket: incoming, lock: Lock::Free }));
            } else {
                assert_eq!(outcome, TicketOutcome::Refused { stored: current });
                assert_eq!(after, before);
            }
        }
    }
}

pub(crate) async fn ticket_write_keeps_the_lock(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let newer = ticket(&order.ticket.id, 4);
    store.apply_ticket(&newer, TicketRule::Next).await.unwrap();
    let expected = TicketReplica { ticket: newer, lock: held_by(&order) };
    assert_eq!(replica(store, &order.ticket.id).await, expected);

    commit(store, &payment_of(&order, "p1", false)).await;
    store.apply_ticket(&ticket(&order.ticket.id, 9), TicketRule::AnyNewer).await.unwrap();
    assert_eq!(lock_of(store, &order).await, Lock::Sold { to: order.id });
    assert_eq!(stored(store, &order).await.ticket, order.ticket, "ticket of the order");
}

pub(crate) async fn placed_order_is_stored_and_locks_its_ticket(store: &impl OrderStore) {
    let order = placed_order(store).await;
    assert_eq!(stored(store, &order).await, order);
    assert_eq!(lock_of(store, &order).await, held_by(&order));
}

pub(crate) async fn order_id_is_used_once(store: &impl OrderStore) {
    let order = placed_order(store).await;
    assert_eq!(place(store, &order).await, PlaceOutcome::AlreadyPlaced(order.clone()));

    let other_ticket = Order { id: order.id, ..order_for(&new_ticket(store).await) };
    assert_eq!(place(store, &other_ticket).await, PlaceOutcome::AlreadyPlaced(order.clone()));
    assert_eq!(lock_of(store, &other_ticket).await, Lock::Free);

    let cancelled = commit(store, &transition_of(&order, &Command::Cancel)).await;
    assert_eq!(place(store, &order).await, PlaceOutcome::AlreadyPlaced(cancelled));
    assert_eq!(lock_of(store, &order).await, Lock::Free);
}

pub(crate) async fn place_conflicts_with_a_changed_ticket(store: &impl OrderStore) {
    let free = new_ticket(store).await;
    store.apply_ticket(&ticket(&free.id, 4), TicketRule::Next).await.unwrap();
    let held = placed_order(store).await.ticket;
    let sold = placed_order(store).await;
    commit(store, &payment_of(&sold, "p1", false)).await;
    let unknown = ticket(&new_ticket_id(), 0);
    for ticket in [free, held, sold.ticket, unknown] {
        let before = store.find_ticket(&ticket.id).await.unwrap();
        let order = order_for(&ticket);
        assert_eq!(place(store, &order).await, PlaceOutcome::Conflict);
        assert_eq!(store.find(order.id).await.unwrap(), None);
        assert_eq!(store.find_ticket(&ticket.id).await.unwrap(), before);
    }
}

pub(crate) async fn takeover_expires_the_lapsed_order(store: &impl OrderStore) {
    let lapsed = placed_order(store).await;
    let order = order_at(&lapsed.ticket, 30);
    let takeover = Placement { order: order.clone(), takeover: Some(expiry_of(&lapsed)) };
    assert_eq!(store.place(&takeover).await.unwrap(), PlaceOutcome::Placed);
    assert_eq!(lock_of(store, &order).await, held_by(&order));
    assert_eq!(stored(store, &order).await, order);
    let lapsed = stored(store, &lapsed).await;
    assert_eq!((lapsed.status, lapsed.version), (Status::Expired, OrderVersion::new(1)));
}

pub(crate) async fn takeover_conflicts_with_a_changed_order(store: &impl OrderStore) {
    for command in [
        Command::Cancel,
        Command::Expire { now: at(30) },
        Command::Pay { payment_id: payment_id("p1"), ticket_is_free: false },
    ] {
        let lapsed = placed_order(store).await;
        let takeover = Some(expiry_of(&lapsed));
        let changed = commit(store, &transition_of(&lapsed, &command)).await;
        let lock = lock_of(store, &lapsed).await;
        let order = order_at(&lapsed.ticket, 30);
        let placement = Placement { order: order.clone(), takeover };
        assert_eq!(store.place(&placement).await.unwrap(), PlaceOutcome::Conflict);
        assert_eq!(store.find(order.id).await.unwrap(), None);
        assert_eq!(stored(store, &lapsed).await, changed);
        assert_eq!(lock_of(store, &lapsed).await, lock);
    }
}

pub(crate) async fn takeover_conflicts_with_an_active_hold(store: &impl OrderStore) {
    let held = placed_order(store).await;
    let early = order_at(&held.ticket, 29);
    let placement = Placement { order: early.clone(), takeover: Some(expiry_of(&held)) };
    assert_eq!(store.place(&placement).await.unwrap(), PlaceOutcome::Conflict);
    assert_eq!(stored(store, &held).await, held);
    assert_eq!(lock_of(store, &held).await, held_by(&held));
}

pub(crate) async fn cancelled_or_expired_order_frees_its_ticket(store: &impl OrderStore) {
    for command in [Command::Cancel, Command::Expire { now: at(30) }] {
        let order = placed_order(store).await;
        commit(store, &transition_of(&order, &command)).await;
        assert_eq!(lock_of(store, &order).await, Lock::Free);
        assert_eq!(place(store, &order_for(&order.ticket)).await, PlaceOutcome::Placed);
    }
}

pub(crate) async fn paid_order_locks_its_ticket_permanently(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let order = commit(store, &payment_of(&order, "p1", false)).await;
    assert_eq!(order.status, Status::Paid { payment_id: payment_id("p1") });
    assert_eq!(lock_of(store, &order).await, Lock::Sold { to: order.id });
}

pub(crate) async fn late_payment_locks_only_a_free_ticket(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let late = commit(store, &expiry_of(&order)).await;
    commit(store, &payment_of(&late, "p1", true)).await;
    assert_eq!(lock_of(store, &order).await, Lock::Sold { to: order.id });

    let order = placed_order(store).await;
    let late = commit(store, &expiry_of(&order)).await;
    let other = order_for(&order.ticket);
    assert_eq!(place(store, &other).await, PlaceOutcome::Placed);
    let outcome = store.commit(&payment_of(&late, "p1", true)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Conflict);
    assert_eq!(stored(store, &late).await, late);
    assert_eq!(lock_of(store, &order).await, held_by(&other));
}

pub(crate) async fn refund_due_is_stored_and_keeps_the_lock(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let order = commit(store, &payment_of(&order, "p1", false)).await;
    let order = commit(store, &payment_of(&order, "p2", false)).await;
    let order = commit(store, &payment_of(&order, "p3", false)).await;
    let reasons: Vec<_> = order.refunds_due.iter().map(|refund| refund.reason).collect();
    assert_eq!(reasons, [RefundReason::AlreadyPaid; 2]);
    assert_eq!(lock_of(store, &order).await, Lock::Sold { to: order.id });
}

pub(crate) async fn stale_commit_writes_nothing(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let stale_transitions = [
        transition_of(&order, &Command::Cancel),
        expiry_of(&order),
        payment_of(&order, "p1", false),
    ];
    let cancelled = commit(store, &transition_of(&order, &Command::Cancel)).await;
    let other = order_for(&order.ticket);
    assert_eq!(place(store, &other).await, PlaceOutcome::Placed);
    for change in stale_transitions {
        assert_eq!(store.commit(&change).await.unwrap(), CommitOutcome::Conflict);
        assert_eq!(stored(store, &order).await, cancelled);
        assert_eq!(lock_of(store, &order).await, held_by(&other));
    }
    let never_placed = order_for(&order.ticket);
    let change = transition_of(&never_placed, &Command::Cancel);
    assert_eq!(store.commit(&change).await.unwrap(), CommitOutcome::Conflict);
    assert_eq!(store.find(never_placed.id).await.unwrap(), None);
    assert_eq!(lock_of(store, &order).await, held_by(&other));
}

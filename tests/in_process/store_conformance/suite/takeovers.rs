//! Takeovers of lapsed holds, and locks made permanent.

use orders_domain::{
    Command, CommitOutcome, Lock, Order, OrderId, OrderStore, PlaceOutcome, Placement, Status,
    Takeover, Ticket,
};
use orders_testing::{at, transition};

use super::{
    Repair, assert_locked, commit, expiry_of, extensions::extension_of, gifts::free_order, held_by,
    lock_of, new_order_id, new_ticket, order_at, order_for, paid_order, payment_of, place,
    placed_order, refunds::refunded_order, rows_of, sold_to, stored, takeover_of,
};

/// A lock that lapses at second 30.
pub(super) fn lapsing(by: OrderId) -> Lock {
    Lock::Held { by, until: at(30) }
}

/// An order at second 30 that takes the ticket over.
fn taking_over(order: &Order, takeover: Takeover) -> Placement {
    Placement { order: order_at(&order.ticket, 30), takeover: Some(takeover) }
}

/// Number of [`ended_orders`].
pub(super) const ENDED: usize = 5;

/// Ids that a lapsed lock of this free ticket may name although their orders do not hold the
/// ticket: of a missing, a cancelled, an expired and a refunded order, and of a live order of
/// another ticket.
pub(super) async fn ended_orders(store: &impl OrderStore, ticket: &Ticket) -> [OrderId; ENDED] {
    let mut ended = [new_order_id(); ENDED];
    for (id, command) in
        ended[1..3].iter_mut().zip([Command::Cancel, Command::Expire { now: at(30) }])
    {
        let order = order_for(ticket);
        assert_eq!(place(store, &order).await, PlaceOutcome::Placed);
        commit(store, &transition(&order, &command)).await;
        *id = order.id;
    }
    ended[3] = refunded_order(store, ticket).await.id;
    ended[4] = placed_order(store).await.id;
    ended
}

/// Places orders that conflict. Nothing is written.
async fn assert_place_conflicts(store: &impl OrderStore, placement: &Placement, others: &[&Order]) {
    let orders = [&[&placement.order], others].concat();
    let before = rows_of(store, &orders).await;
    let outcome = store.place(placement).await.unwrap();
    assert_eq!(outcome, PlaceOutcome::Conflict, "{placement:?}");
    assert_eq!(rows_of(store, &orders).await, before, "{placement:?}");
}

pub(crate) async fn takeover_expires_the_lapsed_order(store: &impl OrderStore) {
    let lapsed = placed_order(store).await;
    let placement = taking_over(&lapsed, takeover_of(&lapsed));
    assert_eq!(store.place(&placement).await.unwrap(), PlaceOutcome::Placed);
    let order = placement.order;
    assert_locked(store, &order, held_by(&order)).await;
    assert_eq!(stored(store, &order).await, order);
    let lapsed = stored(store, &lapsed).await;
    assert_eq!((lapsed.status, lapsed.version.number()), (Status::Expired, 1));
}

pub(crate) async fn takeover_conflicts_with_a_changed_order(store: &impl OrderStore) {
    let commands: [fn(&Order) -> _; 4] =
        [|order| transition(order, &Command::Cancel), expiry_of, payment_of, extension_of];
    for command in commands {
        let lapsed = placed_order(store).await;
        let placement = taking_over(&lapsed, takeover_of(&lapsed));
        commit(store, &command(&lapsed)).await;
        assert_place_conflicts(store, &placement, &[&lapsed]).await;
    }
}

pub(crate) async fn takeover_conflicts_with_an_active_hold(store: &impl OrderStore) {
    let held = placed_order(store).await;
    for takeover in [takeover_of(&held), Takeover::Ended(held.id)] {
        let early = Placement { order: order_at(&held.ticket, 29), takeover: Some(takeover) };
        assert_place_conflicts(store, &early, &[&held]).await;
    }
}

pub(crate) async fn takeover_of_an_ended_order_leaves_it_as_it_is(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    for kind in 0..ENDED {
        let ticket = new_ticket(store).await;
        let named = ended_orders(store, &ticket).await[kind];
        tables.set_lock(&ticket.id, lapsing(named)).await;
        let before = store.find(named).await.unwrap();
        let placement = taking_over(&order_for(&ticket), Takeover::Ended(named));
        assert_eq!(store.place(&placement).await.unwrap(), PlaceOutcome::Placed);
        assert_locked(store, &placement.order, held_by(&placement.order)).await;
        assert_eq!(stored(store, &placement.order).await, placement.order);
        assert_eq!(store.find(named).await.unwrap(), before);
    }
}

pub(crate) async fn takeover_of_an_ended_order_conflicts_with_a_live_order(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    for live in [placed_order(store).await, paid_order(store).await] {
        tables.set_lock(&live.ticket.id, lapsing(live.id)).await;
        assert_place_conflicts(store, &taking_over(&live, Takeover::Ended(live.id)), &[&live])
            .await;
    }
}

pub(crate) async fn takeover_conflicts_with_a_lock_of_another_order(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    let lapsed = placed_order(store).await;
    for lock in [Lock::Free, lapsing(new_order_id()), sold_to(&lapsed)] {
        tables.set_lock(&lapsed.ticket.id, lock).await;
        for takeover in [takeover_of(&lapsed), Takeover::Ended(lapsed.id)] {
            assert_place_conflicts(store, &taking_over(&lapsed, takeover), &[&lapsed]).await;
        }
    }
}

/// The placed order is missing, although the lapsed lock names it.
pub(crate) async fn missing_order_takes_its_own_lapsed_lock_over(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    let order = order_at(&new_ticket(store).await, 30);
    tables.set_lock(&order.ticket.id, lapsing(order.id)).await;
    assert_eq!(place(store, &order).await, PlaceOutcome::Conflict);
    let placement = Placement { order: order.clone(), takeover: Some(Takeover::Ended(order.id)) };
    assert_eq!(store.place(&placement).await.unwrap(), PlaceOutcome::Placed);
    assert_locked(store, &order, held_by(&order)).await;
    let again = store.place(&placement).await.unwrap();
    assert_eq!(again, PlaceOutcome::AlreadyPlaced(order));
}

pub(crate) async fn lock_of_a_paid_order_is_made_permanent(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    for paid in [paid_order(store).await, free_order(store).await] {
        tables.set_lock(&paid.ticket.id, lapsing(paid.id)).await;
        for _ in 0..2 {
            let outcome = store.make_permanent(&paid).await.unwrap();
            assert_eq!(outcome, CommitOutcome::Committed);
            assert_eq!(lock_of(store, &paid).await, sold_to(&paid));
        }
        assert_eq!(stored(store, &paid).await, paid);
    }
}

pub(crate) async fn lock_is_made_permanent_only_for_the_order_as_read(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    let read = paid_order(store).await;
    let changed = commit(store, &payment_of(&read)).await;
    let other = order_for(&read.ticket);
    for (order, lock) in [
        (&read, lapsing(read.id)),
        (&changed, Lock::Free),
        (&changed, lapsing(other.id)),
        (&other, lapsing(other.id)),
    ] {
        tables.set_lock(&read.ticket.id, lock).await;
        let outcome = store.make_permanent(order).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Conflict, "{lock:?}");
        assert_eq!(lock_of(store, &read).await, lock);
    }
    assert_eq!(store.find(other.id).await.unwrap(), None);
}

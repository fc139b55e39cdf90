//! Slots of a buyer, occupied by the holds.

use futures_util::future::join_all;
use orders_domain::{
    Command, NoSlot, Order, OrderStore, PlaceOutcome, Placement, Slot, SlotCount, Slots, Timestamp,
    Transition, UserId,
};
use orders_testing::{at, transition};

use super::{
    Repair, commit, expiry_of, extensions::extension_of, gifts::free_order, new_ticket, new_user,
    order_at, order_for, payment_of, place, placed_order, rows_of, stored, takeover_of,
};

/// The slot of most orders here.
pub(crate) fn slot() -> Slot {
    Slot::new(7).unwrap()
}

/// An order of this buyer at this second, for a new ticket and in this slot.
pub(crate) async fn order_in(
    store: &impl OrderStore,
    user_id: &UserId,
    slot: Slot,
    seconds: u64,
) -> Order {
    let order = order_at(&new_ticket(store).await, seconds);
    Order { user_id: user_id.clone(), slot: Some(slot), ..order }
}

/// Places an order in a slot of a new buyer. The order is due at second 30.
pub(crate) async fn placed_in_slot(store: &impl OrderStore) -> Order {
    let order = order_in(store, &new_user(), slot(), 0).await;
    assert_eq!(place(store, &order).await, PlaceOutcome::Placed);
    order
}

/// The buyer's slots, as far as they were used.
async fn slots_of(store: &impl OrderStore, order: &Order) -> Slots {
    store.find_slots(&order.user_id).await.unwrap()
}

/// Slots of which only the usual one is occupied.
fn until(end: Timestamp) -> Slots {
    Slots::from_iter([(slot(), end)])
}

pub(crate) async fn placed_order_occupies_its_slot(store: &impl OrderStore) {
    let order = placed_in_slot(store).await;
    assert_eq!(stored(store, &order).await, order);
    assert_eq!(slots_of(store, &order).await, until(at(30)));
    assert_eq!(place(store, &order).await, PlaceOutcome::AlreadyPlaced(order.clone()));

    // Another slot of the buyer, and the same slot of another buyer.
    let other = Slot::new(0).unwrap();
    let second = order_in(store, &order.user_id, other, 10).await;
    assert_eq!(place(store, &second).await, PlaceOutcome::Placed);
    let both = Slots::from_iter([(slot(), at(30)), (other, at(40))]);
    assert_eq!(slots_of(store, &order).await, both);
    placed_in_slot(store).await;
    assert_eq!(slots_of(store, &order).await, both);
}

pub(crate) async fn order_without_a_slot_occupies_none(store: &impl OrderStore) {
    let order = placed_order(store).await;
    assert_eq!(slots_of(store, &order).await, Slots::default());
    let extended = commit(store, &extension_of(&order)).await;
    commit(store, &transition(&extended, &Command::Cancel)).await;
    assert_eq!(slots_of(store, &order).await, Slots::default());
}

pub(crate) async fn place_conflicts_with_an_occupied_slot(store: &impl OrderStore) {
    let first = placed_in_slot(store).await;
    let early = order_in(store, &first.user_id, slot(), 29).await;
    let before = rows_of(store, &[&first, &early]).await;
    assert_eq!(place(store, &early).await, PlaceOutcome::Conflict);
    assert_eq!(rows_of(store, &[&first, &early]).await, before);
    assert_eq!(slots_of(store, &first).await, until(at(30)));
}

/// The first order is due; whether its expiry is committed does not matter.
pub(crate) async fn lapsed_slot_is_free(store: &impl OrderStore) {
    for is_expired in [false, true] {
        let first = placed_in_slot(store).await;
        if is_expired {
            commit(store, &expiry_of(&first)).await;
            assert_eq!(slots_of(store, &first).await, until(at(30)));
        }
        let next = order_in(store, &first.user_id, slot(), 30).await;
        assert_eq!(place(store, &next).await, PlaceOutcome::Placed);
        assert_eq!(slots_of(store, &first).await, until(at(60)));
    }
}

pub(crate) async fn cancellation_and_payment_free_the_slot(store: &impl OrderStore) {
    let ends: [fn(&Order) -> Transition; 2] =
        [|order| transition(order, &Command::Cancel), payment_of];
    for end in ends {
        for is_extended in [false, true] {
            let mut order = placed_in_slot(store).await;
            if is_extended {
                order = commit(store, &extension_of(&order)).await;
            }
            commit(store, &end(&order)).await;
            assert_eq!(slots_of(store, &order).await, Slots::default());
            let next = order_in(store, &order.user_id, slot(), 1).await;
            assert_eq!(place(store, &next).await, PlaceOutcome::Placed);
        }
    }
}

pub(crate) async fn extension_moves_the_slot(store: &impl OrderStore) {
    let order = placed_in_slot(store).await;
    commit(store, &extension_of(&order)).await;
    assert_eq!(slots_of(store, &order).await, until(at(310)));
    let early = order_in(store, &order.user_id, slot(), 309).await;
    assert_eq!(place(store, &early).await, PlaceOutcome::Conflict);
    let next = order_in(store, &order.user_id, slot(), 310).await;
    assert_eq!(place(store, &next).await, PlaceOutcome::Placed);
}

pub(crate) async fn free_order_occupies_its_slot_for_the_usual_hold(store: &impl OrderStore) {
    let gift = free_order(store).await;
    commit(store, &transition(&gift, &Command::Cancel)).await;
    let order = Order { slot: Some(slot()), ..order_for(&gift.ticket) };
    assert_eq!(place(store, &order).await, PlaceOutcome::Placed);
    assert_eq!(slots_of(store, &order).await, until(at(30)));
    commit(store, &transition(&order, &Command::Cancel)).await;
    assert_eq!(slots_of(store, &order).await, Slots::default());
}

/// The transitions that change the slot of a placed order.
pub(crate) fn slot_changes(order: &Order) -> [Transition; 3] {
    [transition(order, &Command::Cancel), payment_of(order), extension_of(order)]
}

/// The transitions were decided in time and are late.
pub(crate) async fn transition_leaves_the_slot_of_a_later_order(store: &impl OrderStore) {
    for index in 0..3 {
        let first = placed_in_slot(store).await;
        let later = order_in(store, &first.user_id, slot(), 30).await;
        assert_eq!(place(store, &later).await, PlaceOutcome::Placed);
        let change = &slot_changes(&first)[index];
        assert!(change.slot().is_some());
        commit(store, change).await;
        assert_eq!(slots_of(store, &first).await, until(at(60)));
    }
}

pub(crate) async fn transition_commits_without_the_slots_of_its_buyer(
    store: &impl OrderStore,
    tables: &impl Repair,
) {
    for index in 0..3 {
        let order = placed_in_slot(store).await;
        tables.remove_slots(&order.user_id).await;
        commit(store, &slot_changes(&order)[index]).await;
        assert_eq!(slots_of(store, &order).await, Slots::default());
    }
}

pub(crate) async fn stale_transition_leaves_its_slot(store: &impl OrderStore) {
    let order = placed_in_slot(store).await;
    let stale = slot_changes(&order);
    let extended = commit(store, &extension_of(&order)).await;
    super::assert_conflicts(store, &stale, &[&extended]).await;
    assert_eq!(slots_of(store, &order).await, until(at(310)));
}

pub(crate) async fn takeover_occupies_the_slot_of_the_new_order_only(store: &impl OrderStore) {
    let lapsed = placed_in_slot(store).await;
    let takeover = Some(takeover_of(&lapsed));
    let order = Order { slot: Slot::new(3), ..order_at(&lapsed.ticket, 30) };
    let placement = Placement { order, takeover };
    assert_eq!(store.place(&placement).await.unwrap(), PlaceOutcome::Placed);
    assert_eq!(slots_of(store, &lapsed).await, until(at(30)));
    let expected = Slots::from_iter([(Slot::new(3).unwrap(), at(60))]);
    assert_eq!(slots_of(store, &placement.order).await, expected);
}

/// Orders tickets until an order is placed or no slot is free. Returns whether an order is placed.
async fn order_until_refused(store: &impl OrderStore, user_id: &UserId, count: SlotCount) -> bool {
    // More than 20 concurrent buyers can need.
    for number in 0..100 {
        let free = store.find_slots(user_id).await.unwrap().free_slots(count, at(0));
        let Ok(free) = free else {
            assert_eq!(free, Err(NoSlot { until: at(30) }));
            return false;
        };
        let order = order_in(store, user_id, free[number % free.len()], 0).await;
        match place(store, &order).await {
            PlaceOutcome::Placed => return true,
            PlaceOutcome::Conflict => {}
            other @ PlaceOutcome::AlreadyPlaced(_) => panic!("{other:?}"),
        }
    }
    panic!("neither placed nor refused");
}

pub(crate) async fn concurrent_orders_of_one_buyer_never_exceed_the_slots(store: &impl OrderStore) {
    let (user_id, count) = (new_user(), SlotCount::try_from(5).unwrap());
    let orders = (0..20).map(|_| order_until_refused(store, &user_id, count));
    let placed = join_all(orders).await.into_iter().filter(|placed| *placed).count();
    assert_eq!(placed, 5);
    let slots = store.find_slots(&user_id).await.unwrap();
    let occupied = |number| slots.occupied_until(Slot::new(number).unwrap());
    assert_eq!([0, 1, 2, 3, 4, 5].map(occupied), {
        let end = Some(at(30));
        [end, end, end, end, end, None]
    });
}

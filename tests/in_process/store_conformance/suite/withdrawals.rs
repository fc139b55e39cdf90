//! Tickets that their seller withdraws.

use orders_domain::{
    Availability, Command, Order, OrderStore, PlaceOutcome, Sale, Ticket, TicketRule, TicketVersion,
};
use orders_testing::transition;

use super::{
    apply, apply_next, assert_conflicts, assert_free, assert_locked, commit, expired_order,
    extensions::extension_of, held_by, late_payment_of, new_ticket, new_ticket_id, order_for,
    payment_of, place, placed_order, replica, sale, sold_to, ticket, withdrawal,
};

pub(crate) async fn withdrawal_keeps_the_lock(store: &impl OrderStore) {
    let order = placed_order(store).await;
    apply_next(store, &withdrawal(&order.ticket.id, 4)).await;
    assert_eq!(replica(store, &order.ticket.id).await.sale, withdrawal(&order.ticket.id, 4));
    assert_locked(store, &order, held_by(&order)).await;

    let extended = commit(store, &extension_of(&order)).await;
    assert_locked(store, &extended, held_by(&extended)).await;
    commit(store, &payment_of(&extended)).await;
    assert_locked(store, &order, sold_to(&order)).await;
    assert_eq!(replica(store, &order.ticket.id).await.sale, withdrawal(&order.ticket.id, 4));

    let order = placed_order(store).await;
    apply_next(store, &withdrawal(&order.ticket.id, 4)).await;
    commit(store, &transition(&order, &Command::Cancel)).await;
    assert_free(store, &order.ticket.id).await;
}

pub(crate) async fn place_conflicts_with_a_withdrawal(store: &impl OrderStore) {
    let ticket = new_ticket(store).await;
    apply_next(store, &withdrawal(&ticket.id, 4)).await;
    let order = order_for(&ticket);
    assert_eq!(place(store, &order).await, PlaceOutcome::Conflict);
    assert_eq!(store.find(order.id).await.unwrap(), None);
    assert_free(store, &ticket.id).await;
}

/// A newer event puts it back on sale, also if the withdrawal was the first event.
pub(crate) async fn withdrawn_ticket_is_put_back_on_sale(store: &impl OrderStore) {
    let unknown = new_ticket_id();
    apply(store, &withdrawal(&unknown, 4), TicketRule::AnyNewer, None).await;
    let known = new_ticket(store).await.id;
    apply_next(store, &withdrawal(&known, 4)).await;
    for id in [unknown, known] {
        assert_eq!(replica(store, &id).await.sale, withdrawal(&id, 4));
        assert_free(store, &id).await;
        apply(store, &sale(&id, 5), TicketRule::Next, Some(4)).await;
        assert_eq!(replica(store, &id).await.sale, sale(&id, 5));
        let order = order_for(&ticket(&id, 5));
        assert_eq!(place(store, &order).await, PlaceOutcome::Placed);
        assert_locked(store, &order, held_by(&order)).await;
    }
}

/// Even at the price that the ticket had.
pub(crate) async fn late_payment_conflicts_with_a_withdrawal(store: &impl OrderStore) {
    let (expired, due) = (expired_order(store).await, placed_order(store).await);
    let late: [(&Order, Availability); 2] =
        [(&expired, Availability::Free), (&due, Availability::Own)];
    for (order, availability) in late {
        apply_next(store, &withdrawal(&order.ticket.id, 4)).await;
        let payment = late_payment_of(order, availability);
        assert_conflicts(store, std::slice::from_ref(&payment), &[order]).await;

        let again = Ticket { version: TicketVersion::new(5), ..order.ticket.clone() };
        apply(store, &Sale::Open(again), TicketRule::Next, Some(4)).await;
        let paid = commit(store, &payment).await;
        assert_locked(store, &paid, sold_to(&paid)).await;
    }
}

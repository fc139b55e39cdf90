//! Lists of a buyer's orders.

use std::time::Duration;

use orders_domain::{Direction, ListQuery, Order, OrderStore, PageSize, PlaceOutcome, UserId};

use super::{new_ticket, new_user, order_at, place};

pub(super) fn list_of(user: &UserId, size: u8) -> ListQuery {
    ListQuery {
        user_id: user.clone(),
        size: size.try_into().unwrap(),
        direction: Direction::OldestFirst,
        after: None,
    }
}

/// Reads all pages of a list.
async fn pages(store: &impl OrderStore, mut query: ListQuery) -> Vec<Vec<Order>> {
    let mut pages = Vec::new();
    while pages.len() < 20 {
        let page = store.list(&query).await.unwrap();
        pages.push(page.orders);
        if page.next.is_none() {
            return pages;
        }
        query.after = page.next;
    }
    panic!("endless list: {pages:#?}");
}

/// Places orders of a buyer at these seconds and waits until a list contains all.
async fn buyer_with_orders(store: &impl OrderStore, seconds: &[u64]) -> (UserId, Vec<Order>) {
    let user = new_user();
    let mut orders = Vec::new();
    for second in seconds {
        let ticket = new_ticket(store).await;
        let order = Order { user_id: user.clone(), ..order_at(&ticket, *second) };
        assert_eq!(place(store, &order).await, PlaceOutcome::Placed);
        orders.push(order);
    }
    let everything = list_of(&user, PageSize::MAX);
    for _ in 0..200 {
        if store.list(&everything).await.unwrap().orders.len() >= orders.len() {
            return (user, orders);
        }
        // The index of a real table is eventually consistent.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("incomplete list, expected {orders:#?}");
}

pub(crate) async fn list_contains_own_orders_once_in_both_directions(store: &impl OrderStore) {
    buyer_with_orders(store, &[1, 2]).await;
    let (user, oldest_first) = buyer_with_orders(store, &[1, 2, 3, 4, 5, 6]).await;
    let newest_first: Vec<_> = oldest_first.iter().rev().cloned().collect();
    for (direction, expected) in
        [(Direction::OldestFirst, oldest_first), (Direction::NewestFirst, newest_first)]
    {
        for (size, sizes) in [(1, vec![1; 6]), (4, vec![4, 2]), (6, vec![6]), (100, vec![6])] {
            let query = ListQuery { direction, ..list_of(&user, size) };
            let pages = pages(store, query).await;
            assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
            assert_eq!(pages.concat(), expected);
        }
    }
}

pub(crate) async fn list_contains_orders_of_the_same_millisecond(store: &impl OrderStore) {
    let (user, mut expected) = buyer_with_orders(store, &[7; 5]).await;
    expected.sort_by_key(|order| order.id);
    for direction in [Direction::OldestFirst, Direction::NewestFirst] {
        let query = ListQuery { direction, ..list_of(&user, 2) };
        let mut listed = pages(store, query).await.concat();
        listed.sort_by_key(|order| order.id);
        assert_eq!(listed, expected);
    }
}

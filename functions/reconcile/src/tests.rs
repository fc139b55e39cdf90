use orders_domain::{Command, Lock, Order, OrderId, OrderStore, Sale, Status, TicketReplica};
use orders_testing::{MemoryStore, after, at, commit, order, order_id, pay, place, ticket};

use super::*;

/// Second from which on the hold of [`order`] counts as forgotten.
const FORGOTTEN: u64 = 30 + 15 * 60;

fn later() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

async fn run(store: &MemoryStore, seconds: u64) -> Report {
    reconcile(store, Request::default(), at(seconds), later()).await
}

fn finished() -> Report {
    Report { finished: true, ..Report::default() }
}

async fn lock(store: &MemoryStore) -> Lock {
    store.find_ticket(&ticket("ticket-1", 0).id).await.unwrap().unwrap().lock
}

/// A store with a lapsed lock of `named`, whose order is `stored`.
fn inconsistent(named: OrderId, stored: Option<Order>) -> MemoryStore {
    let sale = Sale::Open(ticket("ticket-1", 0));
    let lock = Lock::Held { by: named, until: at(30) };
    MemoryStore::holding([TicketReplica { sale, lock, locked_for: None }], stored)
}

#[tokio::test]
async fn forgotten_hold_expires_once() {
    let store = MemoryStore::default();
    place(&store, &order(1)).await;
    assert_eq!(run(&store, FORGOTTEN).await, Report { expired: 1, ..finished() });
    assert_eq!(lock(&store).await, Lock::Free);
    let expired = store.find(order_id(1)).await.unwrap().unwrap();
    assert_eq!((expired.status, expired.version.number()), (Status::Expired, 1));
    assert_eq!(run(&store, FORGOTTEN).await, finished());
}

#[tokio::test]
async fn hold_is_left_to_its_timer_at_first() {
    let store = MemoryStore::default();
    place(&store, &order(1)).await;
    assert_eq!(run(&store, FORGOTTEN - 1).await, finished());
    assert_eq!(lock(&store).await, order(1).lock());
}

#[tokio::test]
async fn operator_does_not_wait_for_timers() {
    let requests = ["{}", r#"{"lapsedSeconds":60}"#, r#"{"lapsedSeconds":0}"#];
    let graces = requests.map(|request| serde_json::from_str::<Request>(request).unwrap().grace());
    assert_eq!(graces, [GRACE, Duration::from_mins(1), Duration::ZERO]);

    let store = MemoryStore::default();
    place(&store, &order(1)).await;
    let request = Request { lapsed_seconds: Some(0) };
    assert_eq!(reconcile(&store, request, at(29), later()).await, finished());
    assert_eq!(reconcile(&store, request, at(30), later()).await.expired, 1);
}

#[tokio::test]
async fn permanent_lock_is_never_touched() {
    let store = MemoryStore::default();
    place(&store, &order(1)).await;
    commit(&store, &order(1), &pay("p1", &order(1), 10)).await;
    assert_eq!(run(&store, 1_000_000).await, finished());
    assert_eq!(lock(&store).await, Lock::Sold { to: order_id(1) });
}

#[tokio::test]
async fn lapsed_lock_of_a_missing_order_is_released() {
    let store = inconsistent(order_id(1), None);
    assert_eq!(run(&store, FORGOTTEN).await, Report { released: 1, ..finished() });
    assert_eq!(lock(&store).await, Lock::Free);
}

#[tokio::test]
async fn lapsed_lock_of_an_ended_order_is_released() {
    for command in [Command::Cancel, Command::Expire { now: at(30) }] {
        let ended = after(&order(1), &command);
        let store = inconsistent(order_id(1), Some(ended.clone()));
        assert_eq!(run(&store, FORGOTTEN).await, Report { released: 1, ..finished() });
        assert_eq!(lock(&store).await, Lock::Free);
        assert_eq!(store.find(order_id(1)).await.unwrap(), Some(ended));
    }
}

#[tokio::test]
async fn lapsed_lock_of_an_order_for_another_ticket_is_released() {
    let mut other = order(1);
    other.ticket = ticket("ticket-2", 0);
    let store = inconsistent(order_id(1), Some(other.clone()));
    assert_eq!(run(&store, FORGOTTEN).await, Report { released: 1, ..finished() });
    assert_eq!(lock(&store).await, Lock::Free);
    assert_eq!(store.find(order_id(1)).await.unwrap(), Some(other));
}

#[tokio::test]
async fn lapsed_lock_of_a_paid_order_becomes_permanent() {
    let paid = after(&order(1), &pay("p1", &order(1), 10));
    let store = inconsistent(order_id(1), Some(paid));
    assert_eq!(run(&store, FORGOTTEN).await, Report { made_permanent: 1, ..finished() });
    assert_eq!(lock(&store).await, Lock::Sold { to: order_id(1) });
}

#[tokio::test]
async fn lapsed_lock_of_an_order_that_is_not_due_stays() {
    let mut extended = order(1);
    extended.expires_at = at(FORGOTTEN + 1);
    let store = inconsistent(order_id(1), Some(extended.clone()));
    assert_eq!(run(&store, FORGOTTEN).await, finished());
    assert_eq!(lock(&store).await, Lock::Held { by: order_id(1), until: at(30) });
    assert_eq!(store.find(order_id(1)).await.unwrap(), Some(extended));
}

#[tokio::test]
async fn every_page_of_the_scan_is_repaired() {
    let store = MemoryStore::default();
    for byte in 1..=25 {
        let mut order = order(byte);
        order.ticket = ticket(&format!("ticket-{byte}"), 0);
        place(&store, &order).await;
    }
    assert_eq!(run(&store, FORGOTTEN).await, Report { expired: 25, ..finished() });
}

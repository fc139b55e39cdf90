//! What every store must do. Ids are random, so that tests share tables.

use std::time::Duration;

use orders_domain::{
    Command, CommitOutcome, Decision, Direction, ListQuery, Lock, NewOrder, Order, OrderId,
    OrderStore, OrderVersion, PageSize, PaymentId, PlaceOutcome, Placement, Price, RefundReason,
    Status, StoreError, Ticket, TicketId, TicketOutcome, TicketReplica, TicketRule, TicketVersion,
    Transition, UserId, Verdict, decide,
};
use orders_testing::{at, new_order};
use uuid::Uuid;

fn new_order_id() -> OrderId {
    OrderId::from_bytes(Uuid::new_v4().into_bytes())
}

fn new_user() -> UserId {
    format!("user-{}", Uuid::new_v4()).parse().unwrap()
}

pub(crate) fn ticket(id: &TicketId, version: u64) -> Ticket {
    Ticket {
        id: id.clone(),
        title: format!("Version {version}").parse().unwrap(),
        price: Price::from_minor(1_000 + version).unwrap(),
        version: TicketVersion::new(version),
    }
}

fn new_ticket_id() -> TicketId {
    format!("ticket-{}", Uuid::new_v4()).parse().unwrap()
}

/// A free ticket at version 3, in the store.
pub(crate) async fn free_ticket(store: &impl OrderStore) -> Ticket {
    let ticket = ticket(&new_ticket_id(), 3);
    let outcome = store.apply_ticket(&ticket, TicketRule::FirstOrNext).await.unwrap();
    assert_eq!(outcome, TicketOutcome::Applied { replaced: None });
    ticket
}

/// An order placed at this second, not yet in the store.
pub(crate) fn order_at(ticket: &Ticket, seconds: u64) -> Order {
    let request = NewOrder { user_id: new_user(), ..new_order(new_order_id(), at(seconds)) };
    Order::new(request, ticket.clone())
}

pub(crate) fn order_for(ticket: &Ticket) -> Order {
    order_at(ticket, 0)
}

/// An order that has a ticket, in the store.
async fn placed_order(store: &impl OrderStore) -> Order {
    let order = order_for(&free_ticket(store).await);
    assert_eq!(place(store, &order).await, PlaceOutcome::Placed);
    order
}

async fn place(store: &impl OrderStore, order: &Order) -> PlaceOutcome {
    store.place(&placement(order)).await.unwrap()
}

pub(crate) fn placement(order: &Order) -> Placement {
    Placement { order: order.clone(), takeover: None }
}

#[track_caller]
fn decided(order: &Order, command: &Command) -> Transition {
    let Decision::Apply(transition) = decide(order, command) else {
        panic!("{command:?} changes nothing")
    };
    transition
}

fn expired(order: &Order) -> Transition {
    decided(order, &Command::Expire { now: order.expires_at })
}

fn paid(order: &Order, payment: &str, ticket_is_free: bool) -> Transition {
    decided(order, &Command::Pay { payment_id: payment_id(payment), ticket_is_free })
}

fn payment_id(text: &str) -> PaymentId {
    text.parse().unwrap()
}

async fn commit(store: &impl OrderStore, transition: &Transition) -> Order {
    assert_eq!(store.commit(transition).await.unwrap(), CommitOutcome::Committed);
    let stored = stored(store, transition.order()).await;
    assert_eq!(&stored, transition.order());
    stored
}

async fn stored(store: &impl OrderStore, order: &Order) -> Order {
    store.find(order.id).await.unwrap().unwrap()
}

async fn replica(store: &impl OrderStore, id: &TicketId) -> TicketReplica {
    store.find_ticket(id).await.unwrap().unwrap()
}

async fn lock_of(store: &impl OrderStore, order: &Order) -> Lock {
    replica(store, &order.ticket.id).await.lock
}

fn held_by(order: &Order) -> Lock {
    Lock::Held { by: order.id, until: order.expires_at }
}

pub(crate) async fn what_was_never_written_is_not_there(store: &impl OrderStore) {
    assert_eq!(store.find_ticket(&new_ticket_id()).await.unwrap(), None);
    assert_eq!(store.find(new_order_id()).await.unwrap(), None);
    let page = store.list(&list_of(&new_user(), 10)).await.unwrap();
    assert_eq!((page.orders, page.next), (Vec::new(), None));
}

pub(crate) async fn a_ticket_is_written_where_the_version_rule_allows_and_nowhere_else(
    store: &impl OrderStore,
) {
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

pub(crate) async fn a_ticket_event_never_touches_the_lock(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let newer = ticket(&order.ticket.id, 4);
    store.apply_ticket(&newer, TicketRule::Next).await.unwrap();
    let expected = TicketReplica { ticket: newer, lock: held_by(&order) };
    assert_eq!(replica(store, &order.ticket.id).await, expected);

    commit(store, &paid(&order, "p1", false)).await;
    store.apply_ticket(&ticket(&order.ticket.id, 9), TicketRule::AnyNewer).await.unwrap();
    assert_eq!(lock_of(store, &order).await, Lock::Sold { to: order.id });
    assert_eq!(stored(store, &order).await.ticket, order.ticket, "an order keeps its price");
}

pub(crate) async fn a_placed_order_is_there_whole_and_has_its_ticket(store: &impl OrderStore) {
    let order = placed_order(store).await;
    assert_eq!(stored(store, &order).await, order);
    assert_eq!(lock_of(store, &order).await, held_by(&order));
}

pub(crate) async fn an_order_id_is_used_once(store: &impl OrderStore) {
    let order = placed_order(store).await;
    assert_eq!(place(store, &order).await, PlaceOutcome::AlreadyPlaced(order.clone()));

    let elsewhere = Order { id: order.id, ..order_for(&free_ticket(store).await) };
    assert_eq!(place(store, &elsewhere).await, PlaceOutcome::AlreadyPlaced(order.clone()));
    assert_eq!(lock_of(store, &elsewhere).await, Lock::Free);

    let cancelled = commit(store, &decided(&order, &Command::Cancel)).await;
    assert_eq!(place(store, &order).await, PlaceOutcome::AlreadyPlaced(cancelled));
    assert_eq!(lock_of(store, &order).await, Lock::Free);
}

pub(crate) async fn an_order_for_a_ticket_that_has_moved_is_not_placed(store: &impl OrderStore) {
    let free = free_ticket(store).await;
    store.apply_ticket(&ticket(&free.id, 4), TicketRule::Next).await.unwrap();
    let held = placed_order(store).await.ticket;
    let sold = placed_order(store).await;
    commit(store, &paid(&sold, "p1", false)).await;
    let unknown = ticket(&new_ticket_id(), 0);
    for ticket in [free, held, sold.ticket, unknown] {
        let before = store.find_ticket(&ticket.id).await.unwrap();
        let order = order_for(&ticket);
        assert_eq!(place(store, &order).await, PlaceOutcome::Conflict);
        assert_eq!(store.find(order.id).await.unwrap(), None);
        assert_eq!(store.find_ticket(&ticket.id).await.unwrap(), before);
    }
}

pub(crate) async fn a_takeover_expires_the_lapsed_order_in_the_same_step(store: &impl OrderStore) {
    let lapsed = placed_order(store).await;
    let order = order_at(&lapsed.ticket, 30);
    let takeover = Placement { order: order.clone(), takeover: Some(expired(&lapsed)) };
    assert_eq!(store.place(&takeover).await.unwrap(), PlaceOutcome::Placed);
    assert_eq!(lock_of(store, &order).await, held_by(&order));
    assert_eq!(stored(store, &order).await, order);
    let lapsed = stored(store, &lapsed).await;
    assert_eq!((lapsed.status, lapsed.version), (Status::Expired, OrderVersion::new(1)));
}

pub(crate) async fn a_takeover_of_an_order_that_has_moved_is_not_placed(store: &impl OrderStore) {
    for command in [
        Command::Cancel,
        Command::Expire { now: at(30) },
        Command::Pay { payment_id: payment_id("p1"), ticket_is_free: false },
    ] {
        let lapsed = placed_order(store).await;
        let takeover = Some(expired(&lapsed));
        let moved = commit(store, &decided(&lapsed, &command)).await;
        let lock = lock_of(store, &lapsed).await;
        let order = order_at(&lapsed.ticket, 30);
        let placement = Placement { order: order.clone(), takeover };
        assert_eq!(store.place(&placement).await.unwrap(), PlaceOutcome::Conflict);
        assert_eq!(store.find(order.id).await.unwrap(), None);
        assert_eq!(stored(store, &lapsed).await, moved);
        assert_eq!(lock_of(store, &lapsed).await, lock);
    }
}

pub(crate) async fn a_hold_that_has_not_lapsed_is_not_taken_over(store: &impl OrderStore) {
    let held = placed_order(store).await;
    let early = order_at(&held.ticket, 29);
    let placement = Placement { order: early.clone(), takeover: Some(expired(&held)) };
    assert_eq!(store.place(&placement).await.unwrap(), PlaceOutcome::Conflict);
    assert_eq!(stored(store, &held).await, held);
    assert_eq!(lock_of(store, &held).await, held_by(&held));
}

pub(crate) async fn an_order_that_lets_its_ticket_go_frees_it(store: &impl OrderStore) {
    for command in [Command::Cancel, Command::Expire { now: at(30) }] {
        let order = placed_order(store).await;
        commit(store, &decided(&order, &command)).await;
        assert_eq!(lock_of(store, &order).await, Lock::Free);
        assert_eq!(place(store, &order_for(&order.ticket)).await, PlaceOutcome::Placed);
    }
}

pub(crate) async fn a_paid_order_has_its_ticket_for_good(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let order = commit(store, &paid(&order, "p1", false)).await;
    assert_eq!(order.status, Status::Paid { payment_id: payment_id("p1") });
    assert_eq!(lock_of(store, &order).await, Lock::Sold { to: order.id });
}

pub(crate) async fn a_late_payment_takes_a_free_ticket_again_and_no_other(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let late = commit(store, &expired(&order)).await;
    commit(store, &paid(&late, "p1", true)).await;
    assert_eq!(lock_of(store, &order).await, Lock::Sold { to: order.id });

    let order = placed_order(store).await;
    let late = commit(store, &expired(&order)).await;
    let other = order_for(&order.ticket);
    assert_eq!(place(store, &other).await, PlaceOutcome::Placed);
    let outcome = store.commit(&paid(&late, "p1", true)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Conflict);
    assert_eq!(stored(store, &late).await, late);
    assert_eq!(lock_of(store, &order).await, held_by(&other));
}

pub(crate) async fn a_refund_due_is_kept_with_the_order_and_changes_no_lock(
    store: &impl OrderStore,
) {
    let order = placed_order(store).await;
    let order = commit(store, &paid(&order, "p1", false)).await;
    let order = commit(store, &paid(&order, "p2", false)).await;
    let order = commit(store, &paid(&order, "p3", false)).await;
    let reasons: Vec<_> = order.refunds_due.iter().map(|refund| refund.reason).collect();
    assert_eq!(reasons, [RefundReason::AlreadyPaid; 2]);
    assert_eq!(lock_of(store, &order).await, Lock::Sold { to: order.id });
}

pub(crate) async fn a_stale_change_writes_nothing_and_touches_no_lock(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let stale = [decided(&order, &Command::Cancel), expired(&order), paid(&order, "p1", false)];
    let cancelled = commit(store, &decided(&order, &Command::Cancel)).await;
    let other = order_for(&order.ticket);
    assert_eq!(place(store, &other).await, PlaceOutcome::Placed);
    for change in stale {
        assert_eq!(store.commit(&change).await.unwrap(), CommitOutcome::Conflict);
        assert_eq!(stored(store, &order).await, cancelled);
        assert_eq!(lock_of(store, &order).await, held_by(&other));
    }
    let never_placed = order_for(&order.ticket);
    let change = decided(&never_placed, &Command::Cancel);
    assert_eq!(store.commit(&change).await.unwrap(), CommitOutcome::Conflict);
    assert_eq!(store.find(never_placed.id).await.unwrap(), None);
    assert_eq!(lock_of(store, &order).await, held_by(&other));
}

fn list_of(user: &UserId, size: u8) -> ListQuery {
    ListQuery {
        user_id: user.clone(),
        size: size.try_into().unwrap(),
        direction: Direction::OldestFirst,
        after: None,
    }
}

/// All pages of a buyer's list.
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
    panic!("the list has no end: {pages:#?}");
}

/// Places orders of one buyer at these seconds and waits until a list shows them all.
async fn buyer_with_orders(store: &impl OrderStore, seconds: &[u64]) -> (UserId, Vec<Order>) {
    let user = new_user();
    let mut orders = Vec::new();
    for second in seconds {
        let ticket = free_ticket(store).await;
        let order = Order { user_id: user.clone(), ..order_at(&ticket, *second) };
        assert_eq!(place(store, &order).await, PlaceOutcome::Placed);
        orders.push(order);
    }
    let everything = list_of(&user, PageSize::MAX);
    for _ in 0..200 {
        if store.list(&everything).await.unwrap().orders.len() >= orders.len() {
            return (user, orders);
        }
        // The index of a real table follows its table after a moment.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the list never shows all of {orders:#?}");
}

pub(crate) async fn a_list_has_each_of_the_buyers_orders_once_in_either_direction(
    store: &impl OrderStore,
) {
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

pub(crate) async fn orders_placed_in_the_same_millisecond_are_all_listed(store: &impl OrderStore) {
    let (user, mut expected) = buyer_with_orders(store, &[7; 5]).await;
    expected.sort_by_key(|order| order.id);
    for direction in [Direction::OldestFirst, Direction::NewestFirst] {
        let query = ListQuery { direction, ..list_of(&user, 2) };
        let mut listed = pages(store, query).await.concat();
        listed.sort_by_key(|order| order.id);
        assert_eq!(listed, expected);
    }
}

/// Runs all of them at once and waits for their outcomes.
async fn at_once<T>(tasks: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut tasks: Vec<_> = tasks.into_iter().map(Box::pin).collect();
    let mut outcomes = Vec::new();
    std::future::poll_fn(|context| {
        tasks.retain_mut(|task| match task.as_mut().poll(context) {
            std::task::Poll::Ready(outcome) => {
                outcomes.push(outcome);
                false
            }
            std::task::Poll::Pending => true,
        });
        if tasks.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    outcomes
}

pub(crate) async fn of_many_who_want_one_ticket_at_once_one_gets_it(store: &impl OrderStore) {
    let ticket = free_ticket(store).await;
    let orders: Vec<_> = (0..20).map(|_| order_for(&ticket)).collect();
    let outcomes = at_once(orders.iter().map(|order| place(store, order))).await;
    let placed = outcomes.iter().filter(|outcome| **outcome == PlaceOutcome::Placed).count();
    let moved = outcomes.iter().filter(|outcome| **outcome == PlaceOutcome::Conflict).count();
    assert_eq!((placed, moved), (1, 19));
    let mut stored = Vec::new();
    for order in &orders {
        stored.extend(store.find(order.id).await.unwrap());
    }
    assert_eq!(stored.len(), 1);
    assert_eq!(lock_of(store, &stored[0]).await, held_by(&stored[0]));
}

pub(crate) async fn of_many_sendings_of_one_order_at_once_one_is_placed(store: &impl OrderStore) {
    let order = order_for(&free_ticket(store).await);
    let outcomes = at_once((0..20).map(|_| place(store, &order))).await;
    let placed = outcomes.iter().filter(|outcome| **outcome == PlaceOutcome::Placed).count();
    let repeat = PlaceOutcome::AlreadyPlaced(order.clone());
    let repeats = outcomes.iter().filter(|outcome| **outcome == repeat).count();
    assert_eq!((placed, repeats), (1, 19));
}

pub(crate) async fn of_a_cancel_and_a_payment_at_once_one_wins(store: &impl OrderStore) {
    for _ in 0..10 {
        let order = placed_order(store).await;
        let changes = [decided(&order, &Command::Cancel), paid(&order, "p1", false)];
        let outcomes: Result<Vec<_>, StoreError> =
            at_once(changes.iter().map(|change| store.commit(change))).await.into_iter().collect();
        let committed = outcomes.unwrap().into_iter().filter(|it| *it == CommitOutcome::Committed);
        assert_eq!(committed.count(), 1);
        let order = stored(store, &order).await;
        let lock = if order.status.is_live() { Lock::Sold { to: order.id } } else { Lock::Free };
        assert_eq!(lock_of(store, &order).await, lock);
    }
}

pub(crate) async fn ticket_versions_at_once_end_at_the_newest(store: &impl OrderStore) {
    let id = new_ticket_id();
    let mut versions: Vec<_> = (0..=20).map(|version| ticket(&id, version)).collect();
    fastrand::shuffle(&mut versions);
    let applying = versions.iter().map(|it| store.apply_ticket(it, TicketRule::AnyNewer));
    for outcome in at_once(applying).await {
        outcome.unwrap();
    }
    assert_eq!(replica(store, &id).await.ticket, ticket(&id, 20));
}

//! Requirements for every store. Ids are random, so that tests can share tables.

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

/// Stores a free ticket at version 3.
pub(crate) async fn new_ticket(store: &impl OrderStore) -> Ticket {
    let ticket = ticket(&new_ticket_id(), 3);
    let outcome = store.apply_ticket(&ticket, TicketRule::FirstOrNext).await.unwrap();
    assert_eq!(outcome, TicketOutcome::Applied { replaced: None });
    ticket
}

/// An order placed at this second, not stored yet.
pub(crate) fn order_at(ticket: &Ticket, seconds: u64) -> Order {
    let request = NewOrder { user_id: new_user(), ..new_order(new_order_id(), at(seconds)) };
    Order::new(request, ticket.clone())
}

pub(crate) fn order_for(ticket: &Ticket) -> Order {
    order_at(ticket, 0)
}

/// Places an order for a new ticket.
async fn placed_order(store: &impl OrderStore) -> Order {
    let order = order_for(&new_ticket(store).await);
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
fn transition_of(order: &Order, command: &Command) -> Transition {
    let Decision::Apply(transition) = decide(order, command) else {
        panic!("no transition for {command:?}")
    };
    transition
}

fn expiry_of(order: &Order) -> Transition {
    transition_of(order, &Command::Expire { now: order.expires_at })
}

fn payment_of(order: &Order, payment: &str, ticket_is_free: bool) -> Transition {
    transition_of(order, &Command::Pay { payment_id: payment_id(payment), ticket_is_free })
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

fn list_of(user: &UserId, size: u8) -> ListQuery {
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

/// Runs all of them at once and waits for their outcomes.
async fn join_all<T>(tasks: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
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

pub(crate) async fn concurrent_buyers_of_one_ticket_get_one_order(store: &impl OrderStore) {
    let ticket = new_ticket(store).await;
    let orders: Vec<_> = (0..20).map(|_| order_for(&ticket)).collect();
    let outcomes = join_all(orders.iter().map(|order| place(store, order))).await;
    let placed = outcomes.iter().filter(|outcome| **outcome == PlaceOutcome::Placed).count();
    let changed = outcomes.iter().filter(|outcome| **outcome == PlaceOutcome::Conflict).count();
    assert_eq!((placed, changed), (1, 19));
    let mut stored = Vec::new();
    for order in &orders {
        stored.extend(store.find(order.id).await.unwrap());
    }
    assert_eq!(stored.len(), 1);
    assert_eq!(lock_of(store, &stored[0]).await, held_by(&stored[0]));
}

pub(crate) async fn concurrent_repeats_place_one_order(store: &impl OrderStore) {
    let order = order_for(&new_ticket(store).await);
    let outcomes = join_all((0..20).map(|_| place(store, &order))).await;
    let placed = outcomes.iter().filter(|outcome| **outcome == PlaceOutcome::Placed).count();
    let repeat = PlaceOutcome::AlreadyPlaced(order.clone());
    let repeats = outcomes.iter().filter(|outcome| **outcome == repeat).count();
    assert_eq!((placed, repeats), (1, 19));
}

pub(crate) async fn concurrent_cancel_and_payment_commit_once(store: &impl OrderStore) {
    for _ in 0..10 {
        let order = placed_order(store).await;
        let changes = [transition_of(&order, &Command::Cancel), payment_of(&order, "p1", false)];
        let outcomes: Result<Vec<_>, StoreError> =
            join_all(changes.iter().map(|change| store.commit(change))).await.into_iter().collect();
        let committed = outcomes.unwrap().into_iter().filter(|it| *it == CommitOutcome::Committed);
        assert_eq!(committed.count(), 1);
        let order = stored(store, &order).await;
        let lock = if order.status.is_live() { Lock::Sold { to: order.id } } else { Lock::Free };
        assert_eq!(lock_of(store, &order).await, lock);
    }
}

pub(crate) async fn concurrent_ticket_versions_end_at_the_newest(store: &impl OrderStore) {
    let id = new_ticket_id();
    let mut versions: Vec<_> = (0..=20).map(|version| ticket(&id, version)).collect();
    fastrand::shuffle(&mut versions);
    let applying = versions.iter().map(|it| store.apply_ticket(it, TicketRule::AnyNewer));
    for outcome in join_all(applying).await {
        outcome.unwrap();
    }
    assert_eq!(replica(store, &id).await.ticket, ticket(&id, 20));
}

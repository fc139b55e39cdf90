//! Requirements for every store. Ids are random, so that tests can share tables.

mod buy_backs;
mod extensions;
mod gifts;
mod lapsed;
mod lists;
mod payments;
mod races;
mod refunds;
mod slots;
mod takeovers;
mod transactions;
mod withdrawals;

use orders_domain::{
    Availability, Command, CommitOutcome, Decision, FoundTicket, Lock, NewOrder, Order, OrderId,
    OrderStore, PlaceOutcome, Placement, Price, Sale, Slots, Takeover, Ticket, TicketId,
    TicketOutcome, TicketReplica, TicketRule, TicketState, TicketVersion, Transition, UserId,
    decide,
};
use orders_testing::{MemoryStore, at, new_order, pay, transition};
use uuid::Uuid;

pub(crate) use buy_backs::*;
pub(crate) use extensions::*;
pub(crate) use gifts::*;
pub(crate) use lapsed::*;
pub(crate) use lists::*;
pub(crate) use payments::*;
pub(crate) use races::*;
pub(crate) use refunds::*;
pub(crate) use slots::*;
pub(crate) use takeovers::*;
pub(crate) use transactions::*;
pub(crate) use withdrawals::*;

/// Writes of a restore or a manual repair, which the store itself never makes.
pub(crate) trait Repair {
    /// Sets the lock of a known ticket, without `locked_for`.
    async fn set_lock(&self, ticket: &TicketId, lock: Lock);

    /// Removes the slots of a buyer.
    async fn remove_slots(&self, user_id: &UserId);
}

impl Repair for MemoryStore {
    async fn set_lock(&self, ticket: &TicketId, lock: Lock) {
        let replica = replica(self, ticket).await;
        self.put_ticket(TicketReplica { lock, locked_for: None, ..replica });
    }

    async fn remove_slots(&self, user_id: &UserId) {
        self.put_slots(user_id.clone(), Slots::default());
    }
}

pub(crate) fn new_order_id() -> OrderId {
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
    apply(store, &Sale::Open(ticket.clone()), TicketRule::FirstOrNext, None).await;
    ticket
}

/// Applies a sale that replaces this version.
pub(crate) async fn apply(
    store: &impl OrderStore,
    sale: &Sale,
    rule: TicketRule,
    replaced: Option<u64>,
) {
    let replaced = replaced.map(TicketVersion::new);
    let outcome = store.apply_ticket(sale, rule).await.unwrap();
    assert_eq!(outcome, TicketOutcome::Applied { replaced });
}

/// Applies the next version of a ticket that [`new_ticket`] stored.
pub(crate) async fn apply_next(store: &impl OrderStore, sale: &Sale) {
    apply(store, sale, TicketRule::Next, Some(3)).await;
}

/// Sale of a ticket at this version.
pub(crate) fn sale(id: &TicketId, version: u64) -> Sale {
    Sale::Open(ticket(id, version))
}

/// Withdrawal of a ticket at this version.
pub(crate) fn withdrawal(id: &TicketId, version: u64) -> Sale {
    Sale::Withdrawn { id: id.clone(), version: TicketVersion::new(version) }
}

/// An order placed at this second, not stored yet.
pub(crate) fn order_at(ticket: &Ticket, seconds: u64) -> Order {
    let request = NewOrder { user_id: new_user(), ..new_order(new_order_id(), at(seconds)) };
    Order::new(request, ticket.clone())
}

pub(crate) fn order_for(ticket: &Ticket) -> Order {
    order_at(ticket, 0)
}

/// Places an order for a new ticket. The order is due at second 30.
pub(crate) async fn placed_order(store: &impl OrderStore) -> Order {
    let order = order_for(&new_ticket(store).await);
    assert_eq!(place(store, &order).await, PlaceOutcome::Placed);
    order
}

async fn cancelled_order(store: &impl OrderStore) -> Order {
    let order = placed_order(store).await;
    commit(store, &transition(&order, &Command::Cancel)).await
}

async fn expired_order(store: &impl OrderStore) -> Order {
    let order = placed_order(store).await;
    commit(store, &expiry_of(&order)).await
}

async fn paid_order(store: &impl OrderStore) -> Order {
    let order = placed_order(store).await;
    commit(store, &payment_of(&order)).await
}

async fn place(store: &impl OrderStore, order: &Order) -> PlaceOutcome {
    store.place(&placement(order)).await.unwrap()
}

pub(crate) fn placement(order: &Order) -> Placement {
    Placement { order: order.clone(), takeover: None }
}

fn expiry_of(order: &Order) -> Transition {
    transition(order, &Command::Expire { now: order.expires_at })
}

pub(crate) fn takeover_of(order: &Order) -> Takeover {
    Takeover::Expire(expiry_of(order).into())
}

fn new_payment_id() -> String {
    format!("payment-{}", Uuid::new_v4())
}

/// A payment in the order's first second, or the refund of a payment of an order that is not live.
fn payment_of(order: &Order) -> Transition {
    transition(order, &pay(&new_payment_id(), order, 1))
}

/// The transition of a command that finds the ticket available like this, at the order's price.
#[track_caller]
pub(crate) fn transition_on(
    order: &Order,
    command: &Command,
    availability: Availability,
) -> Transition {
    // `availability` takes the place of the lock.
    let sale = Sale::Open(order.ticket.clone());
    let replica = TicketReplica { sale, lock: Lock::Free, locked_for: None };
    let found = FoundTicket { replica, availability };
    let Decision::Apply(transition) = decide(order, command, &TicketState::Found(Box::new(found)))
    else {
        panic!("no transition for {command:?}")
    };
    transition
}

/// A payment at second 40, when the order is due.
pub(crate) fn late_payment_of(order: &Order, availability: Availability) -> Transition {
    transition_on(order, &pay(&new_payment_id(), order, 40), availability)
}

async fn commit(store: &impl OrderStore, transition: &Transition) -> Order {
    assert_eq!(store.commit(transition).await.unwrap(), CommitOutcome::Committed);
    let stored = stored(store, transition.order()).await;
    assert_eq!(&stored, transition.order());
    stored
}

/// Commits transitions that conflict. None of them changes these orders or their tickets, or books
/// a payment.
async fn assert_conflicts(store: &impl OrderStore, transitions: &[Transition], orders: &[&Order]) {
    let before = rows_of(store, orders).await;
    for transition in transitions {
        let outcome = store.commit(transition).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Conflict, "{transition:?}");
        assert_eq!(rows_of(store, orders).await, before, "{transition:?}");
        if let Some(booked) = transition.booked() {
            let found = store.find_payment(&booked.payment.id).await.unwrap();
            assert_eq!(found, None, "{transition:?}");
        }
    }
}

/// The stored orders, each with its ticket.
async fn rows_of(
    store: &impl OrderStore,
    orders: &[&Order],
) -> Vec<(Option<Order>, Option<TicketReplica>)> {
    let mut rows = Vec::new();
    for order in orders {
        let ticket = store.find_ticket(&order.ticket.id).await.unwrap();
        rows.push((store.find(order.id).await.unwrap(), ticket));
    }
    rows
}

pub(crate) async fn stored(store: &impl OrderStore, order: &Order) -> Order {
    store.find(order.id).await.unwrap().unwrap()
}

pub(crate) async fn replica(store: &impl OrderStore, id: &TicketId) -> TicketReplica {
    store.find_ticket(id).await.unwrap().unwrap()
}

pub(crate) async fn lock_of(store: &impl OrderStore, order: &Order) -> Lock {
    replica(store, &order.ticket.id).await.lock
}

/// Checks that the ticket is locked for the order and its buyer.
async fn assert_locked(store: &impl OrderStore, order: &Order, lock: Lock) {
    let replica = replica(store, &order.ticket.id).await;
    assert_eq!((replica.lock, replica.locked_for), (lock, Some(order.user_id.clone())));
}

/// Checks that the ticket is free and names no buyer.
async fn assert_free(store: &impl OrderStore, ticket: &TicketId) {
    let replica = replica(store, ticket).await;
    assert_eq!((replica.lock, replica.locked_for), (Lock::Free, None));
}

pub(crate) fn held_by(order: &Order) -> Lock {
    Lock::Held { by: order.id, until: order.expires_at }
}

pub(crate) fn sold_to(order: &Order) -> Lock {
    Lock::Sold { to: order.id }
}

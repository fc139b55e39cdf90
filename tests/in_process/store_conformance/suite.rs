//! Requirements for every store. Ids are random, so that tests can share tables.

mod lists;
mod races;
mod transactions;

use orders_domain::{
    Command, CommitOutcome, Decision, Lock, NewOrder, Order, OrderId, OrderStore, PaymentId,
    PlaceOutcome, Placement, Price, Ticket, TicketId, TicketOutcome, TicketReplica, TicketRule,
    TicketVersion, Transition, UserId, decide,
};
use orders_testing::{at, new_order};
use uuid::Uuid;

pub(crate) use lists::*;
pub(crate) use races::*;
pub(crate) use transactions::*;

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
pub(crate) fn transition_of(order: &Order, command: &Command) -> Transition {
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

use orders_domain::{
    Lock, MemoryStore, Price, Status, Ticket, TicketReplica, TicketRule, TicketVersion, UserId,
};

use super::*;

const HOLD: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_epoch_ms(seconds * 1_000).unwrap()
}

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

/// A store that knows version 0 of one ticket.
async fn store_with_a_ticket(id: &str) -> MemoryStore {
    let store = MemoryStore::default();
    put_ticket(&store, id, 0).await;
    store
}

async fn put_ticket(store: &MemoryStore, id: &str, version: u64) {
    let ticket = Ticket {
        id: id.parse().unwrap(),
        title: "Concert".parse().unwrap(),
        price: Price::from_minor(2_000 + version).unwrap(),
        version: TicketVersion::new(version),
    };
    store.apply_ticket(&ticket, TicketRule::AnyNewer).await.unwrap();
}

async fn lock(store: &MemoryStore, ticket: &str) -> Lock {
    store.find_ticket(&ticket.parse().unwrap()).await.unwrap().unwrap().lock
}

fn by_key(name: &str, key: &str, ticket: &str, seconds: u64) -> PlaceOrder {
    let id = OrderId::for_key(&user(name), &key.parse().unwrap());
    PlaceOrder { may_be_repeat: true, ..once(name, id, ticket, seconds) }
}

fn once(name: &str, id: OrderId, ticket: &str, seconds: u64) -> PlaceOrder {
    PlaceOrder {
        ticket_id: ticket.parse().unwrap(),
        may_be_repeat: false,
        order: NewOrder {
            id,
            user_id: user(name),
            now: at(seconds),
            hold: HOLD,
            correlation_id: "request-1".parse().unwrap(),
        },
    }
}

fn id(byte: u8) -> OrderId {
    OrderId::from_bytes([byte; 16])
}

#[tokio::test]
async fn a_free_ticket_is_locked_for_the_hold_at_the_price_it_has() {
    let store = store_with_a_ticket("t1").await;
    let order = place_order(&store, &once("alice", id(1), "t1", 100)).await.unwrap();
    assert_eq!(order.status, Status::AwaitingPayment);
    assert_eq!(order.expires_at, at(130));
    assert_eq!(order.ticket.price.minor(), 2_000);
    assert_eq!(lock(&store, "t1").await, Lock::Held { by: id(1), until: at(130) });
    assert_eq!(store.find(id(1)).await.unwrap(), Some(order));
}

#[tokio::test]
async fn a_held_ticket_is_refused_until_the_hold_lapses() {
    let store = store_with_a_ticket("t1").await;
    place_order(&store, &once("alice", id(1), "t1", 100)).await.unwrap();
    let refused = place_order(&store, &once("bob", id(2), "t1", 129)).await.unwrap_err();
    assert!(matches!(refused, PlaceError::Reserved { until } if until == at(130)));
    assert_eq!(store.find(id(2)).await.unwrap(), None);
}

#[tokio::test]
async fn a_lapsed_hold_is_taken_over_and_its_order_expires_with_it() {
    let store = store_with_a_ticket("t1").await;
    place_order(&store, &once("alice", id(1), "t1", 100)).await.unwrap();
    let order = place_order(&store, &once("bob", id(2), "t1", 130)).await.unwrap();
    assert_eq!(lock(&store, "t1").await, Lock::Held { by: order.id, until: at(160) });
    let lapsed = store.find(id(1)).await.unwrap().unwrap();
    assert_eq!((lapsed.status, lapsed.version.number()), (Status::Expired, 1));
}

#[tokio::test]
async fn a_ticket_nobody_knows_cannot_be_ordered() {
    let store = MemoryStore::default();
    for request in [once("alice", id(1), "t1", 100), by_key("alice", "k", "t1", 100)] {
        let refused = place_order(&store, &request).await.unwrap_err();
        assert!(matches!(refused, PlaceError::NoSuchTicket));
    }
}

#[tokio::test]
async fn a_repeat_gets_its_order_back_whatever_has_become_of_it() {
    let store = store_with_a_ticket("t1").await;
    let request = |seconds| by_key("alice", "k", "t1", seconds);
    let order = place_order(&store, &request(100)).await.unwrap();

    // Awaiting payment, then due, and with the ticket changed meanwhile.
    assert_eq!(place_order(&store, &request(101)).await.unwrap(), order);
    put_ticket(&store, "t1", 1).await;
    assert_eq!(place_order(&store, &request(200)).await.unwrap(), order);

    // Taken over by another buyer.
    place_order(&store, &once("bob", id(2), "t1", 200)).await.unwrap();
    let repeat = place_order(&store, &request(201)).await.unwrap();
    assert_eq!((repeat.id, &repeat.status), (order.id, &Status::Expired));

    // And with the ticket free again.
    let Decision::Apply(cancelled) =
        decide(&store.find(id(2)).await.unwrap().unwrap(), &Command::Cancel)
    else {
        panic!("an order that awaits payment can be cancelled");
    };
    store.commit(&cancelled).await.unwrap();
    assert_eq!(place_order(&store, &request(202)).await.unwrap(), repeat);
    assert_eq!(lock(&store, "t1").await, Lock::Free);
}

#[tokio::test]
async fn a_key_used_for_another_ticket_is_refused_whatever_that_ticket_is() {
    let store = store_with_a_ticket("t1").await;
    place_order(&store, &by_key("alice", "k", "t1", 100)).await.unwrap();
    put_ticket(&store, "free", 0).await;
    put_ticket(&store, "held", 0).await;
    place_order(&store, &once("bob", id(2), "held", 100)).await.unwrap();
    for ticket in ["free", "held", "unknown"] {
        let refused = place_order(&store, &by_key("alice", "k", ticket, 101)).await.unwrap_err();
        assert!(matches!(refused, PlaceError::KeyReused), "{ticket}");
    }
    assert_eq!(lock(&store, "free").await, Lock::Free);
}

#[tokio::test]
async fn one_key_of_two_buyers_is_two_orders() {
    let store = store_with_a_ticket("t1").await;
    put_ticket(&store, "t2", 0).await;
    let first = place_order(&store, &by_key("alice", "k", "t1", 100)).await.unwrap();
    let second = place_order(&store, &by_key("bob", "k", "t2", 100)).await.unwrap();
    assert_ne!(first.id, second.id);
}

/// Changes the ticket behind the back of each of the first `changes` requests that have read it.
struct ConcurrentUpdateStore<'a> {
    store: &'a MemoryStore,
    changes: std::sync::atomic::AtomicU64,
}

impl OrderStore for ConcurrentUpdateStore<'_> {
    async fn find_ticket(&self, id: &TicketId) -> Result<Option<TicketReplica>, StoreError> {
        self.store.find_ticket(id).await
    }

    async fn find(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.store.find(id).await
    }

    async fn list(
        &self,
        query: &orders_domain::ListQuery,
    ) -> Result<orders_domain::Page, StoreError> {
        self.store.list(query).await
    }

    async fn place(&self, placement: &Placement) -> Result<PlaceOutcome, StoreError> {
        use std::sync::atomic::Ordering::SeqCst;
        if self.changes.load(SeqCst) > 0 {
            self.changes.fetch_sub(1, SeqCst);
            let version = placement.order.ticket.version.number() + 1;
            put_ticket(self.store, placement.order.ticket.id.as_str(), version).await;
        }
        self.store.place(placement).await
    }

    async fn commit(
        &self,
        transition: &Transition,
    ) -> Result<orders_domain::CommitOutcome, StoreError> {
        self.store.commit(transition).await
    }

    async fn apply_ticket(
        &self,
        ticket: &Ticket,
        rule: TicketRule,
    ) -> Result<orders_domain::TicketOutcome, StoreError> {
        self.store.apply_ticket(ticket, rule).await
    }
}

#[tokio::test]
async fn a_ticket_that_changes_meanwhile_is_read_again_and_sold_as_it_is_now() {
    let store = store_with_a_ticket("t1").await;
    let moving = ConcurrentUpdateStore { store: &store, changes: 2.into() };
    let order = place_order(&moving, &once("alice", id(1), "t1", 100)).await.unwrap();
    assert_eq!((order.ticket.version.number(), order.ticket.price.minor()), (2, 2_002));
}

#[tokio::test]
async fn a_ticket_that_never_stops_changing_is_given_up_on() {
    let store = store_with_a_ticket("t1").await;
    let moving = ConcurrentUpdateStore { store: &store, changes: u64::MAX.into() };
    let given_up = place_order(&moving, &once("alice", id(1), "t1", 100)).await.unwrap_err();
    assert!(matches!(given_up, PlaceError::Contended));
    assert_eq!(lock(&store, "t1").await, Lock::Free);
}

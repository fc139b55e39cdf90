use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use futures_util::future::join_all;
use orders_domain::{
    BookedPayment, Command, CommitOutcome, ListQuery, Lock, Page, PaymentId, Price, Slots, Status,
    TicketOutcome, TicketRule, Transition, UserId,
};
use orders_testing::{MemoryStore, at, commit, new_order, order_id as id, pay, ticket};
use tokio::time::Instant;

use super::*;

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
    let price = Price::from_minor(2_000 + version).unwrap();
    let sale = Sale::Open(Ticket { price, ..ticket(id, version) });
    store.apply_ticket(&sale, TicketRule::AnyNewer).await.unwrap();
}

async fn lock(store: &MemoryStore, ticket: &str) -> Lock {
    store.find_ticket(&ticket.parse().unwrap()).await.unwrap().unwrap().lock
}

fn by_key(name: &str, key: &str, ticket: &str, seconds: u64) -> CreateOrder {
    let id = OrderId::for_key(&user(name), &key.parse().unwrap());
    CreateOrder { has_key: true, ..once(name, id, ticket, seconds) }
}

fn once(name: &str, id: OrderId, ticket: &str, seconds: u64) -> CreateOrder {
    CreateOrder {
        ticket_id: ticket.parse().unwrap(),
        ticket_version: None,
        holds_per_buyer: SlotCount::try_from(10).unwrap(),
        has_key: false,
        order: NewOrder { user_id: user(name), ..new_order(id, at(seconds)) },
    }
}

/// The order of a request that places it.
async fn place(store: &impl OrderStore, request: &CreateOrder) -> Order {
    match create_order(store, request).await.unwrap() {
        Created::New(order) => order,
        Created::Existing(order) => panic!("{order:?} existed"),
    }
}

/// The order of a request that finds it.
async fn existing(store: &impl OrderStore, request: &CreateOrder) -> Order {
    match create_order(store, request).await.unwrap() {
        Created::Existing(order) => order,
        Created::New(order) => panic!("{order:?} is new"),
    }
}

#[tokio::test(start_paused = true)]
async fn free_ticket_is_locked_for_the_hold_at_its_current_price() {
    let store = store_with_a_ticket("t1").await;
    let order = place(&store, &once("alice", id(1), "t1", 100)).await;
    assert_eq!(order.status, Status::AwaitingPayment);
    assert_eq!(order.expires_at, at(130));
    assert_eq!(order.ticket.price.minor(), 2_000);
    assert_eq!(lock(&store, "t1").await, Lock::Held { by: id(1), until: at(130) });
    assert_eq!(store.find(id(1)).await.unwrap(), Some(order));
}

#[tokio::test(start_paused = true)]
async fn held_ticket_is_refused_until_the_hold_lapses() {
    let store = store_with_a_ticket("t1").await;
    place(&store, &once("alice", id(1), "t1", 100)).await;
    let refused = create_order(&store, &once("bob", id(2), "t1", 129)).await.unwrap_err();
    assert!(matches!(refused, CreateError::Reserved { until } if until == at(130)));
    assert_eq!(store.find(id(2)).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn lapsed_hold_is_taken_over_and_its_order_expires() {
    let store = store_with_a_ticket("t1").await;
    place(&store, &once("alice", id(1), "t1", 100)).await;
    let order = place(&store, &once("bob", id(2), "t1", 130)).await;
    assert_eq!(lock(&store, "t1").await, Lock::Held { by: order.id, until: at(160) });
    let lapsed = store.find(id(1)).await.unwrap().unwrap();
    assert_eq!((lapsed.status, lapsed.version.number()), (Status::Expired, 1));
}

#[tokio::test(start_paused = true)]
async fn unknown_ticket_is_refused() {
    let store = MemoryStore::default();
    for request in [once("alice", id(1), "t1", 100), by_key("alice", "k", "t1", 100)] {
        let refused = create_order(&store, &request).await.unwrap_err();
        assert!(matches!(refused, CreateError::NoSuchTicket));
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_key_returns_its_order_in_every_status() {
    let store = store_with_a_ticket("t1").await;
    let request = |seconds| by_key("alice", "k", "t1", seconds);
    let order = place(&store, &request(100)).await;

    // Awaiting payment, then due, and with the ticket changed meanwhile.
    assert_eq!(existing(&store, &request(101)).await, order);
    put_ticket(&store, "t1", 1).await;
    assert_eq!(existing(&store, &request(200)).await, order);

    // Taken over by another buyer.
    place(&store, &once("bob", id(2), "t1", 200)).await;
    let repeat = existing(&store, &request(201)).await;
    assert_eq!((repeat.id, &repeat.status), (order.id, &Status::Expired));

    // And with the ticket free again.
    commit(&store, &store.find(id(2)).await.unwrap().unwrap(), &Command::Cancel).await;
    assert_eq!(existing(&store, &request(202)).await, repeat);
    assert_eq!(lock(&store, "t1").await, Lock::Free);
}

#[tokio::test(start_paused = true)]
async fn key_of_another_ticket_is_refused() {
    let store = store_with_a_ticket("t1").await;
    place(&store, &by_key("alice", "k", "t1", 100)).await;
    put_ticket(&store, "free", 0).await;
    put_ticket(&store, "held", 0).await;
    place(&store, &once("bob", id(2), "held", 100)).await;
    for ticket in ["free", "held", "unknown"] {
        let refused = create_order(&store, &by_key("alice", "k", ticket, 101)).await.unwrap_err();
        assert!(matches!(refused, CreateError::KeyReused), "{ticket}");
    }
    assert_eq!(lock(&store, "free").await, Lock::Free);
}

#[tokio::test(start_paused = true)]
async fn key_of_two_buyers_makes_two_orders() {
    let store = store_with_a_ticket("t1").await;
    put_ticket(&store, "t2", 0).await;
    let first = place(&store, &by_key("alice", "k", "t1", 100)).await;
    let second = place(&store, &by_key("bob", "k", "t2", 100)).await;
    assert_ne!(first.id, second.id);
}

#[tokio::test(start_paused = true)]
async fn buyer_who_has_the_ticket_gets_the_order_again() {
    let store = store_with_a_ticket("t1").await;
    let order = place(&store, &once("alice", id(1), "t1", 100)).await;
    for request in [once("alice", id(2), "t1", 129), by_key("alice", "k", "t1", 129)] {
        assert_eq!(existing(&store, &request).await, order);
    }
    commit(&store, &order, &pay("p1", &order, 101)).await;
    for request in [once("alice", id(2), "t1", 500), by_key("alice", "k", "t1", 500)] {
        assert_eq!(existing(&store, &request).await.status.name(), "paid");
    }
    // The keys are still unused.
    put_ticket(&store, "t2", 0).await;
    place(&store, &by_key("alice", "k", "t2", 501)).await;
}

#[tokio::test(start_paused = true)]
async fn order_of_a_lock_without_a_buyer_is_read() {
    let store = store_with_a_ticket("t1").await;
    let order = place(&store, &once("alice", id(1), "t1", 100)).await;
    let mut replica = store.find_ticket(&order.ticket.id).await.unwrap().unwrap();
    assert_eq!(replica.locked_for, Some(user("alice")));
    // As the first edition wrote it.
    replica.locked_for = None;
    store.put_ticket(replica);
    assert_eq!(existing(&store, &once("alice", id(2), "t1", 101)).await, order);
    let refused = create_order(&store, &once("bob", id(2), "t1", 101)).await.unwrap_err();
    assert!(matches!(refused, CreateError::Reserved { .. }));
}

#[tokio::test(start_paused = true)]
async fn takeover_waits_until_half_a_second_after_the_end_of_the_hold() {
    for (seconds, longest) in [(130, CROWD), (131, Duration::ZERO), (500, Duration::ZERO)] {
        let store = store_with_a_ticket("t1").await;
        place(&store, &once("alice", id(1), "t1", 100)).await;
        let started = Instant::now();
        place(&store, &once("bob", id(2), "t1", seconds)).await;
        // The second attempt follows the pause after an attempt.
        let pause = Duration::from_millis(if longest.is_zero() { 0 } else { 25 });
        assert!(started.elapsed() <= longest + pause, "{seconds}: {:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn refused_buyers_who_return_together_send_few_transactions() {
    for seed in 0..20 {
        let store = store_with_a_ticket("t1").await;
        place(&store, &once("alice", id(1), "t1", 100)).await;
        fastrand::seed(seed);
        let latency = Duration::from_millis(20);
        let store = ConcurrentUpdateStore { latency, ..ConcurrentUpdateStore::new(&store) };
        let requests: Vec<_> = (0..1_000_u16)
            .map(|number| {
                let mut bytes = [2; 16];
                bytes[..2].copy_from_slice(&number.to_be_bytes());
                once(&format!("buyer-{number}"), OrderId::from_bytes(bytes), "t1", 130)
            })
            .collect();
        let created = join_all(requests.iter().map(|request| create_order(&store, request))).await;
        assert_eq!(created.iter().filter(|created| created.is_ok()).count(), 1);
        let placements = store.placements.load(SeqCst);
        assert!(placements <= 25, "seed {seed}: {placements} transactions");
    }
}

#[tokio::test(start_paused = true)]
async fn own_lapsed_hold_is_taken_over_like_any_other() {
    let store = store_with_a_ticket("t1").await;
    place(&store, &once("alice", id(1), "t1", 100)).await;
    let second = place(&store, &once("alice", id(2), "t1", 130)).await;
    assert_eq!(lock(&store, "t1").await, Lock::Held { by: second.id, until: at(160) });
    assert_eq!(store.find(id(1)).await.unwrap().unwrap().status, Status::Expired);
}

#[tokio::test(start_paused = true)]
async fn own_write_with_a_lost_reply_is_a_new_order() {
    let store = store_with_a_ticket("t1").await;
    for request in [once("alice", id(1), "t1", 100), by_key("alice", "k", "t1", 200)] {
        let order = place(&store, &request).await;
        assert_eq!(place(&store, &request).await, order);
        commit(&store, &order, &Command::Cancel).await;
    }
}

/// A store with a lapsed lock of order 1, which is in this state or missing.
async fn store_with_a_lapsed_lock(order: Option<Status>) -> MemoryStore {
    let store = store_with_a_ticket("t1").await;
    let placed = place(&store, &once("alice", id(1), "t1", 100)).await;
    match order {
        Some(status) => store.put_order(Order { status, ..placed }),
        None => store.remove_order(id(1)),
    }
    store
}

#[tokio::test(start_paused = true)]
async fn lapsed_lock_of_an_order_that_is_missing_or_over_is_taken_over() {
    for status in [None, Some(Status::Cancelled), Some(Status::Expired)] {
        let store = store_with_a_lapsed_lock(status.clone()).await;
        let held = create_order(&store, &once("bob", id(2), "t1", 129)).await;
        assert!(matches!(held, Err(CreateError::Reserved { .. })));
        place(&store, &once("bob", id(2), "t1", 130)).await;
        assert_eq!(lock(&store, "t1").await, Lock::Held { by: id(2), until: at(160) });
        let first = store.find(id(1)).await.unwrap();
        assert_eq!(first.map(|order| order.status), status);
    }
}

#[tokio::test(start_paused = true)]
async fn lapsed_lock_of_an_order_for_another_ticket_is_taken_over() {
    let store = store_with_a_lapsed_lock(None).await;
    put_ticket(&store, "t2", 0).await;
    let other = place(&store, &once("alice", id(1), "t2", 120)).await;
    place(&store, &once("bob", id(2), "t1", 130)).await;
    assert_eq!(store.find(id(1)).await.unwrap(), Some(other));
    assert_eq!(lock(&store, "t2").await, Lock::Held { by: id(1), until: at(150) });
}

#[tokio::test(start_paused = true)]
async fn lapsed_lock_of_a_paid_order_is_made_permanent() {
    let paid = Status::Paid { payment_id: "p1".parse().unwrap() };
    let store = store_with_a_lapsed_lock(Some(paid)).await;
    let refused = create_order(&store, &once("bob", id(2), "t1", 130)).await.unwrap_err();
    assert!(matches!(refused, CreateError::Sold));
    assert_eq!(lock(&store, "t1").await, Lock::Sold { to: id(1) });
}

#[tokio::test(start_paused = true)]
async fn lapsed_lock_of_an_order_that_is_not_due_is_reserved_until_its_end() {
    let store = store_with_a_lapsed_lock(None).await;
    store.put_order(Order::new(new_order(id(1), at(120)), ticket("t1", 0)));
    let refused = create_order(&store, &once("bob", id(2), "t1", 130)).await.unwrap_err();
    assert!(matches!(refused, CreateError::Reserved { until } if until == at(150)));
    place(&store, &once("bob", id(2), "t1", 150)).await;
}

#[tokio::test(start_paused = true)]
async fn repeated_key_whose_order_is_gone_takes_its_lapsed_lock_over() {
    let store = store_with_a_ticket("t1").await;
    let order = place(&store, &by_key("alice", "k", "t1", 100)).await;
    store.remove_order(order.id);
    let early = create_order(&store, &by_key("alice", "k", "t1", 129)).await;
    assert!(matches!(early, Err(CreateError::Contended)));
    place(&store, &by_key("alice", "k", "t1", 130)).await;
}

#[tokio::test(start_paused = true)]
async fn free_ticket_is_owned_at_once() {
    let store = MemoryStore::default();
    let free = Ticket { price: Price::from_minor(0).unwrap(), ..ticket("gift", 0) };
    store.apply_ticket(&Sale::Open(free), TicketRule::AnyNewer).await.unwrap();
    let order = place(&store, &once("alice", id(1), "gift", 100)).await;
    assert_eq!((&order.status, order.version.number()), (&Status::Free, 0));
    assert_eq!(lock(&store, "gift").await, Lock::Sold { to: id(1) });
    assert_eq!(existing(&store, &once("alice", id(2), "gift", 500)).await, order);
    let refused = create_order(&store, &once("bob", id(2), "gift", 500)).await.unwrap_err();
    assert!(matches!(refused, CreateError::Sold));
    // Given back.
    commit(&store, &order, &Command::Cancel).await;
    place(&store, &once("bob", id(2), "gift", 501)).await;
}

#[tokio::test(start_paused = true)]
async fn withdrawn_ticket_is_refused_but_its_holder_keeps_it() {
    let store = store_with_a_ticket("t1").await;
    let order = place(&store, &by_key("alice", "k", "t1", 100)).await;
    let withdrawn = Sale::Withdrawn { id: "t1".parse().unwrap(), version: TicketVersion::new(1) };
    store.apply_ticket(&withdrawn, TicketRule::AnyNewer).await.unwrap();
    for request in [by_key("alice", "k", "t1", 101), once("alice", id(2), "t1", 101)] {
        assert_eq!(existing(&store, &request).await, order);
    }
    for seconds in [101, 130] {
        let refused = create_order(&store, &once("bob", id(2), "t1", seconds)).await.unwrap_err();
        assert!(matches!(refused, CreateError::Withdrawn));
    }
    put_ticket(&store, "t1", 2).await;
    place(&store, &once("bob", id(2), "t1", 130)).await;
}

#[tokio::test(start_paused = true)]
async fn ticket_is_placed_only_at_the_version_that_the_buyer_has_seen() {
    let store = store_with_a_ticket("t1").await;
    put_ticket(&store, "t1", 3).await;
    let request = |version| CreateOrder {
        ticket_version: Some(TicketVersion::new(version)),
        ..once("alice", id(1), "t1", 100)
    };
    for (version, behind) in [(2, false), (4, true)] {
        let refused = create_order(&store, &request(version)).await.unwrap_err();
        let CreateError::TicketChanged { ticket, is_behind } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((ticket.version.number(), is_behind), (3, behind));
    }
    let order = place(&store, &request(3)).await;
    // The buyer's own order is returned whatever the version says.
    let again = CreateOrder { order: once("alice", id(2), "t1", 101).order, ..request(2) };
    assert_eq!(existing(&store, &again).await, order);
    // The version comes before the lock.
    let bob = CreateOrder { order: once("bob", id(3), "t1", 101).order, ..request(2) };
    let refused = create_order(&store, &bob).await.unwrap_err();
    assert!(matches!(refused, CreateError::TicketChanged { .. }));
}

/// Places an order of alice for a new ticket with this number.
async fn hold_one(store: &MemoryStore, number: u8, seconds: u64) -> Result<Created, CreateError> {
    let ticket = format!("limited-{number}");
    put_ticket(store, &ticket, 0).await;
    create_order(store, &once("alice", id(number), &ticket, seconds)).await
}

#[tokio::test(start_paused = true)]
async fn buyer_holds_at_most_ten_unpaid_tickets() {
    let store = MemoryStore::default();
    for number in 0..10 {
        hold_one(&store, number, 100 + u64::from(number)).await.unwrap();
    }
    let refused = hold_one(&store, 10, 110).await.unwrap_err();
    assert!(matches!(refused, CreateError::TooManyHolds { until } if until == at(130)));
    // Another buyer is not concerned.
    create_order(&store, &once("bob", id(99), "limited-10", 110)).await.unwrap();
    // The first hold ends.
    hold_one(&store, 11, 130).await.unwrap();
    assert!(hold_one(&store, 12, 130).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn paid_or_cancelled_order_frees_its_slot() {
    for command in ["cancel", "pay"] {
        let store = MemoryStore::default();
        for number in 0..10 {
            hold_one(&store, number, 100).await.unwrap();
        }
        let order = store.find(id(3)).await.unwrap().unwrap();
        let command = if command == "pay" { pay("p1", &order, 101) } else { Command::Cancel };
        commit(&store, &order, &command).await;
        hold_one(&store, 10, 101).await.unwrap();
        assert!(hold_one(&store, 11, 101).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn slot_of_a_lapsed_order_belongs_to_the_next_order() {
    let store = MemoryStore::default();
    let one = SlotCount::try_from(1).unwrap();
    put_ticket(&store, "t1", 0).await;
    put_ticket(&store, "t2", 0).await;
    put_ticket(&store, "t3", 0).await;
    let request = |number, ticket, seconds| CreateOrder {
        holds_per_buyer: one,
        ..once("alice", id(number), ticket, seconds)
    };
    let lapsed = place(&store, &request(1, "t1", 100)).await;
    place(&store, &request(2, "t2", 130)).await;
    // The late end of the first order leaves the slot of the second.
    commit(&store, &lapsed, &Command::Cancel).await;
    let refused = create_order(&store, &request(3, "t3", 131)).await.unwrap_err();
    assert!(matches!(refused, CreateError::TooManyHolds { until } if until == at(160)));
}

#[tokio::test(start_paused = true)]
async fn buyer_without_a_limit_has_no_slots() {
    let store = MemoryStore::default();
    let unlimited = SlotCount::try_from(0).unwrap();
    for number in 0..60 {
        let ticket = format!("t{number}");
        put_ticket(&store, &ticket, 0).await;
        let request =
            CreateOrder { holds_per_buyer: unlimited, ..once("alice", id(number), &ticket, 100) };
        assert_eq!(place(&store, &request).await.slot, None);
    }
    assert_eq!(store.find_slots(&user("alice")).await.unwrap(), Slots::default());
}

/// A store that updates the ticket between the read and the write of the first `changes` requests, and
/// cancels an order before its read.
struct ConcurrentUpdateStore<'a> {
    store: &'a MemoryStore,
    changes: AtomicU64,
    cancelled: Option<OrderId>,
    placements: AtomicU64,
    latency: Duration,
}

impl<'a> ConcurrentUpdateStore<'a> {
    fn new(store: &'a MemoryStore) -> Self {
        let (changes, placements) = (0.into(), 0.into());
        Self { store, changes, cancelled: None, placements, latency: Duration::ZERO }
    }
}

impl OrderStore for ConcurrentUpdateStore<'_> {
    async fn find_ticket(&self, id: &TicketId) -> Result<Option<TicketReplica>, StoreError> {
        sleep(self.latency).await;
        self.store.find_ticket(id).await
    }

    async fn find(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let order = self.store.find(id).await?;
        if let Some(live) = order.as_ref().filter(|order| order.status.is_live())
            && self.cancelled == Some(id)
        {
            commit(self.store, live, &Command::Cancel).await;
        }
        self.store.find(id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.store.list(query).await
    }

    async fn place(&self, placement: &Placement) -> Result<PlaceOutcome, StoreError> {
        self.placements.fetch_add(1, SeqCst);
        sleep(self.latency).await;
        if self.changes.load(SeqCst) > 0 {
            self.changes.fetch_sub(1, SeqCst);
            let version = placement.order.ticket.version.number() + 1;
            put_ticket(self.store, placement.order.ticket.id.as_str(), version).await;
        }
        self.store.place(placement).await
    }

    async fn find_payment(&self, id: &PaymentId) -> Result<Option<BookedPayment>, StoreError> {
        self.store.find_payment(id).await
    }

    async fn find_slots(&self, user_id: &UserId) -> Result<Slots, StoreError> {
        self.store.find_slots(user_id).await
    }

    async fn make_permanent(&self, order: &Order) -> Result<CommitOutcome, StoreError> {
        self.store.make_permanent(order).await
    }

    async fn commit(&self, transition: &Transition) -> Result<CommitOutcome, StoreError> {
        self.store.commit(transition).await
    }

    async fn apply_ticket(
        &self,
        sale: &Sale,
        rule: TicketRule,
    ) -> Result<TicketOutcome, StoreError> {
        self.store.apply_ticket(sale, rule).await
    }
}

#[tokio::test(start_paused = true)]
async fn changed_ticket_is_read_again_and_sold_at_its_new_version() {
    let store = store_with_a_ticket("t1").await;
    let changing =
        ConcurrentUpdateStore { changes: 2.into(), ..ConcurrentUpdateStore::new(&store) };
    let order = place(&changing, &once("alice", id(1), "t1", 100)).await;
    assert_eq!((order.ticket.version.number(), order.ticket.price.minor()), (2, 2_002));
}

#[tokio::test(start_paused = true)]
async fn ticket_that_keeps_changing_is_contended() {
    let store = store_with_a_ticket("t1").await;
    let changes = u64::MAX.into();
    let changing = ConcurrentUpdateStore { changes, ..ConcurrentUpdateStore::new(&store) };
    let error = create_order(&changing, &once("alice", id(1), "t1", 100)).await.unwrap_err();
    assert!(matches!(error, CreateError::Contended));
    assert_eq!(lock(&store, "t1").await, Lock::Free);
}

#[tokio::test(start_paused = true)]
async fn own_order_that_ends_after_the_read_of_its_lock_does_not_refuse_its_buyer() {
    let store = store_with_a_ticket("t1").await;
    let first = place(&store, &once("alice", id(1), "t1", 100)).await;
    let cancelled = Some(first.id);
    let changing = ConcurrentUpdateStore { cancelled, ..ConcurrentUpdateStore::new(&store) };
    let second = place(&changing, &once("alice", id(2), "t1", 101)).await;
    assert_eq!(lock(&store, "t1").await.holder(), Some(second.id));
    // Rows that disagree refuse the buyer like any other.
    let mut replica = store.find_ticket(&first.ticket.id).await.unwrap().unwrap();
    replica.lock = Lock::Sold { to: first.id };
    store.put_ticket(replica);
    let refused = create_order(&store, &once("alice", id(3), "t1", 102)).await.unwrap_err();
    assert!(matches!(refused, CreateError::Sold));
}

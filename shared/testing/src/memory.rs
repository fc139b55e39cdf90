//! The store in memory: the same transactions, under one mutex.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use orders_domain::{
    BookedPayment, CommitOutcome, Direction, LapsedHolds, LapsedPage, ListQuery, Lock, LockChange,
    Order, OrderId, OrderStore, Page, PaymentId, PlaceOutcome, Placement, Position, Sale,
    ScanPosition, Slots, StoreError, Takeover, TicketId, TicketOutcome, TicketReplica, TicketRule,
    Timestamp, Transition, UserId, Verdict,
};

/// Number of tickets that one page of a scan reads. Small, so that a test needs few tickets for two pages.
const SCAN_PAGE: usize = 2;

/// Orders, tickets, booked payments and slots in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    tickets: BTreeMap<TicketId, TicketReplica>,
    orders: BTreeMap<OrderId, Order>,
    payments: HashMap<PaymentId, BookedPayment>,
    slots: HashMap<UserId, Slots>,
}

impl MemoryStore {
    /// A store with these tickets and orders.
    pub fn holding(
        replicas: impl IntoIterator<Item = TicketReplica>,
        orders: impl IntoIterator<Item = Order>,
    ) -> Self {
        let store = Self::default();
        replicas.into_iter().for_each(|replica| store.put_ticket(replica));
        orders.into_iter().for_each(|order| store.put_order(order));
        store
    }

    /// Overwrites a ticket and its lock, as a restore or a manual repair does.
    pub fn put_ticket(&self, replica: TicketReplica) {
        self.tables().tickets.insert(replica.sale.id().clone(), replica);
    }

    /// Overwrites an order, as a restore or a manual repair does.
    pub fn put_order(&self, order: Order) {
        self.tables().orders.insert(order.id, order);
    }

    /// Overwrites a booked payment.
    pub fn put_payment(&self, booked: BookedPayment) {
        self.tables().payments.insert(booked.payment.id.clone(), booked);
    }

    /// Overwrites a buyer's slots.
    pub fn put_slots(&self, user_id: UserId, slots: Slots) {
        self.tables().slots.insert(user_id, slots);
    }

    /// Removes an order, as a restore to a time before its placing does.
    pub fn remove_order(&self, id: OrderId) {
        self.tables().orders.remove(&id);
    }

    /// Removes the orders that have been kept long enough, as DynamoDB's time to live does.
    pub fn forget(&self, kept: Duration, now: Timestamp) {
        let is_kept = |order: &Order| order.forget_at(kept).is_none_or(|time| time > now);
        self.tables().orders.retain(|_, order| is_kept(order));
    }

    /// The booked payments, in no order.
    #[must_use]
    pub fn payments(&self) -> Vec<BookedPayment> {
        self.tables().payments.values().cloned().collect()
    }

    /// A panic while the mutex is held has failed its test already; the tables are still consistent.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn has_version(&self, transition: &Transition) -> bool {
        let stored = self.orders.get(&transition.order().id).map(|stored| stored.version);
        stored == Some(transition.expected_version())
    }

    fn lock_allows(&self, transition: &Transition) -> bool {
        let order = transition.order();
        let replica = self.tickets.get(&order.ticket.id);
        let is_own = replica.is_some_and(|replica| replica.lock.holder() == Some(order.id));
        match transition.lock() {
            LockChange::Unchanged => true,
            LockChange::Release | LockChange::Sell | LockChange::Extend => is_own,
            LockChange::NotOwn => !is_own,
            LockChange::BuyBack { takeover, now } => replica.is_some_and(|replica| {
                let available = match takeover {
                    None => is_own || replica.lock == Lock::Free,
                    Some(takeover) => self.can_take_over(replica, takeover, *now),
                };
                let price = replica.sale.ticket().map(|ticket| ticket.price);
                available && price == Some(order.ticket.price)
            }),
        }
    }

    /// Whether the lock has lapsed, and the order that it names is as the takeover found it.
    fn can_take_over(&self, replica: &TicketReplica, takeover: &Takeover, now: Timestamp) -> bool {
        let Lock::Held { by, until } = replica.lock else { return false };
        let is_as_found = match takeover {
            Takeover::Expire(expiry) => self.has_version(expiry),
            Takeover::Ended(id) => self.has_ended(*id, replica.sale.id()),
        };
        by == takeover.order_id() && until <= now && is_as_found
    }

    /// Whether the order is missing, has ended or has another ticket.
    fn has_ended(&self, id: OrderId, ticket: &TicketId) -> bool {
        let order = self.orders.get(&id);
        order.is_none_or(|order| !order.status.is_live() || order.ticket.id != *ticket)
    }

    /// The order for which the payment of the transition has been booked, if it is another order.
    fn other_order_of_payment(&self, transition: &Transition) -> Option<OrderId> {
        let earlier = self.payments.get(&transition.booked()?.payment.id)?;
        let order_id = earlier.payment.order_id;
        (order_id != transition.order().id).then_some(order_id)
    }

    fn commit(&mut self, transition: &Transition) {
        let order = transition.order();
        match transition.lock() {
            LockChange::Unchanged | LockChange::NotOwn => {}
            LockChange::Release => self.set_lock(order, Lock::Free),
            LockChange::Sell => self.change_end(order, Lock::Sold { to: order.id }),
            LockChange::Extend => self.change_end(order, order.lock()),
            LockChange::BuyBack { takeover, .. } => {
                self.evict(takeover.as_ref());
                self.set_lock(order, Lock::Sold { to: order.id });
            }
        }
        if let Some(booked) = transition.booked() {
            self.payments.insert(booked.payment.id.clone(), booked.clone());
        }
        self.change_slot(transition);
        self.orders.insert(order.id, order.clone());
    }

    /// Changes the slot if it still holds the order's old end.
    fn change_slot(&mut self, transition: &Transition) {
        let Some(change) = transition.slot() else { return };
        let slots = self.slots.entry(transition.order().user_id.clone()).or_default();
        if slots.occupied_until(change.slot) != Some(change.expected) {
            return;
        }
        match change.until {
            Some(until) => slots.occupy(change.slot, until),
            None => slots.free(change.slot),
        }
    }

    /// Expires the order of a takeover. Its lock goes to another order in the same transaction.
    fn evict(&mut self, takeover: Option<&Takeover>) {
        if let Some(Takeover::Expire(expiry)) = takeover {
            self.orders.insert(expiry.order().id, expiry.order().clone());
        }
    }

    /// Changes the end of the order's lock.
    fn change_end(&mut self, order: &Order, lock: Lock) {
        if let Some(replica) = self.tickets.get_mut(&order.ticket.id) {
            replica.lock = lock;
        }
    }

    /// Sets the lock of the order's ticket.
    fn set_lock(&mut self, order: &Order, lock: Lock) {
        if let Some(replica) = self.tickets.get_mut(&order.ticket.id) {
            replica.locked_for = lock.holder().map(|_| order.user_id.clone());
            replica.lock = lock;
        }
    }
}

impl OrderStore for MemoryStore {
    async fn find_ticket(&self, id: &TicketId) -> Result<Option<TicketReplica>, StoreError> {
        Ok(self.tables().tickets.get(id).cloned())
    }

    async fn find(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        Ok(self.tables().orders.get(&id).cloned())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let position = |order: &Order| Position { created_at: order.created_at, id: order.id };
        let is_after = |order: &&Order| {
            query.after.is_none_or(|after| match query.direction {
                Direction::OldestFirst => position(order) > after,
                Direction::NewestFirst => position(order) < after,
            })
        };
        let tables = self.tables();
        let mut orders: Vec<Order> = tables
            .orders
            .values()
            .filter(|order| order.user_id == query.user_id)
            .filter(is_after)
            .cloned()
            .collect();
        orders.sort_by_key(position);
        if query.direction == Direction::NewestFirst {
            orders.reverse();
        }
        let size = usize::from(query.size.get());
        let has_more = orders.len() > size;
        orders.truncate(size);
        let next = orders.last().filter(|_| has_more).map(position);
        Ok(Page { orders, next })
    }

    async fn find_payment(&self, id: &PaymentId) -> Result<Option<BookedPayment>, StoreError> {
        Ok(self.tables().payments.get(id).cloned())
    }

    async fn find_slots(&self, user_id: &UserId) -> Result<Slots, StoreError> {
        Ok(self.tables().slots.get(user_id).cloned().unwrap_or_default())
    }

    async fn place(&self, placement: &Placement) -> Result<PlaceOutcome, StoreError> {
        let Placement { order, takeover } = placement;
        let mut tables = self.tables();
        if let Some(earlier) = tables.orders.get(&order.id) {
            return Ok(PlaceOutcome::AlreadyPlaced(earlier.clone()));
        }
        let Some(replica) = tables.tickets.get(&order.ticket.id) else {
            return Ok(PlaceOutcome::Conflict);
        };
        let lock_allows = match takeover {
            None => replica.lock == Lock::Free,
            Some(takeover) => tables.can_take_over(replica, takeover, order.created_at),
        };
        let slots = tables.slots.get(&order.user_id);
        let occupied = order.slot.and_then(|slot| slots?.occupied_until(slot));
        let slot_allows = occupied.is_none_or(|until| until <= order.created_at);
        if replica.sale.version() != order.ticket.version || !lock_allows || !slot_allows {
            return Ok(PlaceOutcome::Conflict);
        }
        tables.evict(takeover.as_ref());
        tables.set_lock(order, order.lock());
        if let Some(slot) = order.slot {
            let slots = tables.slots.entry(order.user_id.clone()).or_default();
            slots.occupy(slot, order.expires_at);
        }
        tables.orders.insert(order.id, order.clone());
        Ok(PlaceOutcome::Placed)
    }

    async fn commit(&self, transition: &Transition) -> Result<CommitOutcome, StoreError> {
        let mut tables = self.tables();
        if let Some(order_id) = tables.other_order_of_payment(transition) {
            return Ok(CommitOutcome::PaymentOfAnotherOrder(order_id));
        }
        if !(tables.has_version(transition) && tables.lock_allows(transition)) {
            return Ok(CommitOutcome::Conflict);
        }
        tables.commit(transition);
        Ok(CommitOutcome::Committed)
    }

    async fn make_permanent(&self, order: &Order) -> Result<CommitOutcome, StoreError> {
        let mut tables = self.tables();
        let stored = tables.orders.get(&order.id).map(|stored| stored.version);
        let lock = tables.tickets.get(&order.ticket.id).and_then(|replica| replica.lock.holder());
        if stored != Some(order.version) || lock != Some(order.id) {
            return Ok(CommitOutcome::Conflict);
        }
        tables.change_end(order, Lock::Sold { to: order.id });
        Ok(CommitOutcome::Committed)
    }

    async fn apply_ticket(
        &self,
        sale: &Sale,
        rule: TicketRule,
    ) -> Result<TicketOutcome, StoreError> {
        let mut tables = self.tables();
        let Some(stored) = tables.tickets.get_mut(sale.id()) else {
            return Ok(match rule.judge(None, sale.version()) {
                Verdict::Stale | Verdict::Gap => TicketOutcome::Refused { stored: None },
                Verdict::Apply => {
                    let lock = Lock::Free;
                    let replica = TicketReplica { sale: sale.clone(), lock, locked_for: None };
                    tables.tickets.insert(sale.id().clone(), replica);
                    TicketOutcome::Applied { replaced: None }
                }
            });
        };
        let replaced = stored.sale.version();
        Ok(match rule.judge(Some(replaced), sale.version()) {
            Verdict::Stale | Verdict::Gap => {
                TicketOutcome::Refused { stored: Some(stored.sale.clone()) }
            }
            Verdict::Apply => {
                stored.sale = sale.clone();
                TicketOutcome::Applied { replaced: Some(replaced) }
            }
        })
    }
}

impl LapsedHolds for MemoryStore {
    async fn find_lapsed(
        &self,
        before: Timestamp,
        after: Option<&ScanPosition>,
    ) -> Result<LapsedPage, StoreError> {
        let tables = self.tables();
        let is_after = |id: &str| after.is_none_or(|after| id > after.0.as_str());
        let mut rest = tables.tickets.iter().filter(|(id, _)| is_after(id.as_str()));
        let page: Vec<_> = rest.by_ref().take(SCAN_PAGE).collect();
        let last = page.last().map(|(id, _)| ScanPosition(id.to_string()));
        let lapsed = page.iter().filter(|(_, replica)| replica.lock.has_lapsed(before));
        Ok(LapsedPage {
            tickets: lapsed.map(|(id, _)| (*id).clone()).collect(),
            next: rest.next().and(last),
        })
    }

    async fn release(
        &self,
        ticket: &TicketId,
        ended: OrderId,
        now: Timestamp,
    ) -> Result<CommitOutcome, StoreError> {
        let mut tables = self.tables();
        let has_ended = tables.has_ended(ended, ticket);
        let replica = tables.tickets.get_mut(ticket);
        let lapsed = replica.filter(|replica| {
            has_ended && replica.lock.holder() == Some(ended) && replica.lock.has_lapsed(now)
        });
        let Some(replica) = lapsed else { return Ok(CommitOutcome::Conflict) };
        (replica.lock, replica.locked_for) = (Lock::Free, None);
        Ok(CommitOutcome::Committed)
    }
}

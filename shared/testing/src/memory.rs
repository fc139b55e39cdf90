//! The store in memory: the same transactions, under one mutex.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use orders_domain::{
    Availability, CommitOutcome, Direction, ListQuery, Lock, LockChange, Order, OrderId,
    OrderStore, Page, PlaceOutcome, Placement, Position, StoreError, Ticket, TicketId,
    TicketOutcome, TicketReplica, TicketRule, Transition, Verdict,
};

/// Orders and tickets in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    tickets: HashMap<TicketId, TicketReplica>,
    orders: BTreeMap<OrderId, Order>,
}

impl MemoryStore {
    /// A store with these tickets and orders.
    pub fn holding(
        replicas: impl IntoIterator<Item = TicketReplica>,
        orders: impl IntoIterator<Item = Order>,
    ) -> Self {
        let tickets = replicas.into_iter().map(|replica| (replica.ticket.id.clone(), replica));
        let orders = orders.into_iter().map(|order| (order.id, order));
        let tables = Tables { tickets: tickets.collect(), orders: orders.collect() };
        Self { tables: Mutex::new(tables) }
    }

    /// A panic while the mutex is held has failed its test already; the tables are still consistent.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn may_commit(&self, transition: &Transition) -> bool {
        let order = transition.order();
        let stored = self.orders.get(&order.id).map(|stored| stored.version);
        let lock = self.tickets.get(&order.ticket.id).map(|replica| replica.lock);
        let lock_allows = match transition.lock() {
            LockChange::Unchanged => true,
            LockChange::Release | LockChange::Sell => {
                matches!(lock, Some(Lock::Held { by, .. }) if by == order.id)
            }
            LockChange::Relock => lock == Some(Lock::Free),
        };
        stored == Some(transition.expected_version()) && lock_allows
    }

    fn commit(&mut self, transition: &Transition) {
        let order = transition.order();
        match transition.lock() {
            LockChange::Unchanged => {}
            LockChange::Release => self.set_lock(&order.ticket.id, Lock::Free),
            LockChange::Sell | LockChange::Relock => {
                self.set_lock(&order.ticket.id, Lock::Sold { to: order.id });
            }
        }
        self.orders.insert(order.id, order.clone());
    }

    fn set_lock(&mut self, id: &TicketId, lock: Lock) {
        if let Some(replica) = self.tickets.get_mut(id) {
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
            Some(expiry) => {
                matches!(replica.lock.availability(order.created_at), Availability::Lapsed(_))
                    && tables.may_commit(expiry)
            }
        };
        if replica.ticket.version != order.ticket.version || !lock_allows {
            return Ok(PlaceOutcome::Conflict);
        }
        if let Some(expiry) = takeover {
            tables.commit(expiry);
        }
        tables.set_lock(&order.ticket.id, Lock::Held { by: order.id, until: order.expires_at });
        tables.orders.insert(order.id, order.clone());
        Ok(PlaceOutcome::Placed)
    }

    async fn commit(&self, transition: &Transition) -> Result<CommitOutcome, StoreError> {
        let mut tables = self.tables();
        if !tables.may_commit(transition) {
            return Ok(CommitOutcome::Conflict);
        }
        tables.commit(transition);
        Ok(CommitOutcome::Committed)
    }

    async fn apply_ticket(
        &self,
        ticket: &Ticket,
        rule: TicketRule,
    ) -> Result<TicketOutcome, StoreError> {
        let mut tables = self.tables();
        let stored = tables.tickets.get(&ticket.id);
        let stored_version = stored.map(|replica| replica.ticket.version);
        let lock = stored.map_or(Lock::Free, |replica| replica.lock);
        match rule.judge(stored_version, ticket.version) {
            Verdict::Stale | Verdict::Gap => {
                return Ok(TicketOutcome::Refused { stored: stored_version });
            }
            Verdict::Apply => {}
        }
        tables.tickets.insert(ticket.id.clone(), TicketReplica { ticket: ticket.clone(), lock });
        Ok(TicketOutcome::Applied { replaced: stored_version })
    }
}

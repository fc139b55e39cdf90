//! A store whose transactions become visible piece by piece, as DynamoDB's may to two single reads.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use orders_domain::{
    CommitOutcome, ListQuery, Order, OrderId, OrderStore, Page, PlaceOutcome, Placement,
    StoreError, Ticket, TicketId, TicketOutcome, TicketReplica, TicketRule, Transition,
};
use orders_testing::MemoryStore;

/// The store in memory, seen through a haze.
#[derive(Debug, Default)]
pub struct StaleReadStore {
    /// What is really stored.
    pub inner: MemoryStore,
    /// How many reads of an order do not find it yet.
    pub unseen_orders: AtomicUsize,
    /// How many commits are refused although the order is at the expected version.
    pub refused_commits: AtomicUsize,
    /// What reads of a ticket still find, each once.
    pub old_tickets: Mutex<Vec<TicketReplica>>,
}

/// Whether there was one left to count down.
fn take(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl OrderStore for StaleReadStore {
    async fn find_ticket(&self, id: &TicketId) -> Result<Option<TicketReplica>, StoreError> {
        let old = self.old_tickets.lock().expect("no test panics with it").pop();
        if old.is_some() { Ok(old) } else { self.inner.find_ticket(id).await }
    }

    async fn find(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        if take(&self.unseen_orders) { Ok(None) } else { self.inner.find(id).await }
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }

    async fn place(&self, placement: &Placement) -> Result<PlaceOutcome, StoreError> {
        self.inner.place(placement).await
    }

    async fn commit(&self, transition: &Transition) -> Result<CommitOutcome, StoreError> {
        if take(&self.refused_commits) {
            return Ok(CommitOutcome::Conflict);
        }
        self.inner.commit(transition).await
    }

    async fn apply_ticket(
        &self,
        ticket: &Ticket,
        rule: TicketRule,
    ) -> Result<TicketOutcome, StoreError> {
        self.inner.apply_ticket(ticket, rule).await
    }
}

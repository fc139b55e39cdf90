//! A store with stale reads: a transaction can be visible to a read and not yet to another.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use orders_domain::{
    BookedPayment, CommitOutcome, ListQuery, Order, OrderId, OrderStore, Page, PaymentId,
    PlaceOutcome, Placement, Sale, Slots, StoreError, TicketId, TicketOutcome, TicketReplica,
    TicketRule, Transition, UserId,
};
use orders_testing::MemoryStore;

/// The in-memory store, with stale reads and refused commits.
#[derive(Debug, Default)]
pub struct StaleReadStore {
    /// The stored data.
    pub inner: MemoryStore,
    /// Number of order reads that return `None`.
    pub unseen_orders: AtomicUsize,
    /// Number of commits that return a conflict.
    pub refused_commits: AtomicUsize,
    /// Replicas returned by the next ticket reads, last first.
    pub old_tickets: Mutex<Vec<TicketReplica>>,
}

/// Decrements the counter. Returns `false` if the counter is 0.
fn take(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl OrderStore for StaleReadStore {
    async fn find_ticket(&self, id: &TicketId) -> Result<Option<TicketReplica>, StoreError> {
        let old = self.old_tickets.lock().expect("an unpoisoned lock").pop();
        if old.is_some() { Ok(old) } else { self.inner.find_ticket(id).await }
    }

    async fn find(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        if take(&self.unseen_orders) { Ok(None) } else { self.inner.find(id).await }
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }

    async fn find_payment(&self, id: &PaymentId) -> Result<Option<BookedPayment>, StoreError> {
        self.inner.find_payment(id).await
    }

    async fn find_slots(&self, user_id: &UserId) -> Result<Slots, StoreError> {
        self.inner.find_slots(user_id).await
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

    async fn make_permanent(&self, order: &Order) -> Result<CommitOutcome, StoreError> {
        self.inner.make_permanent(order).await
    }

    async fn apply_ticket(
        &self,
        sale: &Sale,
        rule: TicketRule,
    ) -> Result<TicketOutcome, StoreError> {
        self.inner.apply_ticket(sale, rule).await
    }
}

//! The storage port, in transactions of the domain.

use std::{error::Error, future::Future};

use crate::{
    BookedPayment, Order, OrderId, PaymentId, Sale, Slots, Takeover, TicketId, TicketReplica,
    TicketRule, TicketVersion, Timestamp, Transition, UserId,
};

/// Any error, with its chain of causes.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Storage of orders and tickets. Each method that writes is one transaction with conditions: if a
/// condition fails, nothing is written.
pub trait OrderStore: Send + Sync {
    /// The ticket with its lock, as of the last committed write.
    fn find_ticket(
        &self,
        id: &TicketId,
    ) -> impl Future<Output = Result<Option<TicketReplica>, StoreError>> + Send;

    /// The order, as of the last committed write.
    fn find(&self, id: OrderId) -> impl Future<Output = Result<Option<Order>, StoreError>> + Send;

    /// One page of a buyer's orders by `created_at`. The page may lag behind the last write.
    fn list(&self, query: &ListQuery) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// The booked payment with this id, as of the last committed write.
    fn find_payment(
        &self,
        id: &PaymentId,
    ) -> impl Future<Output = Result<Option<BookedPayment>, StoreError>> + Send;

    /// The buyer's slots, as of the last committed write.
    fn find_slots(
        &self,
        user_id: &UserId,
    ) -> impl Future<Output = Result<Slots, StoreError>> + Send;

    /// Locks the ticket for a new order. Conditions: no order has the id; the ticket has the version of
    /// the order's copy; the ticket is free, or its lapsed lock names the order taken over, and that
    /// order is as the [`Takeover`] found it; the order's slot is free.
    fn place(
        &self,
        placement: &Placement,
    ) -> impl Future<Output = Result<PlaceOutcome, StoreError>> + Send;

    /// Commits a change of an order, with its effect on the ticket's lock and the payment that it books.
    /// Conditions: the order has the expected version; the lock allows the
    /// [`LockChange`](crate::LockChange); the payment names no other order. The slot changes only if it
    /// still holds the order's old `expires_at`.
    fn commit(
        &self,
        transition: &Transition,
    ) -> impl Future<Output = Result<CommitOutcome, StoreError>> + Send;

    /// Makes the lock of a paid order permanent. Conditions: the order has this version; the lock names
    /// the order.
    fn make_permanent(
        &self,
        order: &Order,
    ) -> impl Future<Output = Result<CommitOutcome, StoreError>> + Send;

    /// Writes the sale of a ticket event if the rule allows. The lock is never changed.
    fn apply_ticket(
        &self,
        sale: &Sale,
        rule: TicketRule,
    ) -> impl Future<Output = Result<TicketOutcome, StoreError>> + Send;
}

/// The part of the storage that finds and repairs forgotten holds.
pub trait LapsedHolds: OrderStore {
    /// One page of the tickets whose lock is a hold that ended at `before` or earlier. The page may lag
    /// behind the last write.
    fn find_lapsed(
        &self,
        before: Timestamp,
        after: Option<&ScanPosition>,
    ) -> impl Future<Output = Result<LapsedPage, StoreError>> + Send;

    /// Removes the lock of an order that is missing, has ended or has another ticket. Conditions: the
    /// lock names the order and has lapsed; the order is so.
    fn release(
        &self,
        ticket: &TicketId,
        ended: OrderId,
        now: Timestamp,
    ) -> impl Future<Output = Result<CommitOutcome, StoreError>> + Send;
}

/// One page of a scan of the tickets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LapsedPage {
    /// Tickets whose hold has lapsed.
    pub tickets: Vec<TicketId>,
    /// Position after this page, if more tickets follow.
    pub next: Option<ScanPosition>,
}

/// Position in a scan of the tickets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScanPosition(pub String);

/// A new order to place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The order, with the ticket to lock at the version just read.
    pub order: Order,
    /// The order whose lapsed hold is taken over, if any.
    pub takeover: Option<Takeover>,
}

/// Outcome of a [`Placement`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceOutcome {
    /// Committed.
    Placed,
    /// An order with this id exists already. Nothing was written.
    AlreadyPlaced(Order),
    /// The ticket, its lock or the slot changed after the read, or is being changed. Nothing was written; read
    /// again before the next attempt.
    Conflict,
}

/// Outcome of a [`Transition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Committed.
    Committed,
    /// The order or the lock changed after the read. Nothing was written.
    Conflict,
    /// The payment has been booked for another order. Nothing was written.
    PaymentOfAnotherOrder(OrderId),
}

/// Outcome of an incoming ticket event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketOutcome {
    /// Written.
    Applied {
        /// Version replaced; `None` if the ticket was unknown.
        replaced: Option<TicketVersion>,
    },
    /// Refused by the rule.
    Refused {
        /// Stored sale; `None` if the ticket is unknown.
        stored: Option<Sale>,
    },
}

/// Query for one page of a buyer's orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Buyer whose orders are listed.
    pub user_id: UserId,
    /// Maximum number of orders.
    pub size: PageSize,
    /// Sort order.
    pub direction: Direction,
    /// End of the page before, if any.
    pub after: Option<Position>,
}

/// Sort order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By time of placing, ascending.
    OldestFirst,
    /// By time of placing, descending.
    NewestFirst,
}

/// Maximum number of orders on a page: 1 to [`PageSize::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u8);

/// The number is not a page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to {}", PageSize::MAX)]
pub struct PageSizeError;

impl PageSize {
    /// Largest page size.
    pub const MAX: u8 = 100;
    /// Page size without a `limit` parameter.
    pub const DEFAULT: Self = Self(20);

    /// The size as a number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for PageSize {
    type Error = PageSizeError;

    fn try_from(size: u8) -> Result<Self, PageSizeError> {
        if (1..=Self::MAX).contains(&size) { Ok(Self(size)) } else { Err(PageSizeError) }
    }
}

/// Position of an order in its buyer's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Time of placing.
    pub created_at: Timestamp,
    /// Order id, for orders placed in the same millisecond.
    pub id: OrderId,
}

/// One page of a buyer's orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Orders in the requested sort order, without the orders that this release cannot read.
    pub orders: Vec<Order>,
    /// Position of the last order, if more orders follow.
    pub next: Option<Position>,
}

/// Failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Overload, lasting conflict or timeout. A write may have been committed; the same request can be
    /// sent again safely.
    #[error("the store is not available")]
    Unavailable(#[source] BoxError),
    /// The request can never succeed: a permission, a table name or the code is wrong.
    #[error("the store rejects the request")]
    Refused(#[source] BoxError),
    /// This release cannot read a stored item: a newer release wrote it, or it was damaged. The request
    /// changes nothing and may succeed after a deployment or a repair.
    #[error("a stored item cannot be read")]
    Unreadable(#[source] BoxError),
}

impl StoreError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Unreadable(_) => true,
            Self::Refused(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_size_is_1_to_100() {
        for size in [1, 20, 100] {
            assert_eq!(PageSize::try_from(size).map(PageSize::get), Ok(size));
        }
        for size in [0, 101, u8::MAX] {
            assert_eq!(PageSize::try_from(size), Err(PageSizeError));
        }
    }

    #[test]
    fn refused_request_is_not_retryable() {
        assert!(StoreError::Unavailable("busy".into()).retryable());
        assert!(StoreError::Unreadable("no such status".into()).retryable());
        assert!(!StoreError::Refused("no such table".into()).retryable());
    }
}

//! The one port: storage, in transactions of the domain.

use std::{error::Error, future::Future};

use crate::{
    Order, OrderId, Ticket, TicketId, TicketReplica, TicketRule, TicketVersion, Timestamp,
    Transition, UserId,
};

/// Any error, with its chain of causes.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Where orders and tickets are kept. Every method that writes is one transaction: it happens whole
/// or not at all, and not at all unless its conditions hold.
pub trait OrderStore: Send + Sync {
    /// The ticket with its lock, as of the last committed write.
    fn find_ticket(
        &self,
        id: &TicketId,
    ) -> impl Future<Output = Result<Option<TicketReplica>, StoreError>> + Send;

    /// The order, as of the last committed write.
    fn find(&self, id: OrderId) -> impl Future<Output = Result<Option<Order>, StoreError>> + Send;

    /// One page of a buyer's orders by `created_at`. It may lag behind the last write by a moment.
    fn list(&self, query: &ListQuery) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Locks the ticket for a new order. Needs: no order has the id; the ticket is at the version
    /// the order shows; its lock is free, or names the order taken over, whose version is the
    /// expected one.
    fn place(
        &self,
        placement: &Placement,
    ) -> impl Future<Output = Result<PlaceOutcome, StoreError>> + Send;

    /// Commits a change of an order and of its ticket's lock. Needs: the order is at the expected
    /// version; the lock names it, or is free where it is to be locked again.
    fn commit(
        &self,
        transition: &Transition,
    ) -> impl Future<Output = Result<CommitOutcome, StoreError>> + Send;

    /// Writes what the ticket service said, where the rule allows. Never touches the lock.
    fn apply_ticket(
        &self,
        ticket: &Ticket,
        rule: TicketRule,
    ) -> impl Future<Output = Result<TicketOutcome, StoreError>> + Send;
}

/// A new order to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The order; its ticket is the one to lock, at the version that was read.
    pub order: Order,
    /// The expiry of the order whose lapsed hold is taken over, if there is one.
    pub takeover: Option<Transition>,
}

/// What became of a [`Placement`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceOutcome {
    /// It is committed.
    Placed,
    /// An order with this id exists: this one. Nothing was written now.
    AlreadyPlaced(Order),
    /// The ticket or its lock is no longer as it was read. Nothing was written.
    Conflict,
}

/// What became of a [`Transition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is committed.
    Committed,
    /// The order or the lock is no longer as it was read. Nothing was written.
    Conflict,
}

/// What became of an incoming ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketOutcome {
    /// It is written.
    Applied {
        /// The version that it replaced (none: the ticket was unknown).
        replaced: Option<TicketVersion>,
    },
    /// The rule does not let it replace the stored version (none: the ticket is unknown).
    Refused {
        /// The stored version.
        stored: Option<TicketVersion>,
    },
}

/// Asks for one page of a buyer's orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Whose orders.
    pub user_id: UserId,
    /// How many at most.
    pub size: PageSize,
    /// Which come first.
    pub direction: Direction,
    /// Where the page before ended.
    pub after: Option<Position>,
}

/// Which orders come first in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The first that was placed.
    OldestFirst,
    /// The last that was placed.
    NewestFirst,
}

/// How many orders a page may have: 1 to [`PageSize::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u8);

/// A page of no orders, or of too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to {}", PageSize::MAX)]
pub struct PageSizeError;

impl PageSize {
    /// The most orders on a page.
    pub const MAX: u8 = 100;
    /// How many orders a page has if nobody says.
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

/// A place in one buyer's list: that of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// When the order was placed.
    pub created_at: Timestamp,
    /// Which order, among those placed in the same millisecond.
    pub id: OrderId,
}

/// One page of a buyer's orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The orders.
    pub orders: Vec<Order>,
    /// Where the next page starts, if there are more orders.
    pub next: Option<Position>,
}

/// Why the store could not say what became of a request.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is overloaded, in conflict for too long, or did not answer in time. A write may have
    /// happened; sending the same request again is safe.
    #[error("the store is not available")]
    Unavailable(#[source] BoxError),
    /// It will not do this however often it is asked: a permission, a name or the code is wrong.
    #[error("the store refuses the request")]
    Refused(#[source] BoxError),
    /// What it holds is not an order or a ticket.
    #[error("the store holds what it should not")]
    Corrupt(#[source] BoxError),
}

impl StoreError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Refused(_) | Self::Corrupt(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_one_to_a_hundred_orders() {
        for size in [1, 20, 100] {
            assert_eq!(PageSize::try_from(size).map(PageSize::get), Ok(size));
        }
        for size in [0, 101, u8::MAX] {
            assert_eq!(PageSize::try_from(size), Err(PageSizeError));
        }
    }

    #[test]
    fn only_what_passes_is_worth_another_try() {
        assert!(StoreError::Unavailable("busy".into()).retryable());
        assert!(!StoreError::Refused("no such table".into()).retryable());
        assert!(!StoreError::Corrupt("no such status".into()).retryable());
    }
}

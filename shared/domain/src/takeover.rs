//! Availability of a ticket to one order, and the takeover of a lapsed hold.

use crate::{
    Command, Decision, Lock, Order, OrderId, Status, TicketId, TicketReplica, TicketState,
    Timestamp, Transition, decide,
};

/// Availability of a ticket to one order, at one moment. `Lapsed` describes a hold that has lapsed: the
/// order that the lock names, or the takeover from it once this order has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability<Lapsed = Takeover> {
    /// The lock names the order itself.
    Own,
    /// The lock names no order.
    Free,
    /// The hold of another order has lapsed: the ticket can be taken over.
    Lapsed(Lapsed),
    /// Another order holds the ticket.
    Reserved {
        /// End of the hold.
        until: Timestamp,
    },
    /// Another order has bought the ticket.
    Sold,
}

/// A ticket as one order finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTicket {
    /// The ticket with its lock.
    pub replica: TicketReplica,
    /// Availability of the ticket to the order.
    pub availability: Availability,
}

/// Treatment of the order that a lapsed lock names, in the transaction that takes the ticket over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// The order is due: it expires.
    Expire(Box<Transition>),
    /// The order is missing, has ended or has another ticket: the transaction checks this.
    Ended(OrderId),
}

impl Lock {
    /// Whether the lock is a hold whose end has passed.
    #[must_use]
    pub fn has_lapsed(self, now: Timestamp) -> bool {
        matches!(self, Self::Held { until, .. } if until <= now)
    }

    /// Availability of the ticket to this order. A hold has lapsed from `until` on.
    #[must_use]
    pub fn availability(self, order: OrderId, now: Timestamp) -> Availability<OrderId> {
        match self {
            Self::Free => Availability::Free,
            Self::Held { by, .. } | Self::Sold { to: by } if by == order => Availability::Own,
            Self::Held { by, until } if until <= now => Availability::Lapsed(by),
            Self::Held { until, .. } => Availability::Reserved { until },
            Self::Sold { .. } => Availability::Sold,
        }
    }
}

impl Takeover {
    /// Availability of a ticket whose lapsed lock names `id`. `named` is the stored order with this id.
    ///
    /// Order and lock agree unless a table was restored or repaired by hand. If they do not, the order
    /// decides: a paid order keeps its ticket, and an order that is not due keeps its hold.
    #[must_use]
    pub fn availability(
        ticket: &TicketId,
        id: OrderId,
        named: Option<&Order>,
        now: Timestamp,
    ) -> Availability {
        let Some(order) = named.filter(|order| order.ticket.id == *ticket) else {
            return Availability::Lapsed(Self::Ended(id));
        };
        match order.status {
            Status::Paid { .. } | Status::Free => Availability::Sold,
            Status::Cancelled | Status::Expired | Status::Refunded { .. } => {
                Availability::Lapsed(Self::Ended(id))
            }
            Status::AwaitingPayment => {
                match decide(order, &Command::Expire { now }, &TicketState::Unread) {
                    Decision::Apply(expiry) => Availability::Lapsed(Self::Expire(expiry.into())),
                    Decision::ApplyFirst(_)
                    | Decision::AlreadyDone
                    | Decision::Refuse(_)
                    | Decision::ReadTicket => Availability::Reserved { until: order.expires_at },
                }
            }
        }
    }

    /// The order that the lapsed lock names.
    #[must_use]
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Expire(expiry) => expiry.order().id,
            Self::Ended(id) => *id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_epoch_ms(ms).unwrap()
    }

    #[test]
    fn hold_lapses_at_its_end_and_a_sale_never() {
        let (own, other) = (OrderId::from_bytes([1; 16]), OrderId::from_bytes([2; 16]));
        let held = Lock::Held { by: other, until: at(100) };
        assert_eq!(held.availability(own, at(99)), Availability::Reserved { until: at(100) });
        assert_eq!(held.availability(own, at(100)), Availability::Lapsed(other));
        assert_eq!(Lock::Sold { to: other }.availability(own, Timestamp::MAX), Availability::Sold);
        assert_eq!(Lock::Free.availability(own, at(0)), Availability::Free);
    }

    #[test]
    fn own_lock_is_available_lapsed_or_not() {
        let own = OrderId::from_bytes([1; 16]);
        for lock in [Lock::Held { by: own, until: at(100) }, Lock::Sold { to: own }] {
            for now in [0, 100] {
                assert_eq!(lock.availability(own, at(now)), Availability::Own);
            }
        }
    }
}

//! Checks of promises 1 to 5, 7 and 8 on every write of an order.

use orders_domain::{Lock, Order, OrderId, RefundReason, Status, TicketId, TicketReplica};

use super::{Change, Promises, Write};
use crate::coverage::Observed;

impl Promises {
    /// Checks a write. `expected`: the orders written according to the outcome. `found`: the stored
    /// rows of the orders that the write can have changed.
    pub(crate) fn orders_written(
        &mut self,
        expected: &[&Order],
        found: Vec<(OrderId, Option<Order>)>,
        ticket: &TicketId,
        replica: Option<TicketReplica>,
        write: &Write,
        now_ms: u64,
    ) -> Vec<Change> {
        let lock_before = self.tickets.get(ticket).map_or(Lock::Free, |replica| replica.lock);
        let mut changes = Vec::new();
        for (id, after) in found {
            let before = self.orders.get(&id).cloned();
            if before == after {
                continue;
            }
            let Some(after) = after else {
                self.report(format!("order {id} is missing"));
                continue;
            };
            let reported = expected.iter().any(|order| **order == after);
            self.require(reported, || {
                format!("promise 6: {id} was changed by an uncommitted write")
            });
            let observed = match &before {
                None => {
                    self.placed_at_ms.insert(id, now_ms);
                    self.placed(&after, lock_before, write)
                }
                Some(before) => self.changed(before, &after, lock_before, write),
            };
            self.committed.insert((id.to_string(), after.version.number()), after.clone());
            self.orders.insert(id, after.clone());
            self.writes += 1;
            changes.push(Change { before, after, observed });
        }
        let all_stored = expected.iter().all(|order| self.orders.get(&order.id) == Some(order));
        self.require(all_stored, || "promise 6: a committed write is missing".to_owned());
        self.ticket_locked(ticket, replica);
        changes
    }

    /// Promises 1 and 2: the lock names the live order, if there is one.
    fn ticket_locked(&mut self, ticket: &TicketId, replica: Option<TicketReplica>) {
        let before = self.tickets.get(ticket).map(|replica| replica.ticket.clone());
        let now = replica.as_ref().map(|replica| replica.ticket.clone());
        self.require(before == now, || format!("an order write changed {ticket} to {now:?}"));
        let Some(replica) = replica else { return };
        let live: Vec<&Order> = self
            .orders
            .values()
            .filter(|order| order.ticket.id == *ticket && order.status.is_live())
            .collect();
        let agrees = match (replica.lock, live.as_slice()) {
            (Lock::Free, []) => true,
            (Lock::Held { by, until }, [order]) => {
                order.id == by
                    && order.expires_at == until
                    && order.status == Status::AwaitingPayment
            }
            (Lock::Sold { to }, [order]) => {
                order.id == to && matches!(order.status, Status::Paid { .. })
            }
            (Lock::Free | Lock::Held { .. } | Lock::Sold { .. }, _) => false,
        };
        let detail = format!("{ticket} is {:?} and has {} live orders", replica.lock, live.len());
        self.require(agrees, || format!("promises 1 and 2: {detail}"));
        self.tickets.insert(ticket.clone(), replica);
    }

    /// Checks a new order: promises 4 and 5, and promise 7 for a takeover.
    fn placed(&mut self, order: &Order, lock_before: Lock, write: &Write) -> Observed {
        let id = order.id;
        self.require(matches!(write, Write::Placement { .. }), || {
            format!("{id} was created by a transition")
        });
        let is_new = order.status == Status::AwaitingPayment
            && order.version.number() == 0
            && order.refunds_due.is_empty()
            && order.expires_at == order.created_at.plus(self.hold);
        self.require(is_new, || format!("{id} is not a new order: {order:?}"));
        let replica = self.tickets.get(&order.ticket.id).map(|replica| replica.ticket.clone());
        self.require(replica.as_ref() == Some(&order.ticket), || {
            format!("promise 4: {id} is for {:?}, not for {replica:?}", order.ticket)
        });
        self.check_request(order);
        match lock_before {
            Lock::Free => Observed::Placed,
            Lock::Held { until, .. } => {
                self.require(until <= order.created_at, || {
                    format!("promise 7: {id} took over an active hold")
                });
                Observed::TakenOver
            }
            Lock::Sold { .. } => {
                self.report(format!("promise 1: {id} was placed for a sold ticket"));
                Observed::TakenOver
            }
        }
    }

    fn check_request(&mut self, order: &Order) {
        let id = order.id;
        let Some(requested) = self.requested.get_mut(order.correlation_id.as_str()) else {
            return self.report(format!("{id} has no request"));
        };
        let matches = requested.buyer == order.user_id.as_str()
            && requested.ticket == order.ticket.id.as_str()
            && requested.order.replace(id).is_none();
        let key = requested.key.clone().map(|key| (requested.buyer.clone(), key));
        self.require(matches, || format!("promise 5: {id} does not match its request"));
        if let Some(key) = key {
            let earlier = self.by_key.insert(key, id);
            self.require(earlier.is_none(), || {
                format!("promise 5: one key for {id} and {earlier:?}")
            });
        }
    }

    /// Checks a changed order: promises 3, 4, 7 and 8.
    fn changed(
        &mut self,
        before: &Order,
        after: &Order,
        lock_before: Lock,
        write: &Write,
    ) -> Observed {
        let id = after.id;
        self.require(after.version.number() == before.version.number() + 1, || {
            format!("promise 3: {id} went from {:?} to {:?}", before.version, after.version)
        });
        let unchanged = Order {
            status: before.status.clone(),
            version: before.version,
            refunds_due: before.refunds_due.clone(),
            ..after.clone()
        };
        self.require(unchanged == *before, || format!("promise 4: {before:?} became {after:?}"));
        if after.refunds_due != before.refunds_due {
            return self.refund_due(before, after);
        }
        let (Write::Placement { at } | Write::Transition { at }) = write;
        let due = after.expires_at <= *at;
        match (&before.status, &after.status) {
            (Status::AwaitingPayment, Status::Cancelled) => {
                let requested = self.cancel_requests.contains(&id.to_string());
                self.require(requested, || {
                    format!("promise 12: {id} was cancelled without a request of its owner")
                });
                if due { Observed::CancelledWhenDue } else { Observed::Cancelled }
            }
            (Status::AwaitingPayment, Status::Expired) => {
                self.require(due, || format!("promise 7: {id} expired early"));
                Observed::Expired
            }
            (Status::AwaitingPayment, Status::Paid { payment_id }) => {
                self.check_payment(after, payment_id.as_str());
                if due { Observed::PaidWhenDue } else { Observed::Paid }
            }
            (Status::Expired, Status::Paid { payment_id }) => {
                self.check_payment(after, payment_id.as_str());
                self.require(lock_before == Lock::Free, || {
                    format!("promise 1: {id} was paid late with lock {lock_before:?}")
                });
                Observed::PaidLate
            }
            (from, to) => {
                let (from, to) = (from.name(), to.name());
                self.report(format!("promise 3: {id} went from {from} to {to}"));
                Observed::Cancelled
            }
        }
    }

    fn refund_due(&mut self, before: &Order, after: &Order) -> Observed {
        let id = after.id;
        let one_more = after.refunds_due.len() == before.refunds_due.len() + 1
            && after.refunds_due.starts_with(&before.refunds_due)
            && after.status == before.status;
        self.require(one_more, || format!("promise 8: {before:?} became {after:?}"));
        let Some(refund) = after.refunds_due.last() else { return Observed::RefundTicketTaken };
        let is_repeated = before.refunds_due.iter().any(|it| it.payment_id == refund.payment_id)
            || before.status == Status::Paid { payment_id: refund.payment_id.clone() };
        self.require(!is_repeated, || format!("promise 8: {} is counted twice", refund.payment_id));
        self.check_payment(after, refund.payment_id.as_str());
        let (reason, observed) = match &after.status {
            Status::Paid { .. } => (RefundReason::AlreadyPaid, Observed::RefundAlreadyPaid),
            Status::Cancelled => (RefundReason::OrderCancelled, Observed::RefundCancelled),
            Status::Expired => (RefundReason::TicketTaken, Observed::RefundTicketTaken),
            Status::AwaitingPayment => {
                self.report(format!("promise 3: {id} awaits payment with a refund due"));
                return Observed::RefundTicketTaken;
            }
        };
        self.require(refund.reason == reason, || format!("promise 8: {refund:?} of {after:?}"));
        observed
    }

    fn check_payment(&mut self, order: &Order, payment: &str) {
        let known = self.payments.get(payment).is_some_and(|id| *id == order.id.to_string());
        self.require(known, || format!("promise 8: {payment} is not a payment of {}", order.id));
    }
}

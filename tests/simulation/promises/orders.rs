//! Checks of promises 1 to 5, 7 and 8 on every write of an order.

use orders_domain::{
    Lock, Order, OrderId, PaymentId, Sale, Status, TicketId, TicketReplica, Timestamp,
};

use super::{Change, CommandTime, Promises, Write};
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
        let lock_before =
            self.tickets.get(ticket).map_or(Lock::Free, |replica| self.true_lock(replica));
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
                    self.live_since_ms.insert(id, now_ms);
                    let is_anew = self.placed_anew(id).then_some(Observed::PlacedAnew);
                    let mut observed = self.placed(&after, lock_before, write);
                    observed.extend(is_anew);
                    observed
                }
                Some(before) => self.changed(before, &after, lock_before, write, now_ms),
            };
            self.committed.insert((id.to_string(), after.version.number()), after.clone());
            self.orders.insert(id, after.clone());
            self.writes += 1;
            changes.push(Change { before, after, observed });
        }
        let all_stored = expected.iter().all(|order| self.orders.get(&order.id) == Some(order));
        self.require(all_stored, || "promise 6: a committed write is missing".to_owned());
        self.check_booking(&changes, write);
        self.ticket_locked(ticket, replica, now_ms);
        changes
    }

    /// Promises 1 and 2: the lock names the live order, if there is one.
    fn ticket_locked(&mut self, ticket: &TicketId, replica: Option<TicketReplica>, now_ms: u64) {
        let before = self.tickets.get(ticket).map(|replica| replica.sale.clone());
        let now = replica.as_ref().map(|replica| replica.sale.clone());
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
                order.id == to && matches!(order.status, Status::Paid { .. } | Status::Free)
            }
            (Lock::Free | Lock::Held { .. } | Lock::Sold { .. }, _) => false,
        };
        let is_damaged = self.damaged.get(ticket) == Some(&replica.lock);
        if !is_damaged {
            self.damaged.remove(ticket);
        }
        let agrees = agrees || is_damaged;
        let detail = format!("{ticket} is {:?} and has {} live orders", replica.lock, live.len());
        self.require(agrees, || format!("promises 1 and 2: {detail}"));
        self.set_ticket(replica, now_ms);
    }

    /// Checks a new order: promises 4 and 5, and promise 7 for a takeover.
    fn placed(&mut self, order: &Order, lock_before: Lock, write: &Write) -> Vec<Observed> {
        let id = order.id;
        self.require(matches!(write, Write::Placement { .. }), || {
            format!("{id} was created by a transition")
        });
        let is_free = order.ticket.price.minor() == 0;
        let status = if is_free { Status::Free } else { Status::AwaitingPayment };
        let is_new = order.status == status
            && order.version.number() == 0
            && order.refunds_due.is_empty()
            && !order.extended
            && order.expires_at == order.created_at.plus(self.hold);
        self.require(is_new, || format!("{id} is not a new order: {order:?}"));
        // The ticket is on sale: a withdrawn ticket has no offer.
        let sale = self.tickets.get(&order.ticket.id).map(|replica| replica.sale.clone());
        let is_offered = sale.as_ref().is_some_and(|sale| sale.ticket() == Some(&order.ticket));
        self.require(is_offered, || {
            format!("promise 4: {id} is for {:?}, not for {sale:?}", order.ticket)
        });
        let mut observed = vec![match lock_before {
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
        }];
        observed.extend(is_free.then_some(Observed::PlacedFree));
        observed.extend(self.check_request(order));
        observed.extend(self.slot_taken(order));
        observed
    }

    fn check_request(&mut self, order: &Order) -> Option<Observed> {
        let id = order.id;
        let Some(requested) = self.requested.get_mut(order.correlation_id.as_str()) else {
            self.report(format!("{id} has no request"));
            return None;
        };
        let version = requested.version;
        let matches = requested.buyer == order.user_id.as_str()
            && requested.ticket == order.ticket.id.as_str()
            && version.is_none_or(|version| version == order.ticket.version.number())
            && requested.order.replace(id).is_none();
        let key = requested.key.clone().map(|key| (requested.buyer.clone(), key));
        self.require(matches, || format!("promise 5: {id} does not match its request"));
        if let Some(key) = key {
            let earlier = self.by_key.insert(key, id);
            self.require(earlier.is_none(), || {
                format!("promise 5: one key for {id} and {earlier:?}")
            });
        }
        version.map(|_| Observed::PlacedAtVersion)
    }

    /// Checks a changed order: promises 3, 4, 7 and 8.
    fn changed(
        &mut self,
        before: &Order,
        after: &Order,
        lock_before: Lock,
        write: &Write,
        now_ms: u64,
    ) -> Vec<Observed> {
        let id = after.id;
        self.require(is_one_change(before, after), || {
            format!("promises 3 and 4: {before:?} became {after:?}")
        });
        let (command, at) = match write {
            Write::Placement { at } => (None, *at),
            Write::Transition { command, at, .. } => (Some(*command), *at),
            Write::Lock => {
                self.report(format!("{id} was changed by a write of its lock"));
                return Vec::new();
            }
        };
        match command {
            Some(command) if after.refunds_due != before.refunds_due => {
                self.refund_changed(before, after, command, now_ms)
            }
            Some(command) if after.expires_at != before.expires_at => {
                self.extended(before, after, command, at, now_ms)
            }
            Some(command) if let Status::Paid { payment_id } = &after.status => {
                self.sold(before, after, payment_id, lock_before, command, now_ms)
            }
            _ if let Status::Refunded { payment_id } = &after.status => {
                vec![self.refunded(before, after, payment_id)]
            }
            _ => vec![self.ended(before, after, at)],
        }
    }

    /// Checks a longer hold: once, never of an order that is due, for the start of a payment.
    fn extended(
        &mut self,
        before: &Order,
        after: &Order,
        command: CommandTime,
        at: Timestamp,
        now_ms: u64,
    ) -> Vec<Observed> {
        let id = after.id;
        let was_held = before.status == Status::AwaitingPayment && !before.is_due(command.now);
        self.require(was_held && !before.extended && after.extended, || {
            format!("promise 3: {before:?} was extended at {:?}", command.now)
        });
        let has_start = self.ends_of_starts(id, command.now).any(|end| end == after.expires_at);
        self.require(has_start && after.expires_at > before.expires_at, || {
            format!("promise 7: {id} was extended from {:?} to {after:?}", before.expires_at)
        });
        if !before.is_due(at) {
            return vec![Observed::Extended];
        }
        // Until now the order was due.
        self.live_since_ms.insert(id, now_ms);
        vec![Observed::Extended, Observed::ExtendedLate]
    }

    /// Checks the end of an order without a sale.
    fn ended(&mut self, before: &Order, after: &Order, at: Timestamp) -> Observed {
        let id = after.id;
        let due = after.expires_at <= at;
        let observed = match (&before.status, &after.status) {
            (Status::AwaitingPayment, Status::Expired) => {
                self.require(due, || format!("promise 7: {id} expired early"));
                return if after.extended { Observed::ExpiredExtended } else { Observed::Expired };
            }
            (Status::Free, Status::Cancelled) => Observed::CancelledFree,
            (Status::AwaitingPayment, Status::Cancelled) if due => Observed::CancelledWhenDue,
            (Status::AwaitingPayment, Status::Cancelled) => Observed::Cancelled,
            (Status::Expired, Status::Cancelled) => Observed::CancelledWhenExpired,
            (from, to) => {
                let (from, to) = (from.name(), to.name());
                self.report(format!("promise 3: {id} went from {from} to {to}"));
                return Observed::Cancelled;
            }
        };
        let requested = self.cancel_requests.contains(&id.to_string());
        self.require(requested, || {
            format!("promise 12: {id} was cancelled without a request of its owner")
        });
        observed
    }

    /// Checks a sale: in time at the order's price, or late by the buy-back rule.
    fn sold(
        &mut self,
        before: &Order,
        after: &Order,
        payment: &PaymentId,
        lock_before: Lock,
        command: CommandTime,
        now_ms: u64,
    ) -> Vec<Observed> {
        let id = after.id;
        let Some((pays_price, sent_at)) = self.payment_of(after, payment) else {
            return Vec::new();
        };
        self.require(pays_price, || format!("promise 8: {id} was sold for another amount"));
        let observed = match before.status {
            Status::AwaitingPayment if !before.is_due(command.now) => return vec![Observed::Paid],
            Status::AwaitingPayment => Observed::PaidWhenDue,
            Status::Expired => Observed::PaidLate,
            Status::Paid { .. } | Status::Free | Status::Cancelled | Status::Refunded { .. } => {
                self.report(format!("promise 3: {id} was sold when {}", before.status.name()));
                return Vec::new();
            }
        };
        self.live_since_ms.insert(id, now_ms);
        self.check_late_sale(after, sent_at, lock_before, command.now);
        let mut all = vec![observed];
        if lock_before.holder().is_some_and(|holder| holder != id) {
            all.push(Observed::PaidByTakeover);
        }
        let is_handled_late = after.expires_at.plus(self.late_limit) < command.now;
        if sent_at < after.expires_at && is_handled_late {
            all.push(Observed::PaidAfterOutage);
        }
        all
    }

    /// Checks the buy-back rule, without the amount.
    fn check_late_sale(&mut self, order: &Order, sent_at: Timestamp, lock: Lock, now: Timestamp) {
        let id = order.id;
        let last = order.expires_at.plus(self.late_limit);
        self.require(sent_at <= last, || {
            format!("promise 8: {id} was sold by a payment sent at {sent_at:?}, after {last:?}")
        });
        let sale = self.tickets.get(&order.ticket.id).map(|replica| replica.sale.clone());
        let is_offered = sale.as_ref().is_some_and(|sale| asks_price(sale, order));
        self.require(is_offered, || {
            format!("promise 4: {id} was sold late, with its ticket at {sale:?}")
        });
        let is_available = match lock {
            Lock::Free => true,
            Lock::Held { by, until } => by == id || until <= now,
            Lock::Sold { .. } => false,
        };
        self.require(is_available, || format!("promise 1: {id} was sold late with lock {lock:?}"));
    }
}

/// Whether the next version has one change: of the status, of the refunds, or of the end of the hold.
fn is_one_change(before: &Order, after: &Order) -> bool {
    let fixed = Order {
        status: before.status.clone(),
        version: before.version,
        refunds_due: before.refunds_due.clone(),
        expires_at: before.expires_at,
        extended: before.extended,
        ..after.clone()
    };
    let is_longer = after.expires_at != before.expires_at;
    let changes =
        [is_longer, after.refunds_due != before.refunds_due, after.status != before.status];
    fixed == *before
        && after.version.number() == before.version.number() + 1
        && is_longer == (after.extended != before.extended)
        && changes.iter().filter(|change| **change).count() == 1
}

/// Whether the ticket is on sale at the order's price.
pub(super) fn asks_price(sale: &Sale, order: &Order) -> bool {
    sale.ticket().is_some_and(|ticket| ticket.price == order.ticket.price)
}

//! Checks of orders that are forgotten, and of orders placed anew with the same key.

use std::time::Duration;

use orders_domain::{Order, OrderId, RefundState, Status};

use super::Promises;
use crate::world::timestamp;

/// A forgotten order.
pub(super) struct Forgotten {
    pub(super) order: Order,
    pub(super) at_ms: u64,
}

impl Promises {
    /// Returns the stored orders.
    pub(crate) fn all_orders(&self) -> Vec<Order> {
        self.orders.values().cloned().collect()
    }

    /// Checks that an order is kept for its time, and for ever if it is live, was paid, or a refund is due.
    pub(crate) fn check_retention(
        &mut self,
        order: &Order,
        is_stored: bool,
        kept: Duration,
        now_ms: u64,
    ) {
        let is_over = match order.status {
            Status::Cancelled | Status::Expired => true,
            Status::AwaitingPayment
            | Status::Paid { .. }
            | Status::Free
            | Status::Refunded { .. } => false,
        };
        let all_settled = order.refunds_due.iter().all(|it| it.state == RefundState::Settled);
        let is_kept = !is_over || !all_settled || order.expires_at.plus(kept) > timestamp(now_ms);
        self.require(is_kept == is_stored, || {
            format!("promise 5: kept {is_kept}, stored {is_stored}: {order:?}")
        });
    }

    /// Checks an order that is forgotten: nothing about it is on its way.
    pub(crate) fn order_forgotten(&mut self, order: &Order, now_ms: u64) {
        let id = order.id;
        let name = id.to_string();
        let published = self.published.remove(&name);
        self.require(published == Some(order.version.number() + 1), || {
            format!("promise 9: {id} was forgotten, next published {published:?}")
        });
        self.orders.remove(&id);
        self.committed.retain(|(order, _), _| *order != name);
        self.traces.retain(|(order, _), _| *order != name);
        self.by_key.retain(|_, order| *order != id);
        self.cancel_requests.remove(&name);
        self.without_slot.remove(&id);
        let forgotten = Forgotten { order: order.clone(), at_ms: now_ms };
        self.forgotten.entry(id).or_default().push(forgotten);
    }

    /// Returns an order that is stored, or was until it was forgotten.
    pub(super) fn known_order(&self, order: &str) -> Option<&Order> {
        let id: OrderId = order.parse().ok()?;
        let forgotten = || self.last_forgotten(id).map(|forgotten| &forgotten.order);
        self.orders.get(&id).or_else(forgotten)
    }

    pub(super) fn last_forgotten(&self, id: OrderId) -> Option<&Forgotten> {
        self.forgotten.get(&id)?.last()
    }

    /// The stored orders, and every forgotten order with its last state.
    pub(super) fn orders_ever(&self) -> impl Iterator<Item = &Order> {
        let forgotten = self.forgotten.values().flatten().map(|forgotten| &forgotten.order);
        self.orders.values().chain(forgotten)
    }

    /// Whether the order has been forgotten and can be placed anew: its id is that of a key. No payment of the
    /// earlier order is repeated then; the real time of retention is longer than any message waits.
    pub(crate) fn can_be_placed_anew(&self, order: &str) -> bool {
        let id: Option<OrderId> = order.parse().ok();
        let forgotten = id.and_then(|id| self.last_forgotten(id));
        let request = forgotten.and_then(|it| self.requested.get(it.order.correlation_id.as_str()));
        request.is_some_and(|request| request.key.is_some())
    }

    /// Drops what is known of the messages of the earlier order with this id: they are all done. Returns
    /// whether there was such an order.
    pub(super) fn placed_anew(&mut self, id: OrderId) -> bool {
        let Some(forgotten) = self.last_forgotten(id) else { return false };
        let (at_ms, name) = (forgotten.at_ms, id.to_string());
        let is_old = |order: &str, sent_ms: u64| order == name && sent_ms <= at_ms;
        let done = &mut self.done_messages;
        self.payments.retain(|_, (payment, body)| {
            let is_old = is_old(&payment.order, payment.at_ms);
            is_old.then(|| done.insert(body.clone()));
            !is_old
        });
        self.refunds.retain(|(refund, body)| {
            let is_old = is_old(&refund.order, refund.at_ms);
            is_old.then(|| done.insert(body.clone()));
            !is_old
        });
        self.starts.retain(|(start, body)| {
            let is_old = is_old(&start.order, start.at_ms);
            is_old.then(|| done.insert(body.clone()));
            !is_old
        });
        true
    }
}

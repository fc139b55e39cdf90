//! Checks at the end of a run, after the faults have stopped and everything has drained: promises
//! 8 to 11, 15 and 17.

use std::collections::BTreeMap;

use orders_domain::{Order, OrderId, OrderStore, RefundState, Sale, Status, TicketId, Timestamp};
use orders_testing::MemoryStore;

use super::{Promises, refunds::paid_by};
use crate::{
    consumers::Consumers,
    queues::{Queue, QueueName},
    world::ready,
};

impl Promises {
    fn is_poison(&self, queue: QueueName, body: &str) -> bool {
        self.poison.iter().any(|(name, poison)| *name == queue && poison == body)
    }

    /// Whether a dead-lettered message is not redriven: it cannot be applied, or it is a timer, which
    /// reconcile replaces.
    pub(crate) fn is_invalid(&self, queue: QueueName, body: &str) -> bool {
        self.is_poison(queue, body)
            || match queue {
                QueueName::Tickets => self.is_contradiction(body),
                QueueName::Payments => self.is_undeliverable(body),
                QueueName::Expiries => true,
            }
    }

    /// Whether a message is dead-lettered at once: no retry could apply it.
    pub(crate) fn is_rejected(&self, queue: QueueName, body: &str) -> bool {
        self.is_poison(queue, body)
            || match queue {
                QueueName::Tickets => self.is_contradiction(body),
                QueueName::Payments => self.is_refused_payment(body),
                QueueName::Expiries => false,
            }
    }

    /// Whether an order awaits payment.
    pub(crate) fn any_awaiting_payment(&self) -> bool {
        self.orders.values().any(|order| order.status == Status::AwaitingPayment)
    }

    pub(crate) fn check_end(
        &mut self,
        store: &MemoryStore,
        queues: &[Queue],
        dead_records: &[String],
        poison: &[String],
        now: Timestamp,
    ) {
        self.check_payments(store, &queues[QueueName::Payments as usize]);
        self.check_starts(&queues[QueueName::Payments as usize]);
        self.check_refunds(&queues[QueueName::Payments as usize]);
        self.check_published();
        self.check_replicas();
        self.check_stored_rows(store);
        self.check_stored_slots(store, now);
        self.check_dead_letters(queues);
        for record in poison {
            self.require(dead_records.contains(record), || {
                format!("promise 11: not dead-lettered: {record}")
            });
        }
        for record in dead_records {
            self.require(poison.contains(record), || {
                format!("promise 11: valid record dead-lettered: {record}")
            });
        }
    }

    /// Promise 15: consumers of the events reach the true sales, holds and refunds.
    pub(crate) fn check_consumers(&mut self, consumers: &Consumers) {
        let orders = || self.orders.values();
        let tickets = |wanted: fn(&Status) -> bool| -> BTreeMap<String, String> {
            let orders = orders().filter(|order| wanted(&order.status));
            orders.map(|order| (order.ticket.id.to_string(), order.id.to_string())).collect()
        };
        let sold = tickets(|status| matches!(status, Status::Paid { .. } | Status::Free));
        let held = tickets(|status| matches!(status, Status::AwaitingPayment));
        let refunds: BTreeMap<String, String> = self
            .orders_ever()
            .flat_map(|order| &order.refunds_due)
            .map(|refund| {
                let (reason, state) = (refund.reason.name(), refund.state.name());
                (refund.payment_id.to_string(), format!("{reason}, {state}"))
            })
            .collect();
        for (what, true_state, seen) in [
            ("sales", format!("{sold:?}"), format!("{:?}", consumers.sold())),
            ("holds", format!("{held:?}"), format!("{:?}", consumers.held())),
            ("refunds", format!("{refunds:?}"), format!("{:?}", consumers.refunds())),
        ] {
            self.require(true_state == seen, || {
                format!("promise 15: {what} are {true_state}, consumers have {seen}")
            });
        }
    }

    /// Promise 8: every payment of existing orders is booked once, for one of them, and the
    /// payments table has the same result. All other messages of the payment are dead-lettered.
    fn check_payments(&mut self, store: &MemoryStore, payments: &Queue) {
        let mut times: BTreeMap<String, Vec<OrderId>> = BTreeMap::new();
        for order in self.orders_ever() {
            for payment in booked_by(order) {
                times.entry(payment).or_default().push(order.id);
            }
        }
        for ((payment, order), (made, body)) in self.payments.clone() {
            let id: Option<OrderId> = order.parse().ok();
            let is_stored = id.is_some_and(|id| self.orders.contains_key(&id));
            let booked = times.get(&payment).map_or(&[][..], Vec::as_slice);
            let is_nothing = self.is_nothing_to_pay(&made);
            let is_booked = !is_stored || is_nothing || booked.len() == 1;
            self.require(booked.len() <= 1 && is_booked, || {
                format!("promise 8: {payment} is booked for {booked:?}")
            });
            let is_applied = is_nothing || id.is_some() && booked.first() == id.as_ref();
            self.require(is_applied || payments.dead.contains(&body), || {
                format!("promise 8: {payment} of {order} is neither booked nor dead-lettered")
            });
        }
        let stored: BTreeMap<_, _> =
            store.payments().into_iter().map(|row| (row.payment.id.clone(), row)).collect();
        let agrees = stored == self.booked;
        self.require(agrees, || format!("promise 8: the payments table has {stored:?}"));
    }

    /// The start of a payment for an unknown order is dead-lettered.
    fn check_starts(&mut self, payments: &Queue) {
        for (start, body) in self.starts.clone() {
            let id: Option<OrderId> = start.order.parse().ok();
            let exists = id.is_some_and(|id| {
                let forgotten = self.last_forgotten(id);
                self.orders.contains_key(&id) || forgotten.is_some_and(|it| start.at_ms <= it.at_ms)
            });
            self.require(exists || payments.dead.contains(&body), || {
                format!("promise 11: {start:?} is lost")
            });
        }
    }

    /// Promise 8: each refund of a whole payment has an effect on its order, and each other refund
    /// is dead-lettered or came after it.
    fn check_refunds(&mut self, payments: &Queue) {
        for (refund, body) in self.refunds.clone() {
            let order = self.known_order(&refund.order);
            let is_settled = order.is_some_and(|order| is_refunded(order, &refund.payment));
            let is_dead = payments.dead.contains(&body);
            let is_lost = if self.is_undeliverable_refund(&refund) {
                !is_settled && !is_dead
            } else {
                !is_settled
            };
            self.require(!is_lost, || format!("promise 8: {refund:?} has no effect"));
        }
    }

    fn check_stored_slots(&mut self, store: &MemoryStore, now: Timestamp) {
        let slots = |user_id| ready(store.find_slots(&user_id)).ok().map(|slots| (user_id, slots));
        let slots = self.buyers().into_iter().filter_map(slots).collect();
        self.check_slots(slots, now);
    }

    fn check_published(&mut self) {
        let committed: Vec<_> = self
            .orders
            .values()
            .map(|order| (order.id.to_string(), order.version.number()))
            .collect();
        for (order, version) in committed {
            let published = self.published.get(&order).copied().unwrap_or_default();
            self.require(published == version + 1, || {
                format!("promise 9: {order} has version {version}, next published {published}")
            });
        }
    }

    fn check_replicas(&mut self) {
        let mut newest: BTreeMap<TicketId, Sale> = BTreeMap::new();
        for ((id, _), sale) in &self.published_tickets {
            newest.insert(id.clone(), sale.clone());
        }
        for (id, sale) in newest {
            let replica = self.tickets.get(&id).map(|replica| replica.sale.clone());
            self.require(replica.as_ref() == Some(&sale), || {
                format!("promise 10: replica of {id} is {replica:?}, not {sale:?}")
            });
        }
    }

    fn check_stored_rows(&mut self, store: &MemoryStore) {
        for order in self.orders.values().cloned().collect::<Vec<_>>() {
            let stored = ready(store.find(order.id)).ok().flatten();
            self.require(stored.as_ref() == Some(&order), || {
                format!("{order:?} is stored as {stored:?}")
            });
        }
        for replica in self.tickets.values().cloned().collect::<Vec<_>>() {
            let stored = ready(store.find_ticket(replica.sale.id())).ok().flatten();
            self.require(stored.as_ref() == Some(&replica), || {
                format!("{replica:?} is stored as {stored:?}")
            });
        }
    }

    fn check_dead_letters(&mut self, queues: &[Queue]) {
        for (name, poison) in self.poison.clone() {
            let dead = &queues[name as usize].dead;
            self.require(dead.contains(&poison), || format!("promise 11: {poison} is lost"));
        }
        for (body, sale) in self.contradictions.clone() {
            // An older version has no content to contradict any more.
            let dead = &queues[QueueName::Tickets as usize].dead;
            let is_handled = !self.replica_has(&sale) || dead.contains(&body);
            self.require(is_handled, || format!("promise 10: {body} is not dead-lettered"));
        }
        for queue in queues {
            for body in &queue.dead {
                let expected = self.is_invalid(queue.name, body);
                self.require(expected, || {
                    format!("promise 11: valid message dead-lettered: {body}")
                });
            }
        }
    }
}

/// Ids of the payments that an order has counted.
fn booked_by(order: &Order) -> Vec<String> {
    let refunds = order.refunds_due.iter().map(|refund| refund.payment_id.to_string());
    refunds.chain(paid_by(order).map(ToString::to_string)).collect()
}

/// Whether the order knows that the payment has been refunded.
pub(super) fn is_refunded(order: &Order, payment: &str) -> bool {
    let mut refunds = order.refunds_due.iter();
    matches!(&order.status, Status::Refunded { payment_id } if payment_id.as_str() == payment)
        || refunds.any(|refund| {
            refund.payment_id.as_str() == payment && refund.state == RefundState::Settled
        })
}

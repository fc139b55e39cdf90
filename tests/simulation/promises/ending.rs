//! Checks at the end of a run, after the faults have stopped and everything has drained: promises
//! 8 to 11.

use std::collections::BTreeMap;

use orders_domain::{Order, OrderId, OrderStore, Status};
use orders_testing::MemoryStore;

use super::Promises;
use crate::{
    consumers::Consumers,
    queues::{Queue, QueueName},
    world::ready,
};

impl Promises {
    fn is_poison(&self, queue: QueueName, body: &str) -> bool {
        self.poison.iter().any(|(name, poison)| *name == queue && poison == body)
    }

    /// Whether a dead-lettered message cannot be redriven.
    pub(crate) fn is_invalid(&self, queue: QueueName, body: &str) -> bool {
        self.is_poison(queue, body)
            || match queue {
                QueueName::Tickets => self.is_contradiction(body),
                QueueName::Payments => self.is_undeliverable(body),
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
    ) {
        self.check_payments(store, &queues[QueueName::Payments as usize]);
        self.check_published();
        self.check_replicas();
        self.check_stored_rows(store);
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
        let sold = tickets(|status| matches!(status, Status::Paid { .. }));
        let held = tickets(|status| matches!(status, Status::AwaitingPayment));
        let refunds: BTreeMap<String, String> = orders()
            .flat_map(|order| &order.refunds_due)
            .map(|refund| (refund.payment_id.to_string(), refund.reason.name().to_owned()))
            .collect();
        for (what, true_state, seen) in [
            ("sales", format!("{sold:?}"), format!("{:?}", consumers.sold())),
            ("holds", format!("{held:?}"), format!("{:?}", consumers.held())),
            ("refunds", format!("{refunds:?}"), format!("{:?}", consumers.refunded())),
        ] {
            self.require(true_state == seen, || {
                format!("promise 15: {what} are {true_state}, consumers have {seen}")
            });
        }
    }

    /// Promise 8: every payment of existing orders is booked once, for one of them, and the payments
    /// table has the same result. All other messages of the payment are dead-lettered.
    fn check_payments(&mut self, store: &MemoryStore, payments: &Queue) {
        let mut times: BTreeMap<String, Vec<OrderId>> = BTreeMap::new();
        for order in self.orders.values() {
            for payment in booked_by(order) {
                times.entry(payment).or_default().push(order.id);
            }
        }
        for ((payment, order), (_, body)) in self.payments.clone() {
            let id: Option<OrderId> = order.parse().ok();
            let id = id.filter(|id| self.orders.contains_key(id));
            let booked = times.get(&payment).map_or(&[][..], Vec::as_slice);
            self.require(booked.len() <= 1 && (id.is_none() || booked.len() == 1), || {
                format!("promise 8: {payment} is booked for {booked:?}")
            });
            let is_applied = id.is_some() && booked.first() == id.as_ref();
            self.require(is_applied || payments.dead.contains(&body), || {
                format!("promise 8: {payment} of {order} is neither booked nor dead-lettered")
            });
        }
        let stored: BTreeMap<_, _> =
            store.payments().into_iter().map(|row| (row.payment.id.clone(), row)).collect();
        let agrees = stored == self.booked;
        self.require(agrees, || format!("promise 8: the payments table has {stored:?}"));
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
        let mut newest = std::collections::BTreeMap::new();
        for ((id, _), ticket) in &self.published_tickets {
            newest.insert(id.clone(), ticket.clone());
        }
        for (id, ticket) in newest {
            let replica = self.tickets.get(&id).map(|replica| replica.ticket.clone());
            self.require(replica.as_ref() == Some(&ticket), || {
                format!("promise 10: replica of {id} is {replica:?}, not {ticket:?}")
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
            let stored = ready(store.find_ticket(&replica.ticket.id)).ok().flatten();
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
        for (body, ticket) in self.contradictions.clone() {
            // An older version has no content to contradict any more.
            let dead = &queues[QueueName::Tickets as usize].dead;
            let is_handled = !self.replica_has(&ticket) || dead.contains(&body);
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
    let paid_by = match &order.status {
        Status::Paid { payment_id } => Some(payment_id.to_string()),
        Status::AwaitingPayment | Status::Cancelled | Status::Expired => None,
    };
    refunds.chain(paid_by).collect()
}

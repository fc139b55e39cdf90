//! Checks at the end of a run, after the faults have stopped and everything has drained: promises
//! 8 to 11.

use std::collections::{BTreeMap, BTreeSet};

use orders_domain::{OrderId, OrderStore, Status};
use orders_testing::MemoryStore;

use super::Promises;
use crate::{
    consumers::Consumers,
    queues::{Queue, QueueName},
    world::ready,
};

impl Promises {
    pub(crate) fn is_poison(&self, queue: QueueName, body: &str) -> bool {
        self.poison.iter().any(|(name, poison)| *name == queue && poison == body)
    }

    /// Whether a payment message names no existing order.
    pub(crate) fn names_no_order(&self, body: &str) -> bool {
        !self.orders.keys().any(|id| body.contains(&id.to_string()))
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
        self.check_payments(&queues[QueueName::Payments as usize]);
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
        let refunds: BTreeSet<String> = orders()
            .flat_map(|order| &order.refunds_due)
            .map(|refund| refund.payment_id.to_string())
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

    fn check_payments(&mut self, payments: &Queue) {
        for (payment, order) in self.payments.clone() {
            let id: Option<OrderId> = order.parse().ok();
            let Some(order) = id.and_then(|id| self.orders.get(&id)) else {
                let dead =
                    payments.dead.iter().any(|body| body.contains(&format!("\"{payment}\"")));
                self.require(dead, || {
                    format!("promise 11: payment {payment} without an order is lost")
                });
                continue;
            };
            let refunds = order.refunds_due.iter().filter(|it| it.payment_id.as_str() == payment);
            let paid = matches!(&order.status, Status::Paid { payment_id } if payment_id.as_str() == payment);
            let times = refunds.count() + usize::from(paid);
            self.require(times == 1, || format!("promise 8: {payment} is booked {times} times"));
        }
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
        for queue in queues {
            for body in &queue.dead {
                let expected = self.is_poison(queue.name, body)
                    || queue.name == QueueName::Payments && self.names_no_order(body);
                self.require(expected, || {
                    format!("promise 11: valid message dead-lettered: {body}")
                });
            }
        }
    }
}

//! What holds at the end, when faults have stopped and everything has drained: promises 8 to 11.

use orders_domain::{OrderId, OrderStore, Status};
use orders_testing::MemoryStore;
use orders_tests::memory::at_once;

use super::Promises;
use crate::queues::{Queue, QueueName};

impl Promises {
    pub(crate) fn is_poison(&self, queue: QueueName, body: &str) -> bool {
        self.poison.iter().any(|(name, poison)| *name == queue && poison == body)
    }

    /// Whether a payment's message names no order.
    pub(crate) fn names_no_order(&self, body: &str) -> bool {
        !self.orders.keys().any(|id| body.contains(&id.to_string()))
    }

    /// Whether anything still awaits payment.
    pub(crate) fn any_awaits(&self) -> bool {
        self.orders.values().any(|order| order.status == Status::AwaitingPayment)
    }

    pub(crate) fn ended(
        &mut self,
        store: &MemoryStore,
        queues: &[Queue],
        buried: &[String],
        poison: &[String],
    ) {
        self.every_charge_is_booked_once(&queues[QueueName::Payments as usize]);
        self.every_version_is_published();
        self.replicas_have_converged();
        self.nothing_changed_unseen(store);
        self.poison_is_dead_lettered(queues);
        for record in poison {
            self.require(buried.contains(record), || format!("promise 11: not buried: {record}"));
        }
        for record in buried {
            self.require(poison.contains(record), || format!("promise 11: buried: {record}"));
        }
    }

    fn every_charge_is_booked_once(&mut self, payments: &Queue) {
        for (payment, order) in self.charges.clone() {
            let id: Option<OrderId> = order.parse().ok();
            let Some(order) = id.and_then(|id| self.orders.get(&id)) else {
                let dead =
                    payments.dead.iter().any(|body| body.contains(&format!("\"{payment}\"")));
                self.require(dead, || format!("promise 11: {payment} for no order is gone"));
                continue;
            };
            let refunds = order.refunds_due.iter().filter(|it| it.payment_id.as_str() == payment);
            let paid = matches!(&order.status, Status::Paid { payment_id } if payment_id.as_str() == payment);
            let times = refunds.count() + usize::from(paid);
            self.require(times == 1, || format!("promise 8: {payment} is booked {times} times"));
        }
    }

    fn every_version_is_published(&mut self) {
        let committed: Vec<_> = self
            .orders
            .values()
            .map(|order| (order.id.to_string(), order.version.number()))
            .collect();
        for (order, version) in committed {
            let published = self.published.get(&order).copied().unwrap_or_default();
            self.require(published == version + 1, || {
                format!("promise 9: {order} has version {version}; to be published: {published}")
            });
        }
    }

    fn replicas_have_converged(&mut self) {
        let mut newest = std::collections::BTreeMap::new();
        for ((id, _), ticket) in &self.said {
            newest.insert(id.clone(), ticket.clone());
        }
        for (id, ticket) in newest {
            let replica = self.tickets.get(&id).map(|replica| replica.ticket.clone());
            self.require(replica.as_ref() == Some(&ticket), || {
                format!("promise 10: {id} is {replica:?}, not {ticket:?}")
            });
        }
    }

    fn nothing_changed_unseen(&mut self, store: &MemoryStore) {
        for order in self.orders.values().cloned().collect::<Vec<_>>() {
            let stored = at_once(store.find(order.id)).ok().flatten();
            self.require(stored.as_ref() == Some(&order), || format!("{order:?} is {stored:?}"));
        }
        for replica in self.tickets.values().cloned().collect::<Vec<_>>() {
            let stored = at_once(store.find_ticket(&replica.ticket.id)).ok().flatten();
            self.require(stored.as_ref() == Some(&replica), || {
                format!("{replica:?} is {stored:?}")
            });
        }
    }

    fn poison_is_dead_lettered(&mut self, queues: &[Queue]) {
        for (name, poison) in self.poison.clone() {
            let dead = &queues[name as usize].dead;
            self.require(dead.contains(&poison), || format!("promise 11: {poison} is gone"));
        }
        for queue in queues {
            for body in &queue.dead {
                let belongs = self.is_poison(queue.name, body)
                    || queue.name == QueueName::Payments && self.names_no_order(body);
                self.require(belongs, || format!("promise 11: dead-lettered: {body}"));
            }
        }
    }
}

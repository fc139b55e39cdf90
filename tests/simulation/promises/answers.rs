//! Promises 5, 6 and 12, on every answer to a buyer.

use orders_domain::{Order, OrderId};
use orders_tests::history::{Answer, Asked, OrderSeen};

use super::Promises;

impl Promises {
    /// Holds an answer against the promises. `has_placed`: whether the function that gave it has
    /// placed an order.
    pub(crate) fn answered(
        &mut self,
        buyer: &str,
        asked: &Asked,
        answer: &Answer,
        has_placed: bool,
        from_ms: u64,
    ) {
        match (asked, answer) {
            (_, Answer::Unknown | Answer::Cancelled | Answer::OrderPaid) => {}
            (Asked::Place { ticket, key }, Answer::Order(seen)) => {
                self.shown(buyer, seen);
                self.require(seen.ticket == *ticket, || {
                    format!("promise 6: {asked:?} got {seen:?}")
                });
                self.is_the_keys(buyer, key.as_deref(), seen);
            }
            (Asked::Place { ticket, key }, _) => {
                self.require(!has_placed, || format!("promise 6: {asked:?} got {answer:?}"));
                let earlier = self.earlier(buyer, key.as_deref(), from_ms);
                let reused = earlier.is_some_and(|order| order.ticket.id.as_str() != ticket);
                let is_new = earlier.is_none();
                self.require(is_new || reused && *answer == Answer::KeyReused, || {
                    format!("promise 5: a repeat of {asked:?} got {answer:?}")
                });
            }
            (_, Answer::Order(seen)) => self.shown(buyer, seen),
            (_, Answer::Orders(list)) => list.iter().for_each(|seen| self.shown(buyer, seen)),
            (Asked::Show { order } | Asked::Cancel { order }, _) => {
                let id: Option<OrderId> = order.parse().ok();
                let order = id.and_then(|id| self.orders.get(&id));
                let theirs = order.is_some_and(|order| order.user_id.as_str() == buyer);
                self.require(!theirs, || format!("promise 12: {asked:?} got {answer:?}"));
            }
            (Asked::List, _) => self.broke(format!("a list got {answer:?}")),
        }
    }

    /// What a buyer is shown is theirs and is there, as it was placed.
    fn shown(&mut self, buyer: &str, seen: &OrderSeen) {
        let version = self.committed.get(&(seen.order.clone(), seen.version));
        let true_to = version.is_some_and(|order| {
            order.ticket.id.as_str() == seen.ticket
                && order.ticket.title.as_str() == seen.title
                && order.ticket.price.minor() == seen.price_cents
                && order.ticket.version.number() == seen.ticket_version
                && order.expires_at.epoch_ms() == seen.expires_at_ms
                && order.user_id.as_str() == seen.buyer
        });
        self.require(true_to, || format!("promises 4 and 6: {seen:?} is not there"));
        self.require(seen.buyer == buyer, || format!("promise 12: {buyer} sees {seen:?}"));
    }

    fn is_the_keys(&mut self, buyer: &str, key: Option<&str>, seen: &OrderSeen) {
        let Some(key) = key else { return };
        let order = self.by_key.get(&(buyer.to_owned(), key.to_owned())).map(OrderId::to_string);
        self.require(order.as_ref() == Some(&seen.order), || {
            format!("promise 5: {key} has placed {order:?} and shows {}", seen.order)
        });
    }

    /// The order that a key had placed by this time.
    fn earlier(&self, buyer: &str, key: Option<&str>, by_ms: u64) -> Option<&Order> {
        let id = self.by_key.get(&(buyer.to_owned(), key?.to_owned()))?;
        self.orders.get(id).filter(|order| self.placed_at_ms.get(&order.id) < Some(&by_ms))
    }
}

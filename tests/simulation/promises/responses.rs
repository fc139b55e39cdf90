//! Checks of promises 5, 6 and 12 on every response to a buyer.

use orders_domain::{Order, OrderId};
use orders_tests::history::{Operation, OrderView, Outcome};

use super::Promises;

impl Promises {
    /// Checks a response. `has_placed`: whether the function has placed an order.
    pub(crate) fn check_response(
        &mut self,
        buyer: &str,
        operation: &Operation,
        outcome: &Outcome,
        has_placed: bool,
        from_ms: u64,
    ) {
        match (operation, outcome) {
            (_, Outcome::Unknown | Outcome::Cancelled | Outcome::OrderPaid) => {}
            (Operation::Place { ticket, key }, Outcome::Order(view)) => {
                self.check_view(buyer, view);
                self.require(view.ticket == *ticket, || {
                    format!("promise 6: {operation:?} got {view:?}")
                });
                self.check_key(buyer, key.as_deref(), view);
            }
            (Operation::Place { ticket, key }, _) => {
                self.require(!has_placed, || format!("promise 6: {operation:?} got {outcome:?}"));
                let earlier = self.earlier_order(buyer, key.as_deref(), from_ms);
                let reused = earlier.is_some_and(|order| order.ticket.id.as_str() != ticket);
                let is_new = earlier.is_none();
                self.require(is_new || reused && *outcome == Outcome::KeyReused, || {
                    format!("promise 5: a repeat of {operation:?} got {outcome:?}")
                });
            }
            (_, Outcome::Order(view)) => self.check_view(buyer, view),
            (_, Outcome::Orders(list)) => list.iter().for_each(|view| self.check_view(buyer, view)),
            (Operation::Show { order } | Operation::Cancel { order }, _) => {
                let id: Option<OrderId> = order.parse().ok();
                let order = id.and_then(|id| self.orders.get(&id));
                let is_own = order.is_some_and(|order| order.user_id.as_str() == buyer);
                self.require(!is_own, || format!("promise 12: {operation:?} got {outcome:?}"));
            }
            (Operation::List, _) => self.report(format!("a list got {outcome:?}")),
        }
    }

    /// Checks that a shown order belongs to the buyer and matches the stored version.
    fn check_view(&mut self, buyer: &str, view: &OrderView) {
        let version = self.committed.get(&(view.order.clone(), view.version));
        let is_stored = version.is_some_and(|order| {
            order.ticket.id.as_str() == view.ticket
                && order.ticket.title.as_str() == view.title
                && order.ticket.price.minor() == view.price_cents
                && order.ticket.version.number() == view.ticket_version
                && order.expires_at.epoch_ms() == view.expires_at_ms
                && order.user_id.as_str() == view.buyer
        });
        self.require(is_stored, || format!("promises 4 and 6: {view:?} is not stored"));
        self.require(view.buyer == buyer, || format!("promise 12: {buyer} got {view:?}"));
    }

    fn check_key(&mut self, buyer: &str, key: Option<&str>, view: &OrderView) {
        let Some(key) = key else { return };
        let order = self.by_key.get(&(buyer.to_owned(), key.to_owned())).map(OrderId::to_string);
        self.require(order.as_ref() == Some(&view.order), || {
            format!("promise 5: key {key} placed {order:?} and returned {}", view.order)
        });
    }

    /// Returns the order placed with a key before this time.
    fn earlier_order(&self, buyer: &str, key: Option<&str>, by_ms: u64) -> Option<&Order> {
        let id = self.by_key.get(&(buyer.to_owned(), key?.to_owned()))?;
        self.orders.get(id).filter(|order| self.placed_at_ms.get(&order.id) < Some(&by_ms))
    }
}

//! Checks of promises 5, 6 and 12 on every response to a buyer.

use orders_domain::{Lock, Order, OrderId, Sale, Status, TicketId};
use orders_tests::history::{Operation, OrderView, Outcome};

use super::Promises;

impl Promises {
    /// Checks a response. `placed`: the order that the function has placed.
    pub(crate) fn check_response(
        &mut self,
        buyer: &str,
        operation: &Operation,
        outcome: &Outcome,
        placed: Option<OrderId>,
        from_ms: u64,
        now_ms: u64,
    ) {
        match (operation, outcome) {
            (Operation::Cancel { order }, Outcome::OrderPaid) => {
                let is_free = self.price_of(order).is_some_and(|price| price.minor() == 0);
                self.require(!is_free, || format!("promise 3: free {order} is not cancelled"));
            }
            (_, Outcome::Unknown | Outcome::Cancelled | Outcome::OrderPaid) => {}
            (
                Operation::Place { ticket, key, .. },
                Outcome::Placed(view) | Outcome::Order(view),
            ) => {
                self.check_view(buyer, view);
                self.require(view.ticket == *ticket, || {
                    format!("promise 6: {operation:?} got {view:?}")
                });
                let is_own = placed.is_some_and(|placed| placed.to_string() == view.order);
                let is_new = matches!(outcome, Outcome::Placed(_));
                self.require(is_own == is_new, || {
                    format!("promise 5: {operation:?} placed {placed:?} and got {outcome:?}")
                });
                // The call's own order can end before a slow call answers.
                if !is_new {
                    self.check_order_of_request(buyer, key.as_deref(), view, from_ms);
                }
            }
            (Operation::Place { ticket, key, version }, _) => {
                self.require(placed.is_none(), || {
                    format!("promise 6: {operation:?} got {outcome:?}")
                });
                let time = (from_ms, now_ms);
                self.check_refusal(buyer, ticket, key.as_deref(), outcome, time);
                let is_true = self.is_true_refusal(buyer, ticket, *version, outcome, time);
                self.require(is_true, || format!("promise 6: {operation:?} got {outcome:?}"));
            }
            (_, Outcome::Placed(view) | Outcome::Order(view)) => self.check_view(buyer, view),
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

    /// Checks that a refused buyer had no order by the key, and did not have the ticket.
    fn check_refusal(
        &mut self,
        buyer: &str,
        ticket: &str,
        key: Option<&str>,
        outcome: &Outcome,
        (from_ms, to_ms): (u64, u64),
    ) {
        let is_reused = *outcome == Outcome::KeyReused;
        let earlier = self.earlier_order(buyer, key, from_ms);
        let is_new = earlier.is_none();
        let for_another = earlier.is_some_and(|order| order.ticket.id.as_str() != ticket);
        self.require(is_new || for_another && is_reused, || {
            format!("promise 5: {buyer} repeated key {key:?} for {ticket} and got {outcome:?}")
        });
        let own = self.own_live_order(buyer, ticket, from_ms, to_ms);
        self.require(own.is_none() || is_reused, || {
            format!("promise 6: {buyer} has {own:?} and got {outcome:?}")
        });
    }

    /// Whether the first check that fails for the ticket is the reason of the refusal, at some
    /// moment of the request.
    fn is_true_refusal(
        &self,
        buyer: &str,
        ticket: &str,
        version: Option<u64>,
        outcome: &Outcome,
        (from_ms, to_ms): (u64, u64),
    ) -> bool {
        let id: TicketId = ticket.parse().expect("a ticket id");
        let states = self.ticket_states_since(&id, from_ms, to_ms);
        let current = |sale: &Sale| sale.ticket().map(|ticket| ticket.version.number());
        let is_wanted = |sale: &Sale| {
            current(sale).is_some_and(|current| version.is_none_or(|wanted| wanted == current))
        };
        let any = |wanted: &dyn Fn(&Sale, Lock) -> bool| {
            states.iter().any(|(sale, lock)| wanted(sale, *lock))
        };
        let earliest_ms = from_ms.saturating_sub(self.skew_ms);
        let latest_ms = to_ms + self.skew_ms;
        match outcome {
            Outcome::NoSuchTicket => {
                let first = self.ticket_states.get(&id).and_then(|states| states.first());
                first.is_none_or(|(since_ms, ..)| *since_ms >= from_ms)
            }
            Outcome::Withdrawn => any(&|sale, _| current(sale).is_none()),
            Outcome::TicketChanged { version: shown } => {
                any(&|sale, _| current(sale) == Some(*shown) && !is_wanted(sale))
            }
            Outcome::Reserved => any(&|sale, lock| {
                is_wanted(sale)
                    && matches!(lock, Lock::Held { until, .. } if until.epoch_ms() > earliest_ms)
            }),
            Outcome::Sold => {
                any(&|sale, lock| is_wanted(sale) && matches!(lock, Lock::Sold { .. }))
            }
            Outcome::TooManyHolds => {
                any(&|sale, lock| is_wanted(sale) && can_be_had(lock, latest_ms))
                    && self.had_no_free_slot(buyer, from_ms, to_ms)
            }
            _ => true,
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

    /// Checks that a request for an order got the order of its key, or else the order with which
    /// the buyer has the ticket.
    fn check_order_of_request(
        &mut self,
        buyer: &str,
        key: Option<&str>,
        view: &OrderView,
        from_ms: u64,
    ) {
        let key_of = |key: &str| (buyer.to_owned(), key.to_owned());
        let by_key = key.and_then(|key| self.by_key.get(&key_of(key))).map(OrderId::to_string);
        if by_key.as_ref() == Some(&view.order) {
            return;
        }
        let earlier = self.earlier_order(buyer, key, from_ms).map(|order| order.id);
        self.require(earlier.is_none(), || {
            format!("promise 5: key {key:?} placed {earlier:?} and returned {}", view.order)
        });
        let shown = self.committed.get(&(view.order.clone(), view.version));
        let was_live = shown.is_some_and(|order| match order.status {
            Status::AwaitingPayment => order.expires_at.epoch_ms() + self.skew_ms > from_ms,
            Status::Paid { .. } | Status::Free => true,
            Status::Cancelled | Status::Expired | Status::Refunded { .. } => false,
        });
        self.require(was_live, || format!("promise 6: {buyer} got {view:?}, which has ended"));
    }

    /// Returns the order with which a buyer has had a ticket from before this time until now.
    fn own_live_order(
        &self,
        buyer: &str,
        ticket: &str,
        from_ms: u64,
        now_ms: u64,
    ) -> Option<OrderId> {
        let own = self.orders.values().find(|order| {
            let has_ticket = match order.status {
                Status::AwaitingPayment => order.expires_at.epoch_ms() > now_ms + self.skew_ms,
                Status::Paid { .. } | Status::Free => true,
                Status::Cancelled | Status::Expired | Status::Refunded { .. } => false,
            };
            has_ticket
                && order.user_id.as_str() == buyer
                && order.ticket.id.as_str() == ticket
                && self.live_since_ms.get(&order.id) < Some(&from_ms)
        });
        own.map(|order| order.id)
    }

    /// Returns the order placed with a key before this time.
    fn earlier_order(&self, buyer: &str, key: Option<&str>, by_ms: u64) -> Option<&Order> {
        let id = self.by_key.get(&(buyer.to_owned(), key?.to_owned()))?;
        self.orders.get(id).filter(|order| self.placed_at_ms.get(&order.id) < Some(&by_ms))
    }
}

/// Whether the lock is free or has lapsed by this time.
fn can_be_had(lock: Lock, latest_ms: u64) -> bool {
    match lock {
        Lock::Free => true,
        Lock::Held { until, .. } => until.epoch_ms() <= latest_ms,
        Lock::Sold { .. } => false,
    }
}

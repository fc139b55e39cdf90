//! Checks of single records, and the indexes for the search.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Event, History, Operation, OrderView, Outcome, Payment, Request},
    Contradiction, contradiction, require,
};

/// An indexed history.
pub(super) struct Index<'a> {
    pub(super) history: &'a History,
    /// First event of each version of each order.
    pub(super) changes: BTreeMap<&'a str, BTreeMap<u64, &'a Event>>,
    /// First response with each order.
    pub(super) first_views: BTreeMap<&'a str, &'a OrderView>,
    pub(super) payments: BTreeMap<&'a str, &'a Payment>,
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History) -> Result<Self, Contradiction> {
        let mut index = Self {
            history,
            changes: BTreeMap::new(),
            first_views: BTreeMap::new(),
            payments: history.payments.iter().map(|it| (it.id.as_str(), it)).collect(),
        };
        for event in &history.events {
            index.add_event(event)?;
        }
        for request in &history.requests {
            index.add_request(request)?;
        }
        index.check_keys()?;
        Ok(index)
    }

    pub(super) fn tickets(&self) -> BTreeSet<&'a str> {
        self.history.tickets.iter().map(|version| version.ticket.as_str()).collect()
    }

    /// Returns the `OrderCreated` event of an order.
    pub(super) fn created(&self, order: &str) -> Option<&'a Event> {
        self.changes.get(order)?.get(&0).copied()
    }

    /// Checks that versions ascend without a gap and that a repeated event has the same content.
    fn add_event(&mut self, event: &'a Event) -> Result<(), Contradiction> {
        let versions = self.changes.entry(&event.order).or_default();
        let next = versions.len() as u64;
        let Some(first) = versions.get(&event.version) else {
            require(event.version == next, || format!("{event:?} arrived before version {next}"))?;
            require((event.kind == "OrderCreated") == (next == 0), || {
                format!("{event:?} has the wrong type for its version")
            })?;
            let before = versions.get(&0).copied();
            require(before.is_none_or(|before| same_order(before, event)), || {
                format!("{event:?} differs from {before:?}")
            })?;
            versions.insert(next, event);
            return Ok(());
        };
        let again = Event { at_ms: first.at_ms, ..event.clone() };
        require(again == **first, || format!("{event:?} differs from its first delivery {first:?}"))
    }

    fn add_request(&mut self, request: &'a Request) -> Result<(), Contradiction> {
        let Request { buyer, operation, outcome, .. } = request;
        let orders = match outcome {
            Outcome::Order(order) => std::slice::from_ref(order),
            Outcome::Orders(orders) => orders.as_slice(),
            Outcome::Cancelled
            | Outcome::Reserved
            | Outcome::Sold
            | Outcome::NoSuchTicket
            | Outcome::NoSuchOrder
            | Outcome::KeyReused
            | Outcome::OrderPaid
            | Outcome::Unknown => &[],
        };
        for order in orders {
            require(order.buyer == *buyer, || {
                format!("{buyer} got the order of another buyer: {order:?}")
            })?;
            self.check_ticket_fields(order)?;
            let first = *self.first_views.entry(&order.order).or_insert(order);
            require(same_terms(first, order), || {
                format!("{order:?} differs from the earlier {first:?}")
            })?;
        }
        match (operation, outcome) {
            (Operation::Place { ticket, .. }, Outcome::Order(order)) => {
                require(order.ticket == *ticket, || format!("{operation:?} got {order:?}"))
            }
            (Operation::Show { order }, Outcome::Order(view)) => {
                require(view.order == *order, || format!("{operation:?} got {view:?}"))
            }
            (Operation::Cancel { order }, Outcome::Cancelled | Outcome::OrderPaid) => {
                let owner = self.created(order).map(|created| created.buyer.as_str());
                require(owner.is_none_or(|owner| owner == buyer), || {
                    format!("{buyer} got {outcome:?} for the order of {owner:?}")
                })
            }
            _ => Ok(()),
        }
    }

    /// Checks that the ticket fields of an order were published for that ticket version.
    fn check_ticket_fields(&self, order: &OrderView) -> Result<(), Contradiction> {
        let published = self.history.tickets.iter().any(|version| {
            version.ticket == order.ticket
                && version.version == order.ticket_version
                && version.title == order.title
                && version.price_cents == order.price_cents
        });
        require(published, || format!("unpublished ticket fields in {order:?}"))
    }

    /// Checks that all requests with a key get the same order, and that 422 occurs only after a use
    /// of the key for another ticket.
    fn check_keys(&self) -> Result<(), Contradiction> {
        let mut orders: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        let mut without_key = BTreeSet::new();
        for Request { buyer, operation, outcome, to_ms, .. } in &self.history.requests {
            let Operation::Place { ticket, key } = operation else { continue };
            match (key, outcome) {
                (Some(key), Outcome::Order(order)) => {
                    let first = *orders.entry((buyer, key)).or_insert(&order.order);
                    require(first == order.order, || {
                        format!("key {key} of {buyer} has two orders: {first} and {}", order.order)
                    })?;
                }
                (None, Outcome::Order(order)) => {
                    let is_new = without_key.insert(&order.order);
                    require(is_new, || format!("two requests of {buyer} got {}", order.order))?;
                }
                (Some(key), Outcome::KeyReused) => {
                    let used = self
                        .uses_of_key(buyer, key)
                        .any(|(other, from_ms)| other != ticket && from_ms <= *to_ms);
                    require(used, || format!("new key {key} of {buyer} was rejected"))?;
                }
                (None, Outcome::KeyReused) => {
                    return contradiction("KeyReused for a request without a key");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the tickets requested with a key, with the times of the requests.
    fn uses_of_key(&self, buyer: &str, key: &str) -> impl Iterator<Item = (&'a String, u64)> {
        self.history.requests.iter().filter_map(move |request| match &request.operation {
            Operation::Place { ticket, key: Some(used) }
                if request.buyer == buyer && used == key =>
            {
                Some((ticket, request.from_ms))
            }
            _ => None,
        })
    }

    /// Checks that every payment of an existing order is booked exactly once.
    pub(super) fn check_payments(&self) -> Result<(), Contradiction> {
        let mut booked: BTreeMap<&str, u64> = BTreeMap::new();
        for event in self.changes.values().flat_map(BTreeMap::values) {
            if let Some(payment) = &event.payment {
                *booked.entry(payment).or_default() += 1;
            }
        }
        for payment in self.history.payments.iter().filter(|it| self.created(&it.order).is_some()) {
            let times = booked.get(payment.id.as_str()).copied().unwrap_or_default();
            require(times == 1, || format!("{payment:?} is booked {times} times"))?;
        }
        Ok(())
    }
}

fn same_order(one: &Event, other: &Event) -> bool {
    one.buyer == other.buyer
        && one.ticket == other.ticket
        && one.price_cents == other.price_cents
        && one.expires_at_ms == other.expires_at_ms
}

/// Whether the fixed fields of an order agree.
fn same_terms(one: &OrderView, other: &OrderView) -> bool {
    one.ticket == other.ticket
        && one.ticket_version == other.ticket_version
        && one.price_cents == other.price_cents
        && one.title == other.title
        && one.expires_at_ms == other.expires_at_ms
}

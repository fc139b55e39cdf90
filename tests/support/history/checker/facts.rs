//! What can be said record by record, and the indexes that the rest needs.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Answer, Asked, Charge, Event, History, OrderSeen, Request},
    Contradiction, contradiction, require,
};

/// A history, indexed.
pub(super) struct Facts<'a> {
    pub(super) history: &'a History,
    /// The first event of each version of each order.
    pub(super) changes: BTreeMap<&'a str, BTreeMap<u64, &'a Event>>,
    /// How each order was first shown.
    pub(super) shown: BTreeMap<&'a str, &'a OrderSeen>,
    pub(super) charges: BTreeMap<&'a str, &'a Charge>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(history: &'a History) -> Result<Self, Contradiction> {
        let mut facts = Self {
            history,
            changes: BTreeMap::new(),
            shown: BTreeMap::new(),
            charges: history.charges.iter().map(|it| (it.payment.as_str(), it)).collect(),
        };
        for event in &history.events {
            facts.heard(event)?;
        }
        for request in &history.requests {
            facts.answered(request)?;
        }
        facts.one_key_one_order()?;
        Ok(facts)
    }

    pub(super) fn tickets(&self) -> BTreeSet<&'a str> {
        self.history.tickets.iter().map(|said| said.ticket.as_str()).collect()
    }

    /// The order's first event.
    pub(super) fn created(&self, order: &str) -> Option<&'a Event> {
        self.changes.get(order)?.get(&0).copied()
    }

    /// An order's versions are told one after the other, and told again as they were.
    fn heard(&mut self, event: &'a Event) -> Result<(), Contradiction> {
        let versions = self.changes.entry(&event.order).or_default();
        let next = versions.len() as u64;
        let Some(first) = versions.get(&event.version) else {
            require(event.version == next, || format!("{event:?} comes before version {next}"))?;
            require((event.kind == "OrderCreated") == (next == 0), || {
                format!("{event:?} is not how an order begins or goes on")
            })?;
            let before = versions.get(&0).copied();
            require(before.is_none_or(|before| same_order(before, event)), || {
                format!("{event:?} is about another order than {before:?}")
            })?;
            versions.insert(next, event);
            return Ok(());
        };
        let again = Event { at_ms: first.at_ms, ..event.clone() };
        require(again == **first, || format!("{event:?} was told before as {first:?}"))
    }

    fn answered(&mut self, request: &'a Request) -> Result<(), Contradiction> {
        let Request { buyer, asked, answer, .. } = request;
        let orders = match answer {
            Answer::Order(order) => std::slice::from_ref(order),
            Answer::Orders(orders) => orders.as_slice(),
            Answer::Cancelled
            | Answer::Reserved
            | Answer::Sold
            | Answer::NoSuchTicket
            | Answer::NoSuchOrder
            | Answer::KeyReused
            | Answer::OrderPaid
            | Answer::Unknown => &[],
        };
        for order in orders {
            require(order.buyer == *buyer, || format!("{buyer} is shown {order:?}"))?;
            self.fits_its_ticket(order)?;
            let first = *self.shown.entry(&order.order).or_insert(order);
            require(same_terms(first, order), || format!("{order:?} was {first:?} before"))?;
        }
        match (asked, answer) {
            (Asked::Place { ticket, .. }, Answer::Order(order)) => {
                require(order.ticket == *ticket, || format!("{asked:?} got {order:?}"))
            }
            (Asked::Show { order }, Answer::Order(seen)) => {
                require(seen.order == *order, || format!("{asked:?} got {seen:?}"))
            }
            (Asked::Cancel { order }, Answer::Cancelled | Answer::OrderPaid) => {
                let owner = self.created(order).map(|created| created.buyer.as_str());
                require(owner.is_none_or(|owner| owner == buyer), || {
                    format!("{buyer} got {answer:?} for an order of {owner:?}")
                })
            }
            _ => Ok(()),
        }
    }

    /// An order shows what the ticket service said of that version.
    fn fits_its_ticket(&self, order: &OrderSeen) -> Result<(), Contradiction> {
        let said = self.history.tickets.iter().any(|said| {
            said.ticket == order.ticket
                && said.version == order.ticket_version
                && said.title == order.title
                && said.price_cents == order.price_cents
        });
        require(said, || format!("nobody said what {order:?} says of its ticket"))
    }

    /// Every sending of one key gets the same order; a key is refused only if it was used for
    /// another ticket.
    fn one_key_one_order(&self) -> Result<(), Contradiction> {
        let mut orders: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        let mut without_key = BTreeSet::new();
        for Request { buyer, asked, answer, to_ms, .. } in &self.history.requests {
            let Asked::Place { ticket, key } = asked else { continue };
            match (key, answer) {
                (Some(key), Answer::Order(order)) => {
                    let first = *orders.entry((buyer, key)).or_insert(&order.order);
                    require(first == order.order, || {
                        format!("key {key} of {buyer} has {first} and {}", order.order)
                    })?;
                }
                (None, Answer::Order(order)) => {
                    let is_new = without_key.insert(&order.order);
                    require(is_new, || format!("two requests of {buyer} got {}", order.order))?;
                }
                (Some(key), Answer::KeyReused) => {
                    let used = self
                        .uses(buyer, key)
                        .any(|(other, from_ms)| other != ticket && from_ms <= *to_ms);
                    require(used, || format!("key {key} of {buyer} was refused when it was new"))?;
                }
                (None, Answer::KeyReused) => return contradiction("no key, but it was reused"),
                _ => {}
            }
        }
        Ok(())
    }

    /// For which tickets a buyer's key was sent, and when.
    fn uses(&self, buyer: &str, key: &str) -> impl Iterator<Item = (&'a String, u64)> {
        self.history.requests.iter().filter_map(move |request| match &request.asked {
            Asked::Place { ticket, key: Some(used) } if request.buyer == buyer && used == key => {
                Some((ticket, request.from_ms))
            }
            _ => None,
        })
    }

    /// Every charge for an order that there is has bought it or is to be given back, and no other.
    pub(super) fn every_charge_is_booked_once(&self) -> Result<(), Contradiction> {
        let mut booked: BTreeMap<&str, u64> = BTreeMap::new();
        for event in self.changes.values().flat_map(BTreeMap::values) {
            if let Some(payment) = &event.payment {
                *booked.entry(payment).or_default() += 1;
            }
        }
        for charge in self.history.charges.iter().filter(|it| self.created(&it.order).is_some()) {
            let times = booked.get(charge.payment.as_str()).copied().unwrap_or_default();
            require(times == 1, || format!("{charge:?} is booked {times} times"))?;
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

/// What never changes of an order.
fn same_terms(one: &OrderSeen, other: &OrderSeen) -> bool {
    one.ticket == other.ticket
        && one.ticket_version == other.ticket_version
        && one.price_cents == other.price_cents
        && one.title == other.title
        && one.expires_at_ms == other.expires_at_ms
}

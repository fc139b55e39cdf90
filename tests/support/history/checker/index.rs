//! Checks of single records, and the indexes for the search.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Event, History, Operation, OrderView, Outcome, Payment, Refund, Request},
    Contradiction, contradiction, require,
};

/// An indexed history.
pub(super) struct Index<'a> {
    pub(super) history: &'a History,
    /// First event of each version of each order.
    pub(super) changes: BTreeMap<&'a str, BTreeMap<u64, &'a Event>>,
    /// First response with each order.
    pub(super) first_views: BTreeMap<&'a str, &'a OrderView>,
    /// Payments by payment id and order id.
    pub(super) payments: BTreeMap<(&'a str, &'a str), &'a Payment>,
    /// Times of the responses with a new order.
    pub(super) placed_ms: BTreeMap<&'a str, u64>,
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History) -> Result<Self, Contradiction> {
        let mut index = Self {
            history,
            changes: BTreeMap::new(),
            first_views: BTreeMap::new(),
            payments: history
                .payments
                .iter()
                .map(|it| ((it.id.as_str(), it.order.as_str()), it))
                .collect(),
            placed_ms: BTreeMap::new(),
        };
        for event in &history.events {
            index.add_event(event)?;
        }
        for request in &history.requests {
            index.add_request(request)?;
        }
        index.check_keys()?;
        index.check_placements()?;
        Ok(index)
    }

    pub(super) fn tickets(&self) -> BTreeSet<&'a str> {
        self.history.tickets.iter().map(|version| version.ticket.as_str()).collect()
    }

    /// Returns the first event of an order.
    pub(super) fn created(&self, order: &str) -> Option<&'a Event> {
        self.changes.get(order)?.get(&0).copied()
    }

    /// Checks that versions ascend without a gap and that a repeated event has the same content.
    fn add_event(&mut self, event: &'a Event) -> Result<(), Contradiction> {
        let versions = self.changes.entry(&event.order).or_default();
        let next = versions.len() as u64;
        let Some(first) = versions.get(&event.version) else {
            require(event.version == next, || format!("{event:?} arrived before version {next}"))?;
            require(is_first(event) == (next == 0), || {
                format!("{event:?} has the wrong type for its version")
            })?;
            let before = next.checked_sub(1).and_then(|last| versions.get(&last)).copied();
            require(before.is_none_or(|before| same_order(before, event)), || {
                format!("{event:?} differs from {before:?}")
            })?;
            let is_repeated = versions.values().any(|earlier| is_repetition(earlier, event));
            require(!is_repeated, || format!("{event:?} is a second change of its kind"))?;
            versions.insert(next, event);
            return Ok(());
        };
        let again = Event { at_ms: first.at_ms, ..event.clone() };
        require(again == **first, || format!("{event:?} differs from its first delivery {first:?}"))
    }

    fn add_request(&mut self, request: &'a Request) -> Result<(), Contradiction> {
        let Request { buyer, operation, outcome, .. } = request;
        for order in outcome.orders() {
            require(order.buyer == *buyer, || {
                format!("{buyer} got the order of another buyer: {order:?}")
            })?;
            self.check_ticket_fields(order)?;
            let first = *self.first_views.entry(&order.order).or_insert(order);
            require(same_terms(first, order), || {
                format!("{order:?} differs from the earlier {first:?}")
            })?;
        }
        if let Outcome::Placed(order) = outcome {
            self.placed_ms.insert(&order.order, request.to_ms);
        }
        match (operation, outcome) {
            (Operation::Place { ticket, version, .. }, Outcome::Placed(order)) => {
                let is_wanted = version.is_none_or(|version| version == order.ticket_version);
                require(order.ticket == *ticket && is_wanted, || {
                    format!("{operation:?} got {order:?}")
                })
            }
            (Operation::Place { ticket, .. }, Outcome::Order(order)) => {
                require(order.ticket == *ticket, || format!("{operation:?} got {order:?}"))
            }
            (Operation::Place { version, .. }, Outcome::TicketChanged { version: shown }) => {
                let is_other = version.is_some_and(|version| version != *shown);
                require(is_other, || format!("{operation:?} got {outcome:?}"))
            }
            (Operation::Show { order }, Outcome::Order(view)) => {
                require(view.order == *order, || format!("{operation:?} got {view:?}"))
            }
            (Operation::Cancel { order }, Outcome::OrderPaid)
                if self.created(order).is_some_and(|created| created.price_cents == 0) =>
            {
                contradiction(format!("{buyer} cannot give the free ticket of {order} back"))
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
                && version.offer.as_ref().is_some_and(|offer| {
                    offer.title == order.title && offer.price_cents == order.price_cents
                })
        });
        require(published, || format!("unpublished ticket fields in {order:?}"))
    }

    /// Checks that a request with the key of an earlier order gets this order, and that 422 occurs
    /// only after a use of the key for another ticket.
    fn check_keys(&self) -> Result<(), Contradiction> {
        let placed: BTreeMap<_, _> = self.placements().collect();
        for Request { buyer, operation, outcome, from_ms, to_ms } in &self.history.requests {
            let Operation::Place { ticket, key, .. } = operation else { continue };
            match (key, outcome) {
                (Some(key), Outcome::Placed(order) | Outcome::Order(order)) => {
                    let Some((first, placed_ms)) = placed.get(&(buyer, key)) else { continue };
                    // Before the key has an order, a buyer gets the order that holds the ticket.
                    require(*first == order.order || from_ms <= placed_ms, || {
                        format!("key {key} of {buyer} has two orders: {first} and {}", order.order)
                    })?;
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
                (Some(_), Outcome::Unknown) | (None, _) => {}
                (Some(key), refusal) => {
                    let earlier = placed.get(&(buyer, key));
                    require(earlier.is_none_or(|(_, placed_ms)| from_ms <= placed_ms), || {
                        format!("key {key} of {buyer} has {earlier:?} and got {refusal:?}")
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Returns the order that each key of a buyer placed, with the time of the response.
    fn placements(&self) -> impl Iterator<Item = ((&String, &String), (&str, u64))> {
        self.history.requests.iter().filter_map(|request| {
            match (&request.operation, &request.outcome) {
                (Operation::Place { key: Some(key), .. }, Outcome::Placed(order)) => {
                    Some(((&request.buyer, key), (order.order.as_str(), request.to_ms)))
                }
                _ => None,
            }
        })
    }

    /// Checks that each order is new to one request at most, and that a key places one order. A new
    /// order can have changed before a slow call answers.
    fn check_placements(&self) -> Result<(), Contradiction> {
        let (mut orders, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for Request { buyer, operation, outcome, .. } in &self.history.requests {
            let Outcome::Placed(order) = outcome else { continue };
            let is_new = orders.insert(&order.order);
            require(is_new, || format!("{buyer} got {order:?} as a new order"))?;
            if let Operation::Place { key: Some(key), .. } = operation {
                let is_first = keys.insert((buyer, key));
                require(is_first, || format!("key {key} of {buyer} has two orders"))?;
            }
        }
        Ok(())
    }

    /// Returns the tickets requested with a key, with the times of the requests.
    fn uses_of_key(&self, buyer: &str, key: &str) -> impl Iterator<Item = (&'a String, u64)> {
        self.history.requests.iter().filter_map(move |request| match &request.operation {
            Operation::Place { ticket, key: Some(used), .. }
                if request.buyer == buyer && used == key =>
            {
                Some((ticket, request.from_ms))
            }
            _ => None,
        })
    }

    /// Checks that every payment of an existing order is booked exactly once, for one order.
    pub(super) fn check_payments(&self) -> Result<(), Contradiction> {
        let mut booked: BTreeMap<&str, u64> = BTreeMap::new();
        for event in self.changes.values().flat_map(BTreeMap::values) {
            if let Some(payment) = booked_payment(event) {
                *booked.entry(payment).or_default() += 1;
            }
        }
        for payment in &self.history.payments {
            let Some(created) = self.created(&payment.order) else { continue };
            let times = booked.get(payment.id.as_str()).copied().unwrap_or_default();
            // A payment of nothing for a free ticket needs no result.
            let is_nothing = created.price_cents == 0 && payment.amount_cents == Some(0);
            require(times == 1 || times == 0 && is_nothing, || {
                format!("{payment:?} is booked {times} times")
            })?;
        }
        Ok(())
    }

    /// Checks that every refund of a whole payment is published once by the order that booked it.
    pub(super) fn check_refunds(&self) -> Result<(), Contradiction> {
        for refund in &self.history.refunds {
            let Some(versions) = self.changes.get(refund.order.as_str()) else { continue };
            let about = |event: &&&Event| event.payment.as_ref() == Some(&refund.payment);
            let booked = versions.values().filter(about).find(|it| booked_payment(it).is_some());
            let is_whole = booked.is_some_and(|booked| self.is_whole(refund, booked.price_cents));
            let is_known = versions.values().filter(about).any(|event| is_refund_made(event));
            require(!is_whole || is_known, || format!("{refund:?} is not published"))?;
        }
        Ok(())
    }

    /// Returns the refunds of this whole payment of an order at this price.
    pub(super) fn whole_refunds(&self, event: &Event) -> impl Iterator<Item = &'a Refund> {
        let refunds = self.history.refunds.iter().filter(|refund| {
            refund.order == event.order && Some(&refund.payment) == event.payment.as_ref()
        });
        refunds.filter(|refund| self.is_whole(refund, event.price_cents))
    }

    fn is_whole(&self, refund: &Refund, price_cents: u64) -> bool {
        let payment = self.payments.get(&(refund.payment.as_str(), refund.order.as_str()));
        let charge = payment.and_then(|payment| payment.amount_cents).unwrap_or(price_cents);
        refund.amount_cents.is_none_or(|amount| amount >= charge)
    }
}

fn same_order(one: &Event, other: &Event) -> bool {
    one.buyer == other.buyer
        && one.ticket == other.ticket
        && one.price_cents == other.price_cents
        && match other.kind.as_str() {
            "OrderExtended" => one.expires_at_ms < other.expires_at_ms,
            _ => one.expires_at_ms == other.expires_at_ms,
        }
}

/// Whether the event is the first one of an order. An order for a free ticket is paid at once.
fn is_first(event: &Event) -> bool {
    match event.kind.as_str() {
        "OrderCreated" => event.price_cents > 0,
        "OrderPaid" => event.price_cents == 0 && event.payment.is_none(),
        _ => false,
    }
}

/// Whether the order can have only one of these two changes.
fn is_repetition(earlier: &Event, event: &Event) -> bool {
    match event.kind.as_str() {
        "OrderExtended" => earlier.kind == event.kind,
        _ if is_refund_made(event) => is_refund_made(earlier) && earlier.payment == event.payment,
        _ => false,
    }
}

fn is_refund_made(event: &Event) -> bool {
    matches!(event.kind.as_str(), "OrderRefunded" | "OrderRefundSettled")
}

/// The payment that the event books.
fn booked_payment(event: &Event) -> Option<&str> {
    let books = matches!(event.kind.as_str(), "OrderPaid" | "OrderRefundDue");
    event.payment.as_deref().filter(|_| books)
}

/// Whether the fixed fields of an order agree.
fn same_terms(one: &OrderView, other: &OrderView) -> bool {
    one.ticket == other.ticket
        && one.ticket_version == other.ticket_version
        && one.price_cents == other.price_cents
        && one.title == other.title
}

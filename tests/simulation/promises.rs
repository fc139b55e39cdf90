//! The promises that hold at every instant, checked after each write, answer and event on rows kept
//! apart from the store.

mod answers;
mod ending;
mod orders;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use orders_domain::{Lock, Order, OrderId, Status, Ticket, TicketId, TicketReplica, Timestamp};
use orders_tests::history::{Charge, Event};

use crate::{coverage::Observed, queues::QueueName};

/// What has been seen of a run, and the first promise that was broken in it.
pub(crate) struct Promises {
    pub(crate) broken: Option<String>,
    /// Messages that make no sense.
    pub(crate) poison: Vec<(QueueName, String)>,
    hold: Duration,
    orders: BTreeMap<OrderId, Order>,
    /// Every version of every order.
    committed: BTreeMap<(String, u64), Order>,
    tickets: BTreeMap<TicketId, TicketReplica>,
    said: BTreeMap<(TicketId, u64), Ticket>,
    /// How often the event of a ticket's version was received, at most.
    received: BTreeMap<String, u32>,
    said_by: BTreeMap<(TicketId, u64), String>,
    /// What each request for an order was for, by its correlation id.
    wanted: BTreeMap<String, Wanted>,
    /// The order that a buyer's key has placed.
    by_key: BTreeMap<(String, String), OrderId>,
    /// Orders whose owner wants them cancelled.
    cancels: BTreeSet<String>,
    charges: BTreeMap<String, String>,
    /// The next version to be published of each order.
    published: BTreeMap<String, u64>,
    /// When each order was placed, by the true clock.
    placed_at_ms: BTreeMap<OrderId, u64>,
    /// How many writes there were.
    pub(crate) writes: u64,
}

/// A request for an order.
struct Wanted {
    buyer: String,
    ticket: String,
    key: Option<String>,
    order: Option<OrderId>,
}

/// Which write it was.
pub(crate) enum Write {
    /// An order was placed, as of this moment.
    Placement { at: Timestamp },
    /// An order was changed, at this moment by its function's clock.
    Transition { at: Timestamp },
}

/// What a write has done to one order.
pub(crate) struct Change {
    pub(crate) before: Option<Order>,
    pub(crate) after: Order,
    pub(crate) what: Observed,
}

impl Promises {
    pub(crate) fn new(hold: Duration) -> Self {
        Self {
            broken: None,
            poison: Vec::new(),
            hold,
            orders: BTreeMap::new(),
            committed: BTreeMap::new(),
            tickets: BTreeMap::new(),
            said: BTreeMap::new(),
            received: BTreeMap::new(),
            said_by: BTreeMap::new(),
            wanted: BTreeMap::new(),
            by_key: BTreeMap::new(),
            cancels: BTreeSet::new(),
            charges: BTreeMap::new(),
            published: BTreeMap::new(),
            placed_at_ms: BTreeMap::new(),
            writes: 0,
        }
    }

    fn broke(&mut self, what: impl Into<String>) {
        self.broken.get_or_insert(what.into());
    }

    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broke(what());
        }
    }

    pub(crate) fn order_ids(&self) -> Vec<String> {
        self.orders.keys().map(OrderId::to_string).collect()
    }

    /// When the next hold lapses.
    pub(crate) fn next_lapse_ms(&self, now_ms: u64) -> Option<u64> {
        let locks = self.tickets.values().map(|replica| replica.lock);
        let lapses = locks.filter_map(|lock| match lock {
            Lock::Held { until, .. } => Some(until.epoch_ms()),
            Lock::Free | Lock::Sold { .. } => None,
        });
        lapses.filter(|at_ms| *at_ms > now_ms + 2).min()
    }

    pub(crate) fn charged(&mut self, charge: &Charge) {
        self.charges.insert(charge.payment.clone(), charge.order.clone());
    }

    pub(crate) fn cancel_wanted(&mut self, buyer: &str, order: &str) {
        let id = order.parse().ok();
        let owner = id.and_then(|id: OrderId| self.orders.get(&id)).map(|order| &order.user_id);
        if owner.is_some_and(|owner| owner.as_str() == buyer) {
            self.cancels.insert(order.to_owned());
        }
    }

    /// Notes a request for an order. Returns its correlation id.
    pub(crate) fn order_wanted(&mut self, buyer: &str, ticket: &str, key: Option<&str>) -> String {
        let correlation_id = format!("request-{}", self.wanted.len());
        let wanted = Wanted {
            buyer: buyer.to_owned(),
            ticket: ticket.to_owned(),
            key: key.map(str::to_owned),
            order: None,
        };
        self.wanted.insert(correlation_id.clone(), wanted);
        correlation_id
    }

    pub(crate) fn ticket_said(&mut self, ticket: Ticket, body: &str) {
        let key = (ticket.id.clone(), ticket.version.number());
        self.said_by.insert(key.clone(), body.to_owned());
        self.said.insert(key, ticket);
    }

    pub(crate) fn ticket_received(&mut self, body: &str, receive_count: u32) {
        let most = self.received.entry(body.to_owned()).or_default();
        *most = receive_count.max(*most);
    }

    /// Promise 10, and that a ticket event never touches the lock.
    pub(crate) fn ticket_applied(
        &mut self,
        applied: bool,
        ticket: &Ticket,
        now: Option<TicketReplica>,
    ) {
        self.writes += 1;
        let before = self.tickets.get(&ticket.id).cloned();
        let Some(now) = now else {
            return self.require(before.is_none() && !applied, || "a ticket is gone".to_owned());
        };
        let lock = before.as_ref().map_or(Lock::Free, |before| before.lock);
        self.require(now.lock == lock, || {
            format!("promise 2: a ticket event makes {lock:?} of {} {:?}", ticket.id, now.lock)
        });
        if !applied {
            return self.require(before.as_ref() == Some(&now), || {
                format!("a refused event changes {}", ticket.id)
            });
        }
        let key = (ticket.id.clone(), ticket.version.number());
        let said = self.said.get(&key) == Some(&now.ticket);
        self.require(said, || format!("nobody said that {:?}", now.ticket));
        let newer = before.as_ref().is_none_or(|before| before.ticket.version < now.ticket.version);
        self.require(newer, || format!("promise 10: {} goes back", ticket.id));
        let next = match &before {
            Some(before) => now.ticket.version.previous() == Some(before.ticket.version),
            None => now.ticket.version.number() == 0,
        };
        let body = self.said_by.get(&key).cloned().unwrap_or_default();
        let received = self.received.get(&body).copied().unwrap_or_default();
        self.require(next || received >= 3, || {
            format!("{key:?} is applied over a gap when received {received} times")
        });
        self.tickets.insert(ticket.id.clone(), now);
    }

    /// Promise 9. Says whether it is news.
    pub(crate) fn published(&mut self, event: &Event) -> bool {
        let key = (event.order.clone(), event.version);
        let Some(order) = self.committed.get(&key).cloned() else {
            self.broke(format!("promise 9: {key:?} is published and was not committed"));
            return true;
        };
        self.require(told_rightly(event, &order), || format!("{event:?} tells of {order:?}"));
        let next = self.published.entry(event.order.clone()).or_default();
        let (expected, news) = (*next, event.version >= *next);
        *next = expected.max(event.version + 1);
        self.require(event.version <= expected, || {
            format!("promise 9: {key:?} is published before version {expected}")
        });
        news
    }
}

fn told_rightly(event: &Event, order: &Order) -> bool {
    let refund = order.refunds_due.last().map(|refund| refund.payment_id.as_str());
    let kind = match &order.status {
        _ if event.kind == "OrderRefundDue" => event.payment.as_deref() == refund,
        Status::AwaitingPayment => event.kind == "OrderCreated" && event.version == 0,
        Status::Paid { payment_id } => {
            event.kind == "OrderPaid" && event.payment.as_deref() == Some(payment_id.as_str())
        }
        Status::Cancelled => event.kind == "OrderCancelled",
        Status::Expired => event.kind == "OrderExpired",
    };
    kind && event.status == order.status.name()
        && event.buyer == order.user_id.as_str()
        && event.ticket == order.ticket.id.as_str()
        && event.price_cents == order.ticket.price.minor()
        && event.expires_at_ms == order.expires_at.epoch_ms()
}

//! Checks of the promises after each write, response and event, on copies of the rows.

mod ending;
mod orders;
mod payments;
mod refunds;
mod responses;
mod retention;
mod slots;
mod traces;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use orders_domain::{
    BookedPayment, Lock, Order, OrderId, PaymentId, RefundState, Sale, Slots, Status, TicketId,
    TicketReplica, Timestamp, UserId,
};
use orders_tests::history::{Event, Payment, PaymentStart, Refund};

use self::retention::Forgotten;
use crate::{coverage::Observed, plan::Plan, queues::QueueName};

pub(crate) use traces::traceparent;

/// Observations of a run, and the first violated promise.
pub(crate) struct Promises {
    pub(crate) violation: Option<String>,
    /// Invalid messages.
    pub(crate) poison: Vec<(QueueName, String)>,
    hold: Duration,
    holds_per_buyer: u8,
    late_limit: Duration,
    time_to_pay: Duration,
    skew_ms: u64,
    orders: BTreeMap<OrderId, Order>,
    /// Orders that are stored no more, each with the earlier orders of its id.
    forgotten: BTreeMap<OrderId, Vec<Forgotten>>,
    /// Messages about an earlier order with the id of a stored one.
    done_messages: BTreeSet<String>,
    /// Every version of every order.
    committed: BTreeMap<(String, u64), Order>,
    tickets: BTreeMap<TicketId, TicketReplica>,
    /// Tickets whose lock a restore has left, until it is repaired.
    damaged: BTreeMap<TicketId, Lock>,
    /// Every sale and lock of each ticket, with the time of the write.
    ticket_states: BTreeMap<TicketId, Vec<(u64, Sale, Lock)>>,
    /// Every state of the slots of each buyer, with the time of the write.
    slot_states: BTreeMap<UserId, Vec<(u64, Slots)>>,
    /// Orders whose slot was taken over after its end.
    without_slot: BTreeSet<OrderId>,
    published_tickets: BTreeMap<(TicketId, u64), Sale>,
    /// Highest receive count of each ticket event.
    received: BTreeMap<String, u32>,
    ticket_messages: BTreeMap<(TicketId, u64), String>,
    /// Messages with a published version and other content.
    contradictions: BTreeMap<String, Sale>,
    /// Requests for an order, by correlation id.
    requested: BTreeMap<String, RequestedOrder>,
    /// Order of each buyer and key.
    by_key: BTreeMap<(String, String), OrderId>,
    /// Orders with a cancel request of their owner.
    cancel_requests: BTreeSet<String>,
    /// Payments by payment id and order id, with their messages.
    payments: BTreeMap<(String, String), (Payment, String)>,
    /// Starts of payments, with their messages.
    starts: Vec<(PaymentStart, String)>,
    /// Refunds made by the payment service, with their messages.
    refunds: Vec<(Refund, String)>,
    /// Rows of the payments table.
    booked: BTreeMap<PaymentId, BookedPayment>,
    /// Next version of each order to be published.
    published: BTreeMap<String, u64>,
    /// `traceparent` of each published event, by order and version.
    traces: BTreeMap<(String, u64), Option<String>>,
    /// Time of each placement, by the true clock.
    placed_at_ms: BTreeMap<OrderId, u64>,
    /// Time from which each live order has its ticket, by the true clock.
    live_since_ms: BTreeMap<OrderId, u64>,
    /// Number of writes.
    pub(crate) writes: u64,
}

/// A request for an order.
struct RequestedOrder {
    buyer: String,
    ticket: String,
    key: Option<String>,
    version: Option<u64>,
    order: Option<OrderId>,
}

/// A write of orders.
pub(crate) enum Write {
    /// A placement, at this time of the function's clock.
    Placement { at: Timestamp },
    /// A transition of a command, at this time of the function's clock, with the stored row of the
    /// payment that it books.
    Transition { command: CommandTime, at: Timestamp, booked: Option<BookedPayment> },
    /// A write of a lock alone.
    Lock,
}

/// Time at which a command began.
#[derive(Clone, Copy)]
pub(crate) struct CommandTime {
    /// True time, in epoch milliseconds.
    pub(crate) since_ms: u64,
    /// Time of the function's clock: the time of the command.
    pub(crate) now: Timestamp,
}

/// Effect of a write on an order.
pub(crate) struct Change {
    pub(crate) before: Option<Order>,
    pub(crate) after: Order,
    pub(crate) observed: Vec<Observed>,
}

impl Promises {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            violation: None,
            poison: Vec::new(),
            hold: plan.hold,
            holds_per_buyer: plan.holds_per_buyer,
            late_limit: plan.late_limit,
            time_to_pay: plan.time_to_pay,
            skew_ms: plan.skew_ms.unsigned_abs(),
            orders: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            done_messages: BTreeSet::new(),
            committed: BTreeMap::new(),
            tickets: BTreeMap::new(),
            damaged: BTreeMap::new(),
            ticket_states: BTreeMap::new(),
            slot_states: BTreeMap::new(),
            without_slot: BTreeSet::new(),
            published_tickets: BTreeMap::new(),
            received: BTreeMap::new(),
            ticket_messages: BTreeMap::new(),
            contradictions: BTreeMap::new(),
            requested: BTreeMap::new(),
            by_key: BTreeMap::new(),
            cancel_requests: BTreeSet::new(),
            payments: BTreeMap::new(),
            starts: Vec::new(),
            refunds: Vec::new(),
            booked: BTreeMap::new(),
            traces: BTreeMap::new(),
            published: BTreeMap::new(),
            placed_at_ms: BTreeMap::new(),
            live_since_ms: BTreeMap::new(),
            writes: 0,
        }
    }

    pub(crate) fn report(&mut self, violation: impl Into<String>) {
        self.violation.get_or_insert(violation.into());
    }

    pub(crate) fn require(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        if !holds {
            self.report(violation());
        }
    }

    pub(crate) fn order_ids(&self) -> Vec<String> {
        self.orders.keys().map(OrderId::to_string).collect()
    }

    /// Returns the end of the next hold.
    pub(crate) fn next_lapse_ms(&self, now_ms: u64) -> Option<u64> {
        let locks = self.tickets.values().map(|replica| replica.lock);
        let lapses = locks.filter_map(|lock| match lock {
            Lock::Held { until, .. } => Some(until.epoch_ms()),
            Lock::Free | Lock::Sold { .. } => None,
        });
        lapses.filter(|at_ms| *at_ms > now_ms + 2).min()
    }

    pub(crate) fn cancel_requested(&mut self, buyer: &str, order: &str) {
        let id = order.parse().ok();
        let owner = id.and_then(|id: OrderId| self.orders.get(&id)).map(|order| &order.user_id);
        if owner.is_some_and(|owner| owner.as_str() == buyer) {
            self.cancel_requests.insert(order.to_owned());
        }
    }

    /// Records a request for an order. Returns its correlation id.
    pub(crate) fn order_requested(
        &mut self,
        buyer: &str,
        ticket: &str,
        key: Option<&str>,
        version: Option<u64>,
    ) -> String {
        let correlation_id = format!("request-{}", self.requested.len());
        let order = RequestedOrder {
            buyer: buyer.to_owned(),
            ticket: ticket.to_owned(),
            key: key.map(str::to_owned),
            version,
            order: None,
        };
        self.requested.insert(correlation_id.clone(), order);
        correlation_id
    }

    pub(crate) fn ticket_published(&mut self, sale: Sale, body: &str) {
        let key = (sale.id().clone(), sale.version().number());
        self.ticket_messages.insert(key.clone(), body.to_owned());
        self.published_tickets.insert(key, sale);
    }

    /// Returns the newest published version of a ticket.
    pub(crate) fn newest_version(&self, ticket: &str) -> Option<u64> {
        let published = self.published_tickets.keys();
        published.filter(|(id, _)| id.as_str() == ticket).map(|(_, version)| *version).max()
    }

    /// Whether the replica of the ticket is this version.
    pub(crate) fn replica_has(&self, sale: &Sale) -> bool {
        self.tickets.get(sale.id()).is_some_and(|replica| replica.sale == *sale)
    }

    pub(crate) fn ticket_contradicted(&mut self, sale: &Sale, body: &str) {
        self.contradictions.insert(body.to_owned(), sale.clone());
    }

    pub(crate) fn is_contradiction(&self, body: &str) -> bool {
        self.contradictions.contains_key(body)
    }

    pub(crate) fn ticket_received(&mut self, body: &str, receive_count: u32) {
        let most = self.received.entry(body.to_owned()).or_default();
        *most = receive_count.max(*most);
    }

    /// Checks promise 10, and that a ticket event keeps the lock.
    pub(crate) fn ticket_applied(
        &mut self,
        applied: bool,
        sale: &Sale,
        now: Option<TicketReplica>,
        now_ms: u64,
    ) {
        self.writes += 1;
        let (id, version) = (sale.id(), sale.version());
        let before = self.tickets.get(id).cloned();
        let Some(now) = now else {
            return self.require(before.is_none() && !applied, || "a ticket is missing".to_owned());
        };
        let lock = before.as_ref().map_or(Lock::Free, |before| before.lock);
        self.require(now.lock == lock, || {
            format!("promise 2: a ticket event changed {lock:?} of {id} to {:?}", now.lock)
        });
        if !applied {
            return self.require(before.as_ref() == Some(&now), || {
                format!("a refused event changed {id}")
            });
        }
        let key = (id.clone(), version.number());
        let known = self.published_tickets.get(&key) == Some(&now.sale) && now.sale == *sale;
        self.require(known, || format!("promise 10: unpublished version {:?}", now.sale));
        let newer = before.as_ref().is_none_or(|before| before.sale.version() < version);
        self.require(newer, || format!("promise 10: the version of {id} decreased"));
        let next = match &before {
            Some(before) => version.previous() == Some(before.sale.version()),
            None => version.number() == 0,
        };
        let body = self.ticket_messages.get(&key).cloned().unwrap_or_default();
        let received = self.received.get(&body).copied().unwrap_or_default();
        self.require(next || received >= 3, || {
            format!("{key:?} was applied over a gap on receive {received}")
        });
        self.set_ticket(now, now_ms);
    }

    /// Records that a restore has left a lapsed lock.
    pub(crate) fn lock_damaged(&mut self, replica: TicketReplica, now_ms: u64) {
        self.damaged.insert(replica.sale.id().clone(), replica.lock);
        self.set_ticket(replica, now_ms);
    }

    pub(crate) fn any_damaged_lock(&self) -> bool {
        !self.damaged.is_empty()
    }

    pub(crate) fn has_forgotten(&self) -> bool {
        !self.forgotten.is_empty()
    }

    /// The lock that agrees with the orders, if a restore has left another one.
    fn true_lock(&self, replica: &TicketReplica) -> Lock {
        if !self.damaged.contains_key(replica.sale.id()) {
            return replica.lock;
        }
        let named = replica.lock.holder().and_then(|by| self.orders.get(&by));
        let live = named.filter(|order| order.status.is_live());
        live.map_or(Lock::Free, |order| Lock::Sold { to: order.id })
    }

    fn set_ticket(&mut self, replica: TicketReplica, now_ms: u64) {
        let id = replica.sale.id().clone();
        let state = (now_ms, replica.sale.clone(), self.true_lock(&replica));
        self.ticket_states.entry(id.clone()).or_default().push(state);
        self.tickets.insert(id, replica);
    }

    /// Checks promise 9. Returns `false` for a repeated event.
    pub(crate) fn published(&mut self, event: &Event) -> bool {
        let key = (event.order.clone(), event.version);
        let Some(order) = self.committed.get(&key).cloned() else {
            self.report(format!("promise 9: {key:?} was published and not committed"));
            return true;
        };
        let earlier = event.version.checked_sub(1).map(|version| (event.order.clone(), version));
        let earlier = earlier.and_then(|key| self.committed.get(&key)).cloned();
        let matches = event_matches(event, &order)
            && (event.kind.as_str(), event.payment.as_deref())
                == kind_and_payment(earlier.as_ref(), &order);
        self.require(matches, || format!("promise 9: {event:?} does not match {order:?}"));
        let next = self.published.entry(event.order.clone()).or_default();
        let (expected, is_new) = (*next, event.version >= *next);
        *next = expected.max(event.version + 1);
        self.require(event.version <= expected, || {
            format!("promise 9: {key:?} was published before version {expected}")
        });
        is_new
    }
}

fn event_matches(event: &Event, order: &Order) -> bool {
    event.status == order.status.name()
        && event.buyer == order.user_id.as_str()
        && event.ticket == order.ticket.id.as_str()
        && event.price_cents == order.ticket.price.minor()
        && event.expires_at_ms == order.expires_at.epoch_ms()
}

/// Type of the event of a change, and the payment that it is about.
fn kind_and_payment<'a>(
    before: Option<&Order>,
    after: &'a Order,
) -> (&'static str, Option<&'a str>) {
    if let Some(before) = before {
        let is_new = |payment: &PaymentId, state| {
            !before.refunds_due.iter().any(|it| it.payment_id == *payment && it.state == state)
        };
        let changed = after.refunds_due.iter().find(|it| is_new(&it.payment_id, it.state));
        if let Some(refund) = changed {
            let kind = match refund.state {
                RefundState::Due => "OrderRefundDue",
                RefundState::Settled => "OrderRefundSettled",
            };
            return (kind, Some(refund.payment_id.as_str()));
        }
    }
    match &after.status {
        Status::AwaitingPayment if after.extended => ("OrderExtended", None),
        Status::AwaitingPayment => ("OrderCreated", None),
        Status::Paid { payment_id } => ("OrderPaid", Some(payment_id.as_str())),
        Status::Free => ("OrderPaid", None),
        Status::Cancelled => ("OrderCancelled", None),
        Status::Expired => ("OrderExpired", None),
        Status::Refunded { payment_id } => ("OrderRefunded", Some(payment_id.as_str())),
    }
}

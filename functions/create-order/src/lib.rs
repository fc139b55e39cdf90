//! Creates an order: locks a ticket for a buyer, for a short hold.

use std::{cmp::Ordering, time::Duration};

use http::{Response, StatusCode};
use orders_contracts::{CreateOrderBody, FieldError, OrderBody, parse_create_order};
use orders_domain::{
    Availability, CommitOutcome, FoundTicket, IdempotencyKey, Lock, NewOrder, NoSlot, Order,
    OrderId, OrderStore, PlaceOutcome, Placement, Sale, Slot, SlotCount, StoreError, Takeover,
    Ticket, TicketId, TicketReplica, TicketVersion, Timestamp,
};
use orders_lambda::{
    BoxError,
    command::find_ticket,
    http::{ApiRequest, json},
    problem::Problem,
    retry::{MAX_ATTEMPTS, backoff},
};
use tokio::time::sleep;

/// Limits of a buyer's orders.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Duration of a hold.
    pub hold: Duration,
    /// Number of unpaid tickets that one buyer can hold at once.
    pub holds_per_buyer: SlotCount,
}

/// Handles `POST /api/orders`. An order without an idempotency key gets its id from `new_id`.
///
/// # Errors
/// A [`Problem`], the error response.
pub async fn handle(
    store: &impl OrderStore,
    limits: Limits,
    new_id: impl FnOnce(Timestamp) -> Result<OrderId, BoxError>,
    request: ApiRequest,
) -> Result<Response<String>, Problem> {
    let CreateOrderBody { ticket_id, ticket_version } = parse_create_order(request.json_body()?)?;
    let key = idempotency_key(&request)?;
    let now = request.now;
    // The id of a keyed order is a function of buyer and key, so the put itself detects a repeat.
    let id = match &key {
        Some(key) => OrderId::for_key(&request.user_id, key),
        None => new_id(now).map_err(Problem::Internal)?,
    };
    let create = CreateOrder {
        ticket_id,
        ticket_version,
        has_key: key.is_some(),
        holds_per_buyer: limits.holds_per_buyer,
        order: NewOrder {
            id,
            user_id: request.user_id.clone(),
            now,
            hold: limits.hold,
            correlation_id: request.correlation_id.clone(),
            traceparent: request.traceparent,
        },
    };
    let created = create_order(store, &create).await.map_err(|error| problem(error, now))?;
    let (status, order) = match created {
        Created::New(order) => (StatusCode::CREATED, order),
        Created::Existing(order) => (StatusCode::OK, order),
    };
    let location = format!("/api/orders/{}", order.id);
    let body = OrderBody::new(&order, request.response_time());
    let mut response = json(status, &[("location", location)], &body)?;
    // For the log: the request does not contain the order's id.
    response.extensions_mut().insert(order.id);
    Ok(response)
}

fn idempotency_key(request: &ApiRequest) -> Result<Option<IdempotencyKey>, Problem> {
    const HEADER: &str = "idempotency-key";
    let key = request.header(HEADER)?.map(str::parse).transpose();
    Ok(key.map_err(|error| FieldError::for_field(HEADER, error))?)
}

fn problem(error: CreateError, now: Timestamp) -> Problem {
    match error {
        CreateError::NoSuchTicket => Problem::NoSuchTicket,
        CreateError::Reserved { until } => {
            metrics::counter!("ReservedConflicts").increment(1);
            Problem::Reserved { free_in: now.until(until) }
        }
        CreateError::Sold => Problem::Sold,
        CreateError::Withdrawn => Problem::Withdrawn,
        CreateError::TicketChanged { ticket, is_behind } => {
            Problem::TicketChanged { ticket, is_behind }
        }
        CreateError::TooManyHolds { until } => {
            metrics::counter!("HoldLimitConflicts").increment(1);
            Problem::TooManyHolds { free_in: now.until(until) }
        }
        CreateError::KeyReused => Problem::KeyReused,
        CreateError::Contended => Problem::Unavailable("the ticket changed after each read".into()),
        CreateError::Store(error) => error.into(),
    }
}

/// A buyer's request to create an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateOrder {
    /// The ticket to lock.
    pub ticket_id: TicketId,
    /// Version of the ticket that the buyer has seen, if the buyer wants no other version.
    pub ticket_version: Option<TicketVersion>,
    /// Number of unpaid tickets that the buyer can hold at once.
    pub holds_per_buyer: SlotCount,
    /// Whether the request has an idempotency key, so that an earlier request may have placed the order.
    pub has_key: bool,
    /// The order to place.
    pub order: NewOrder,
}

/// Order of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// This request placed the order.
    New(Order),
    /// The order existed: an earlier request with the key placed it, or the buyer has the ticket already.
    Existing(Order),
}

/// Reason why no order is created.
#[derive(Debug)]
pub enum CreateError {
    /// The ticket is unknown.
    NoSuchTicket,
    /// Another order holds the ticket.
    Reserved {
        /// End of the hold.
        until: Timestamp,
    },
    /// The ticket has been sold.
    Sold,
    /// The seller has withdrawn the ticket.
    Withdrawn,
    /// The ticket is not at the version that the buyer has seen.
    TicketChanged {
        /// The current ticket.
        ticket: Ticket,
        /// Whether the buyer has seen a newer version.
        is_behind: bool,
    },
    /// The buyer holds as many unpaid tickets as allowed.
    TooManyHolds {
        /// End of the hold that ends first.
        until: Timestamp,
    },
    /// The idempotency key belongs to an order for another ticket.
    KeyReused,
    /// The ticket changed after each read.
    Contended,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for CreateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Places the order, or returns the order of an earlier request with the same key, or the buyer's own live
/// order for the ticket.
///
/// A ticket that another buyer holds or owns is refused from the read alone: a refusal costs one read, and a
/// second one with an idempotency key. The buyer's slots are read only if the ticket can be had.
///
/// # Errors
/// [`CreateError`] if the buyer gets no order.
pub async fn create_order(
    store: &impl OrderStore,
    request: &CreateOrder,
) -> Result<Created, CreateError> {
    for number in 0..MAX_ATTEMPTS {
        if number > 0 {
            backoff(number - 1).await;
        }
        if let Some(created) = attempt(store, request, number).await? {
            return Ok(created);
        }
    }
    Err(CreateError::Contended)
}

/// One attempt; `None` if ticket or slot changed after the read, or are being changed. The next attempt reads
/// the new state: a ticket that another buyer has taken meanwhile is refused by one read, without a
/// transaction.
async fn attempt(
    store: &impl OrderStore,
    request: &CreateOrder,
    number: u32,
) -> Result<Option<Created>, CreateError> {
    let NewOrder { id, now, .. } = request.order;
    let Some(found) = find_ticket(store, &request.ticket_id, id, now).await? else {
        return refuse(store, request, None, CreateError::NoSuchTicket).await;
    };
    let FoundTicket { replica, availability } = found;
    if availability == Availability::Own
        && let Some(earlier) = store.find(id).await?
    {
        return earlier_order(earlier, request).map(Some);
    }
    let wanted = wanted_ticket(&replica.sale, request).cloned();
    let plan = wanted.and_then(|ticket| Ok((ticket, takeover(availability, &replica, request)?)));
    let (ticket, takeover) = match plan {
        Ok(plan) => plan,
        // The lock of an earlier request may be visible before its order.
        Err(CreateError::Contended) => return Ok(None),
        Err(refusal) => return refuse(store, request, Some(&replica), refusal).await,
    };
    if number == 0
        && takeover.is_some()
        && let Some(wait) = crowd_wait(replica.lock, now)
    {
        sleep(wait).await;
        return Ok(None);
    }
    let slot = match free_slot(store, request).await? {
        Ok(slot) => slot,
        Err(NoSlot { until }) => {
            return refuse(store, request, None, CreateError::TooManyHolds { until }).await;
        }
    };
    let order = Order { slot, ..Order::new(request.order.clone(), ticket) };
    let placement = Placement { order, takeover };
    match store.place(&placement).await? {
        PlaceOutcome::Placed => Ok(Some(Created::New(placement.order))),
        PlaceOutcome::AlreadyPlaced(earlier) => earlier_order(earlier, request).map(Some),
        PlaceOutcome::Conflict => Ok(None),
    }
}

/// Time after the end of a hold in which the buyers whom it refused return together.
const CROWD: Duration = Duration::from_millis(500);

/// Random wait before a takeover, at most until [`CROWD`] after the end of the hold.
///
/// `Retry-After` sends every refused buyer back at the end of the hold. Without the wait, each of them finds
/// the lapsed lock and sends a transaction to the same ticket, which carries 500 a second (DynamoDB developer
/// guide, "Best practices for designing and using partition keys effectively"). With it, most of them read
/// that the ticket has been taken. The wait is the longer of two random ones: few buyers come first, so
/// that one transaction commits before many others read.
fn crowd_wait(lapsed: Lock, now: Timestamp) -> Option<Duration> {
    let Lock::Held { until, .. } = lapsed else { return None };
    let left = now.until(until.plus(CROWD));
    (!left.is_zero()).then(|| left.mul_f64(fastrand::f64().max(fastrand::f64())))
}

/// The ticket on sale, at the version that the buyer has seen.
fn wanted_ticket<'a>(sale: &'a Sale, request: &CreateOrder) -> Result<&'a Ticket, CreateError> {
    let ticket = sale.ticket().ok_or(CreateError::Withdrawn)?;
    let changed = |is_behind| CreateError::TicketChanged { ticket: ticket.clone(), is_behind };
    match request.ticket_version.map(|seen| seen.cmp(&ticket.version)) {
        None | Some(Ordering::Equal) => Ok(ticket),
        Some(Ordering::Less) => Err(changed(false)),
        Some(Ordering::Greater) => Err(changed(true)),
    }
}

/// The order whose lapsed hold the request takes over, if any.
fn takeover(
    availability: Availability,
    replica: &TicketReplica,
    request: &CreateOrder,
) -> Result<Option<Takeover>, CreateError> {
    let NewOrder { id, now, .. } = request.order;
    match availability {
        Availability::Free => Ok(None),
        Availability::Lapsed(takeover) => Ok(Some(takeover)),
        // The lock names an order that is gone: a table was restored. The lapsed lock is free.
        Availability::Own if replica.lock.has_lapsed(now) => Ok(Some(Takeover::Ended(id))),
        Availability::Own => Err(CreateError::Contended),
        Availability::Reserved { until } => Err(CreateError::Reserved { until }),
        Availability::Sold => Err(CreateError::Sold),
    }
}

/// A free slot of the buyer, at random so that simultaneous orders seldom meet; `None` without a limit.
async fn free_slot(
    store: &impl OrderStore,
    request: &CreateOrder,
) -> Result<Result<Option<Slot>, NoSlot>, StoreError> {
    if request.holds_per_buyer.is_unlimited() {
        return Ok(Ok(None));
    }
    let slots = store.find_slots(&request.order.user_id).await?;
    let free = slots.free_slots(request.holds_per_buyer, request.order.now);
    Ok(free.map(fastrand::choice))
}

/// Makes the lock of a paid order permanent: a restored table had lost the sale.
async fn make_permanent(
    store: &impl OrderStore,
    replica: &TicketReplica,
) -> Result<(), StoreError> {
    let Some(holder) = replica.lock.holder() else { return Ok(()) };
    let Some(paid) = store.find(holder).await? else { return Ok(()) };
    if store.make_permanent(&paid).await? == CommitOutcome::Committed {
        tracing::warn!(ticket_id = %paid.ticket.id, order_id = %holder, "Lock of a paid order had an end");
    }
    Ok(())
}

/// Refuses a ticket, unless the request has its order already: by its key, or because the buyer has the
/// ticket. `locked` is the ticket if another order has its lock. `None` if this lock has changed.
async fn refuse(
    store: &impl OrderStore,
    request: &CreateOrder,
    locked: Option<&TicketReplica>,
    refusal: CreateError,
) -> Result<Option<Created>, CreateError> {
    if request.has_key
        && let Some(earlier) = store.find(request.order.id).await?
    {
        return earlier_order(earlier, request).map(Some);
    }
    if let (CreateError::Sold, Some(replica)) = (&refusal, locked)
        && replica.lock.has_lapsed(request.order.now)
    {
        make_permanent(store, replica).await?;
    }
    if let Some(replica) = locked
        && let Some(own) = own_order(store, request, replica).await?
    {
        if own.effective_status(request.order.now).is_live() {
            return Ok(Some(Created::Existing(own)));
        }
        // The buyer's own order ended after the ticket was read: the ticket may be free now.
        if store.find_ticket(&request.ticket_id).await?.as_ref() != Some(replica) {
            return Ok(None);
        }
    }
    Err(refusal)
}

/// The buyer's own order, if the lock names it. The order of a stranger is not read.
async fn own_order(
    store: &impl OrderStore,
    request: &CreateOrder,
    replica: &TicketReplica,
) -> Result<Option<Order>, StoreError> {
    let user_id = &request.order.user_id;
    let may_be_own = replica.locked_for.as_ref().is_none_or(|locked_for| locked_for == user_id);
    let Some(holder) = replica.lock.holder().filter(|_| may_be_own) else { return Ok(None) };
    let order = store.find(holder).await?;
    Ok(order.filter(|order| order.user_id == *user_id && order.ticket.id == request.ticket_id))
}

/// The order that this request, or an earlier request with its key, has placed.
fn earlier_order(earlier: Order, request: &CreateOrder) -> Result<Created, CreateError> {
    let NewOrder { user_id, now, correlation_id, .. } = &request.order;
    // Never another buyer's order: the id of a key depends on the buyer.
    if earlier.user_id != *user_id || earlier.ticket.id != request.ticket_id {
        return Err(CreateError::KeyReused);
    }
    // The reply to this request's own write was lost.
    let is_own_write = earlier.created_at == *now && earlier.correlation_id == *correlation_id;
    Ok(if is_own_write { Created::New(earlier) } else { Created::Existing(earlier) })
}

#[cfg(test)]
mod tests;

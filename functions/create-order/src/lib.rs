//! Places an order: locks a ticket for one buyer, for a short hold.

use std::time::Duration;

use http::{Response, StatusCode};
use orders_contracts::{FieldError, OrderBody, parse_create_order};
use orders_domain::{
    Availability, Command, Decision, IdempotencyKey, NewOrder, Order, OrderId, OrderStore,
    PlaceOutcome, Placement, StoreError, TicketId, Timestamp, Transition, decide,
};
use orders_lambda::{
    BoxError,
    http::{ApiRequest, json},
    problem::Problem,
    retry::{MAX_ATTEMPTS, backoff},
};

/// Answers `POST /api/orders`. An order without an idempotency key gets its id from `new_id`.
///
/// # Errors
/// The [`Problem`] to answer with instead.
pub async fn handle(
    store: &impl OrderStore,
    hold: Duration,
    new_id: impl FnOnce(Timestamp) -> Result<OrderId, BoxError>,
    request: ApiRequest,
) -> Result<Response<String>, Problem> {
    let ticket_id = parse_create_order(request.json_body()?)?;
    let key = idempotency_key(&request)?;
    let now = request.now;
    let id = match &key {
        Some(key) => OrderId::for_key(&request.user_id, key),
        None => new_id(now).map_err(Problem::Internal)?,
    };
    let request = CreateOrder {
        ticket_id,
        has_key: key.is_some(),
        order: NewOrder {
            id,
            user_id: request.user_id,
            now,
            hold,
            correlation_id: request.correlation_id,
        },
    };
    let order = create_order(store, &request).await.map_err(|error| problem(error, now))?;
    let location = format!("/api/orders/{}", order.id);
    json(StatusCode::CREATED, &[("location", location)], &OrderBody::placed(&order, now))
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
        CreateError::KeyReused => Problem::KeyReused,
        CreateError::Contended => Problem::Unavailable("the ticket kept changing".into()),
        CreateError::Store(error) => error.into(),
    }
}

/// A buyer's request for a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateOrder {
    /// The ticket to lock.
    pub ticket_id: TicketId,
    /// Whether an earlier sending of the same request may have placed the order.
    pub has_key: bool,
    /// The order to place.
    pub order: NewOrder,
}

/// Why no order is placed.
#[derive(Debug)]
pub enum CreateError {
    /// There is no such ticket.
    NoSuchTicket,
    /// Another order holds the ticket.
    Reserved {
        /// When the hold lapses.
        until: Timestamp,
    },
    /// The ticket has been bought.
    Sold,
    /// The order's id belongs to an order for another ticket.
    KeyReused,
    /// The ticket changed each time it had been read.
    Contended,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for CreateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Places the order, or finds it if an earlier sending of the same request has placed it.
///
/// A ticket that somebody has is answered from the read alone: a loser costs one read.
///
/// # Errors
/// [`CreateError`]
pub async fn create_order(
    store: &impl OrderStore,
    request: &CreateOrder,
) -> Result<Order, CreateError> {
    for _ in 0..MAX_ATTEMPTS {
        let Some(replica) = store.find_ticket(&request.ticket_id).await? else {
            return earlier_order(store, request, CreateError::NoSuchTicket).await;
        };
        if replica.lock.holder() == Some(request.order.id) {
            // An earlier sending has locked the ticket, though its order may not be seen yet.
            if let Some(earlier) = store.find(request.order.id).await? {
                return same_request(earlier, request);
            }
            backoff().await;
            continue;
        }
        let takeover = match replica.lock.availability(request.order.now) {
            Availability::Free => None,
            Availability::Reserved { until } => {
                return earlier_order(store, request, CreateError::Reserved { until }).await;
            }
            Availability::Sold => return earlier_order(store, request, CreateError::Sold).await,
            Availability::Lapsed(by) => match expiry(store, by, request.order.now).await? {
                Some(expiry) => Some(expiry),
                None => continue,
            },
        };
        let order = Order::new(request.order.clone(), replica.ticket);
        let placement = Placement { order, takeover };
        match store.place(&placement).await? {
            PlaceOutcome::Placed => return Ok(placement.order),
            PlaceOutcome::AlreadyPlaced(earlier) => return same_request(earlier, request),
            PlaceOutcome::Conflict => {}
        }
    }
    Err(CreateError::Contended)
}

/// A repeat always gets its order back, whatever has become of it and of the ticket since.
async fn earlier_order(
    store: &impl OrderStore,
    request: &CreateOrder,
    otherwise: CreateError,
) -> Result<Order, CreateError> {
    if !request.has_key {
        return Err(otherwise);
    }
    match store.find(request.order.id).await? {
        Some(earlier) => same_request(earlier, request),
        None => Err(otherwise),
    }
}

fn same_request(earlier: Order, request: &CreateOrder) -> Result<Order, CreateError> {
    let same = earlier.user_id == request.order.user_id && earlier.ticket.id == request.ticket_id;
    if same { Ok(earlier) } else { Err(CreateError::KeyReused) }
}

/// The expiry of an order whose hold has lapsed; none if the order has changed since its lock was
/// read.
async fn expiry(
    store: &impl OrderStore,
    id: OrderId,
    now: Timestamp,
) -> Result<Option<Transition>, StoreError> {
    let Some(order) = store.find(id).await? else { return Ok(None) };
    match decide(&order, &Command::Expire { now }) {
        Decision::Apply(expiry) => Ok(Some(expiry)),
        Decision::AlreadyDone | Decision::Refuse(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;

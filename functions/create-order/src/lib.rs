//! Creates an order: locks a ticket for a buyer, for a short hold.

use std::time::Duration;

use http::{Response, StatusCode};
use orders_contracts::{CreateOrderBody, FieldError, OrderBody, parse_create_order};
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

/// Handles `POST /api/orders`. An order without an idempotency key gets its id from `new_id`.
///
/// # Errors
/// A [`Problem`], the error response.
pub async fn handle(
    store: &impl OrderStore,
    hold: Duration,
    new_id: impl FnOnce(Timestamp) -> Result<OrderId, BoxError>,
    request: ApiRequest,
) -> Result<Response<String>, Problem> {
    let CreateOrderBody { ticket_id } = parse_create_order(request.json_body()?)?;
    let key = idempotency_key(&request)?;
    let now = request.now;
    // The id of a keyed order is a function of buyer and key, so the put itself detects a repeat.
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
    let body = OrderBody::placed(&order, now);
    let mut response = json(StatusCode::CREATED, &[("location", location)], &body)?;
    // For the log: the request does not contain the new order's id.
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
    /// Whether the request has an idempotency key, so that an earlier request may have placed the order.
    pub has_key: bool,
    /// The order to place.
    pub order: NewOrder,
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

/// Places the order, or returns the order placed by an earlier request with the same key.
///
/// A held or sold ticket is refused from the read alone: a refusal costs one read.
///
/// # Errors
/// [`CreateError`] if no order is placed.
pub async fn create_order(
    store: &impl OrderStore,
    request: &CreateOrder,
) -> Result<Order, CreateError> {
    for _ in 0..MAX_ATTEMPTS {
        // One read decides the common refusals: unknown, reserved, sold.
        let Some(replica) = store.find_ticket(&request.ticket_id).await? else {
            return earlier_order(store, request, CreateError::NoSuchTicket).await;
        };
        if replica.lock.holder() == Some(request.order.id) {
            // The lock of an earlier request may be visible before its order.
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
            // The transaction that takes the ticket over also expires the order that held it.
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
            // The ticket changed after the read: the next attempt reads the new state.
            PlaceOutcome::Conflict => {}
        }
    }
    Err(CreateError::Contended)
}

/// A repeated request returns its order, whatever the state of order and ticket since.
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
    // Never another buyer's order: the id of a key depends on the buyer.
    let same = earlier.user_id == request.order.user_id && earlier.ticket.id == request.ticket_id;
    if same { Ok(earlier) } else { Err(CreateError::KeyReused) }
}

/// Expiry of an order whose hold has lapsed; `None` if the order changed after the read of its lock.
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

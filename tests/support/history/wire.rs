//! Reader of responses and events, written like a client: without the service's code.

use chrono::DateTime;
use serde::Deserialize;

use super::{Event, Operation, OrderView, Outcome};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderWire<'a> {
    id: &'a str,
    user_id: &'a str,
    status: &'a str,
    version: u64,
    expires_at: &'a str,
    #[serde(borrow)]
    ticket: TicketWire<'a>,
}

#[derive(Deserialize)]
struct TicketWire<'a> {
    id: &'a str,
    title: &'a str,
    price: f64,
    version: u64,
}

/// Event fields used by other services.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    id: &'a str,
    version: u64,
    status: &'a str,
    user_id: &'a str,
    expires_at: &'a str,
    #[serde(borrow)]
    ticket: TicketDetail<'a>,
    payment_id: Option<&'a str>,
    reason: Option<&'a str>,
}

#[derive(Deserialize)]
struct TicketDetail<'a> {
    id: &'a str,
    price: f64,
}

/// Problem of a refused request.
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    ticket: Option<CurrentTicket>,
}

#[derive(Deserialize)]
struct CurrentTicket {
    version: u64,
}

impl From<OrderWire<'_>> for OrderView {
    fn from(order: OrderWire<'_>) -> Self {
        Self {
            order: order.id.to_owned(),
            buyer: order.user_id.to_owned(),
            ticket: order.ticket.id.to_owned(),
            title: order.ticket.title.to_owned(),
            ticket_version: order.ticket.version,
            price_cents: cents(order.ticket.price),
            status: order.status.to_owned(),
            version: order.version,
            expires_at_ms: epoch_ms(order.expires_at),
        }
    }
}

impl Outcome {
    /// Returns the outcome of a response, or `None` if the API does not allow the response.
    pub fn read(operation: &Operation, status: u16, body: &str) -> Option<Self> {
        Some(match (operation, status) {
            (_, 503) => Self::Unknown,
            (Operation::Place { .. }, 201) => Self::Placed(order(body)),
            (Operation::Place { .. } | Operation::Show { .. }, 200) => Self::Order(order(body)),
            (Operation::Place { .. }, 404 | 409 | 410 | 422) => refusal(status, body)?,
            (Operation::List, 200) => Self::Orders(orders(body)),
            (Operation::Cancel { .. }, 204) => Self::Cancelled,
            (Operation::Cancel { .. }, 409) if body.contains("orders:order-paid") => {
                Self::OrderPaid
            }
            (Operation::Show { .. } | Operation::Cancel { .. }, 404) => Self::NoSuchOrder,
            _ => return None,
        })
    }
}

/// The refusal of an order.
fn refusal(status: u16, body: &str) -> Option<Outcome> {
    let Problem { kind, ticket } = serde_json::from_str(body).expect("a JSON problem");
    let kind = kind.strip_prefix("urn:problem-type:orders:")?;
    Some(match (status, kind) {
        (404, "no-such-ticket") => Outcome::NoSuchTicket,
        (409, "ticket-reserved") => Outcome::Reserved,
        (409, "ticket-sold") => Outcome::Sold,
        (409, "ticket-changed") => Outcome::TicketChanged { version: ticket?.version },
        (409, "too-many-holds") => Outcome::TooManyHolds,
        (410, "ticket-withdrawn") => Outcome::Withdrawn,
        (422, "idempotency-key-reused") => Outcome::KeyReused,
        _ => return None,
    })
}

fn order(body: &str) -> OrderView {
    serde_json::from_str::<OrderWire<'_>>(body).expect("a JSON order").into()
}

fn orders(body: &str) -> Vec<OrderView> {
    let orders: Vec<OrderWire<'_>> = serde_json::from_str(body).expect("a JSON list");
    orders.into_iter().map(OrderView::from).collect()
}

impl Event {
    /// Reads an event with this type, detail and delivery time.
    pub fn read(kind: &str, detail: &str, at_ms: u64) -> Self {
        let detail: Detail<'_> = serde_json::from_str(detail).expect("a JSON detail");
        Self {
            kind: kind.to_owned(),
            order: detail.id.to_owned(),
            version: detail.version,
            status: detail.status.to_owned(),
            buyer: detail.user_id.to_owned(),
            ticket: detail.ticket.id.to_owned(),
            price_cents: cents(detail.ticket.price),
            expires_at_ms: epoch_ms(detail.expires_at),
            payment: detail.payment_id.map(str::to_owned),
            reason: detail.reason.map(str::to_owned),
            at_ms,
        }
    }
}

/// Converts a JSON price to cents.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "prices are small")]
fn cents(price: f64) -> u64 {
    (price * 100.0).round() as u64
}

/// Converts an RFC 3339 time to epoch milliseconds.
fn epoch_ms(time: &str) -> u64 {
    let time = DateTime::parse_from_rfc3339(time).expect("an RFC 3339 time");
    time.timestamp_millis().try_into().expect("a time after 1970")
}

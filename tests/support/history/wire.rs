//! What goes over the wire, as a history has it: read as another service would, without this one's
//! code.

use chrono::DateTime;
use serde::Deserialize;

use super::{Answer, Asked, Event, OrderSeen};

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

/// What other services read in an event of this one.
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

impl From<OrderWire<'_>> for OrderSeen {
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

impl Answer {
    /// What this status and body tell the one who asked; nothing, if they may not be told so.
    pub fn read(asked: &Asked, status: u16, body: &str) -> Option<Self> {
        let is = |kind: &str| body.contains(kind);
        Some(match (asked, status) {
            (_, 503) => Self::Unknown,
            (Asked::Place { .. }, 201) | (Asked::Show { .. }, 200) => Self::Order(order(body)),
            (Asked::Place { .. }, 404) => Self::NoSuchTicket,
            (Asked::Place { .. }, 409) if is("orders:ticket-reserved") => Self::Reserved,
            (Asked::Place { .. }, 409) if is("orders:ticket-sold") => Self::Sold,
            (Asked::Place { .. }, 422) => Self::KeyReused,
            (Asked::List, 200) => Self::Orders(orders(body)),
            (Asked::Cancel { .. }, 204) => Self::Cancelled,
            (Asked::Cancel { .. }, 409) if is("orders:order-paid") => Self::OrderPaid,
            (Asked::Show { .. } | Asked::Cancel { .. }, 404) => Self::NoSuchOrder,
            _ => return None,
        })
    }
}

fn order(body: &str) -> OrderSeen {
    serde_json::from_str::<OrderWire<'_>>(body).expect("an order").into()
}

fn orders(body: &str) -> Vec<OrderSeen> {
    let orders: Vec<OrderWire<'_>> = serde_json::from_str(body).expect("a list");
    orders.into_iter().map(OrderSeen::from).collect()
}

impl Event {
    /// The event of this kind with this detail, which was on the bus at this time.
    pub fn read(kind: &str, detail: &str, at_ms: u64) -> Self {
        let detail: Detail<'_> = serde_json::from_str(detail).expect("a detail is JSON");
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

/// The price of a JSON number, in cents.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a small price")]
fn cents(price: f64) -> u64 {
    (price * 100.0).round() as u64
}

/// An RFC 3339 time, in epoch milliseconds.
fn epoch_ms(time: &str) -> u64 {
    let time = DateTime::parse_from_rfc3339(time).expect("a time is RFC 3339");
    time.timestamp_millis().try_into().expect("a time is after 1970")
}

//! An order, as the HTTP API shows it.

use chrono::{DateTime, SecondsFormat};
use orders_domain::{Order, Price, Status, Ticket, Timestamp};
use serde::Serialize;

use crate::price::serialize_price;

/// An order at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderBody {
    /// Which order.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// How far it has come, as shown at that moment.
    pub status: &'static str,
    /// How often it has changed.
    pub version: u64,
    /// When it was placed (RFC 3339, UTC, milliseconds).
    pub created_at: String,
    /// When the hold lapses (RFC 3339, UTC, milliseconds).
    pub expires_at: String,
    /// Seconds left to pay, by the server's clock, rounded up; 0 if there is nothing to pay.
    pub expires_in: u64,
    /// The ticket, as it was when it was locked.
    pub ticket: TicketBody,
}

/// A ticket, as an order keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TicketBody {
    /// Which ticket.
    pub id: String,
    /// What it was called.
    pub title: String,
    /// What it cost.
    #[serde(serialize_with = "serialize_price")]
    pub price: Price,
    /// The version of the ticket that said so.
    pub version: u64,
}

impl OrderBody {
    /// The order as it is at this moment.
    #[must_use]
    pub fn new(order: &Order, now: Timestamp) -> Self {
        Self::showing(order, now, now)
    }

    /// The order as the answer to the request that placed it, or to a repeat of that request. A
    /// repeat must get the same answer, so the seconds left are those at the start, for as long as
    /// the order awaits payment.
    #[must_use]
    pub fn placed(order: &Order, now: Timestamp) -> Self {
        Self::showing(order, now, order.created_at)
    }

    fn showing(order: &Order, now: Timestamp, count_from: Timestamp) -> Self {
        let status = order.effective_status(now);
        let expires_in = match status {
            Status::AwaitingPayment => {
                count_from.until(order.expires_at).as_millis().div_ceil(1_000)
            }
            Status::Paid { .. } | Status::Cancelled | Status::Expired => 0,
        };
        Self {
            id: order.id.to_string(),
            user_id: order.user_id.to_string(),
            status: status.name(),
            version: order.version.number(),
            created_at: rfc3339(order.created_at),
            expires_at: rfc3339(order.expires_at),
            expires_in: u64::try_from(expires_in).unwrap_or(u64::MAX),
            ticket: TicketBody::from(&order.ticket),
        }
    }
}

impl From<&Ticket> for TicketBody {
    fn from(ticket: &Ticket) -> Self {
        Self {
            id: ticket.id.to_string(),
            title: ticket.title.to_string(),
            price: ticket.price,
            version: ticket.version.number(),
        }
    }
}

/// The order's entity tag (RFC 9110, section 8.8.3). Weak, since the seconds left count down under
/// it; it changes with the version and with the shown status.
#[must_use]
pub fn etag(order: &Order, now: Timestamp) -> String {
    format!("W/\"{}-{}\"", order.version.number(), order.effective_status(now).name())
}

pub(crate) fn rfc3339(time: Timestamp) -> String {
    i64::try_from(time.epoch_ms())
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use orders_testing::{new_order, order_id, ticket};
    use serde_json::json;

    use super::*;

    fn order(price: &str) -> Order {
        let now = Timestamp::from_epoch_ms(1_700_000_000_123).unwrap();
        let price = crate::parse_price(price).unwrap();
        Order::new(new_order(order_id(0), now), Ticket { price, ..ticket("ticket-1", 3) })
    }

    #[test]
    fn an_order_is_shown_with_its_ticket_and_times() {
        let order = order("19.90");
        let body = serde_json::to_value(OrderBody::new(&order, order.created_at)).unwrap();
        assert_eq!(
            body,
            json!({
                "id": "00000000-0000-0000-0000-000000000000",
                "userId": "alice",
                "status": "awaiting_payment",
                "version": 0,
                "createdAt": "2023-11-14T22:13:20.123Z",
                "expiresAt": "2023-11-14T22:13:50.123Z",
                "expiresIn": 30,
                "ticket": {"id": "ticket-1", "title": "Concert", "price": 19.9, "version": 3},
            })
        );
    }

    #[test]
    fn a_price_is_a_number_with_no_more_decimals_than_it_needs() {
        for (price, written) in [("20", "20"), ("19.9", "19.90"), ("0.05", "0.05")] {
            let order = order(price);
            let body = serde_json::to_string(&OrderBody::new(&order, order.created_at)).unwrap();
            assert!(body.contains(&format!("\"price\":{written},")), "{body}");
        }
    }

    #[test]
    fn the_seconds_left_are_zero_only_once_the_hold_has_lapsed() {
        let order = order("20");
        let at = |ms| OrderBody::new(&order, order.created_at.plus(Duration::from_millis(ms)));
        assert_eq!((at(0).expires_in, at(0).status), (30, "awaiting_payment"));
        assert_eq!((at(1).expires_in, at(1).status), (30, "awaiting_payment"));
        assert_eq!((at(29_999).expires_in, at(29_999).status), (1, "awaiting_payment"));
        assert_eq!((at(30_000).expires_in, at(30_000).status), (0, "expired"));
    }

    #[test]
    fn a_repeat_of_the_request_gets_the_same_answer() {
        let order = order("20");
        let later = order.created_at.plus(Duration::from_secs(20));
        assert_eq!(OrderBody::placed(&order, order.created_at), OrderBody::placed(&order, later));
        let lapsed = OrderBody::placed(&order, order.expires_at);
        assert_eq!((lapsed.expires_in, lapsed.status), (0, "expired"));
    }

    #[test]
    fn the_tag_changes_with_what_is_shown() {
        let order = order("20");
        assert_eq!(etag(&order, order.created_at), "W/\"0-awaiting_payment\"");
        assert_eq!(etag(&order, order.expires_at), "W/\"0-expired\"");
    }
}

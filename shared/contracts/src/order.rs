//! An order in the HTTP API.

use chrono::{DateTime, SecondsFormat};
use orders_domain::{Order, PaymentId, Price, RefundDue, Status, Ticket, Timestamp};
use serde::Serialize;

use crate::price::serialize_price;

/// Body of an order at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderBody {
    /// Order id.
    pub id: String,
    /// Buyer (`sub` of the JWT).
    pub user_id: String,
    /// Effective status at that moment.
    pub status: &'static str,
    /// Number of changes.
    pub version: u64,
    /// Time of placing (RFC 3339, UTC, milliseconds).
    pub created_at: String,
    /// End of the hold (RFC 3339, UTC, milliseconds).
    pub expires_at: String,
    /// Seconds left to pay, by the server's clock, rounded down; 0 unless the order awaits payment.
    pub expires_in: u64,
    /// Copy of the ticket from the time of placing.
    pub ticket: TicketBody,
    /// Payment that bought the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid_by: Option<String>,
    /// Payments that did not buy the order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<RefundBody>,
}

/// A payment that did not buy its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundBody {
    /// Payment id.
    pub payment_id: String,
    /// Reason for the refund.
    pub reason: &'static str,
    /// State of the refund: `due` or `settled`.
    pub state: &'static str,
}

/// Copy of a ticket on an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TicketBody {
    /// Ticket id.
    pub id: String,
    /// Title.
    pub title: String,
    /// Price, a JSON number with at most two decimals.
    #[serde(serialize_with = "serialize_price")]
    pub price: Price,
    /// Ticket version of title and price.
    pub version: u64,
}

impl OrderBody {
    /// The order at this moment.
    #[must_use]
    pub fn new(order: &Order, now: Timestamp) -> Self {
        let status = order.effective_status(now);
        let expires_in = match status {
            Status::AwaitingPayment => now.until(order.expires_at).as_secs(),
            Status::Paid { .. }
            | Status::Free
            | Status::Cancelled
            | Status::Expired
            | Status::Refunded { .. } => 0,
        };
        Self {
            id: order.id.to_string(),
            user_id: order.user_id.to_string(),
            status: status.name(),
            version: order.version.number(),
            created_at: rfc3339(order.created_at),
            expires_at: rfc3339(order.expires_at),
            expires_in,
            ticket: TicketBody::from(&order.ticket),
            paid_by: paid_by(order).map(ToString::to_string),
            refunds: order.refunds_due.iter().map(RefundBody::from).collect(),
        }
    }
}

impl From<&RefundDue> for RefundBody {
    fn from(refund: &RefundDue) -> Self {
        let payment_id = refund.payment_id.to_string();
        Self { payment_id, reason: refund.reason.name(), state: refund.state.name() }
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

/// The payment that bought the order, also after its refund.
pub(crate) fn paid_by(order: &Order) -> Option<&PaymentId> {
    match &order.status {
        Status::Paid { payment_id } | Status::Refunded { payment_id } => Some(payment_id),
        Status::AwaitingPayment | Status::Free | Status::Cancelled | Status::Expired => None,
    }
}

/// Entity tag of an order (RFC 9110, section 8.8.3), from version and effective status. The tag is weak:
/// `expiresIn` changes under the same tag.
#[must_use]
pub fn etag(order: &Order, now: Timestamp) -> String {
    format!("W/\"{}-{}\"", order.version.number(), order.effective_status(now).name())
}

/// The time of an RFC 3339 text; `None` for other texts, and for times before 1970.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let ms = DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis();
    u64::try_from(ms).ok().and_then(Timestamp::from_epoch_ms)
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

    use orders_domain::RefundReason;
    use orders_testing::{new_order, order_id, payment, ticket};
    use serde_json::json;

    use super::*;

    fn order(price: &str) -> Order {
        let now = Timestamp::from_epoch_ms(1_700_000_000_123).unwrap();
        let price = crate::parse_price(price).unwrap();
        Order::new(new_order(order_id(0), now), Ticket { price, ..ticket("ticket-1", 3) })
    }

    #[test]
    fn order_body_has_ticket_and_times() {
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
    fn order_body_writes_a_price_with_no_or_two_decimals() {
        for (price, written) in [("20", "20"), ("19.9", "19.90"), ("0.05", "0.05")] {
            let order = order(price);
            let body = serde_json::to_string(&OrderBody::new(&order, order.created_at)).unwrap();
            assert!(body.contains(&format!("\"price\":{written},")), "{body}");
        }
    }

    #[test]
    fn expires_in_is_the_time_left_rounded_down() {
        let order = order("20");
        let at = |ms| OrderBody::new(&order, order.created_at.plus(Duration::from_millis(ms)));
        assert_eq!((at(0).expires_in, at(0).status), (30, "awaiting_payment"));
        assert_eq!((at(1).expires_in, at(1).status), (29, "awaiting_payment"));
        assert_eq!((at(29_000).expires_in, at(29_000).status), (1, "awaiting_payment"));
        assert_eq!((at(29_999).expires_in, at(29_999).status), (0, "awaiting_payment"));
        assert_eq!((at(30_000).expires_in, at(30_000).status), (0, "expired"));
    }

    #[test]
    fn order_body_has_its_payments() {
        let mut paid = order("20");
        paid.status = Status::Paid { payment_id: "p1".parse().unwrap() };
        let second = payment("p2", &paid, 0);
        paid.refunds_due = vec![RefundDue::new(&second, RefundReason::AlreadyPaid)];
        let body = serde_json::to_value(OrderBody::new(&paid, paid.created_at)).unwrap();
        assert_eq!(body["paidBy"], "p1");
        let expected = json!([{"paymentId": "p2", "reason": "already_paid", "state": "due"}]);
        assert_eq!(body["refunds"], expected);
    }

    #[test]
    fn etag_changes_with_version_and_status() {
        let order = order("20");
        assert_eq!(etag(&order, order.created_at), "W/\"0-awaiting_payment\"");
        assert_eq!(etag(&order, order.expires_at), "W/\"0-expired\"");
    }
}

//! `PaymentCreated` in EventBridge's envelope.

use chrono::DateTime;
use orders_domain::{IdError, Payment, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{JsonError, PriceError, parse_price};

/// Reason why a message is not a payment event. Retries cannot help.
#[derive(Debug, thiserror::Error)]
pub enum PaymentEventError {
    /// The message is not an EventBridge event with a payment.
    #[error("not an event with a payment")]
    Malformed(#[source] JsonError),
    /// The event has another type.
    #[error("the detail-type is not PaymentCreated")]
    OtherType,
    /// The event comes from another service.
    #[error("the source is not payments")]
    OtherSource,
    /// `time` is not an RFC 3339 time after 1970.
    #[error("time is not an RFC 3339 time")]
    Time,
    /// `detail.id` is not a payment id.
    #[error("detail.id is not a payment id")]
    Id(#[source] IdError),
    /// `detail.orderId` is not an order id.
    #[error("detail.orderId is not an order id")]
    OrderId(#[source] IdError),
    /// `detail.amount` is not an amount.
    #[error("detail.amount is not an amount")]
    Amount(#[source] PriceError),
}

/// Envelope (EventBridge user guide, "Events"). Unknown fields are ignored.
#[derive(Deserialize)]
struct Envelope<'a> {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    time: String,
    #[serde(borrow)]
    detail: Detail<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    id: String,
    order_id: String,
    /// Raw text of the number, to be parsed to the cent.
    #[serde(borrow, default)]
    amount: Option<&'a RawValue>,
}

/// Parses `PaymentCreated` from its EventBridge envelope. Unknown fields are ignored; the order id may
/// have capitals.
///
/// # Errors
/// [`PaymentEventError`] for any other message.
pub fn parse_payment_event(envelope: &str) -> Result<Payment, PaymentEventError> {
    let Envelope { source, detail_type, time, detail } = serde_json::from_str(envelope)
        .map_err(|error| PaymentEventError::Malformed(error.into()))?;
    // The rule of the bus filters by source too, but a queue can hold messages of another origin.
    if source != "payments" {
        return Err(PaymentEventError::OtherSource);
    }
    if detail_type != "PaymentCreated" {
        return Err(PaymentEventError::OtherType);
    }
    // Other services may write a UUID in capitals (RFC 9562, section 4: case is ignored on input).
    let order_id = detail.order_id.to_ascii_lowercase();
    let amount = detail.amount.map(|amount| parse_price(amount.get())).transpose();
    Ok(Payment {
        id: detail.id.parse().map_err(PaymentEventError::Id)?,
        order_id: order_id.parse().map_err(PaymentEventError::OrderId)?,
        amount: amount.map_err(PaymentEventError::Amount)?,
        sent_at: parse_time(&time).ok_or(PaymentEventError::Time)?,
    })
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let ms = DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis();
    u64::try_from(ms).ok().and_then(Timestamp::from_epoch_ms)
}

#[cfg(test)]
mod tests {
    use orders_domain::OrderId;
    use serde_json::{Value, json};

    use super::*;

    fn order_id() -> String {
        OrderId::from_bytes([0xab; 16]).to_string()
    }

    fn event(detail: &Value) -> Value {
        json!({
            "detail-type": "PaymentCreated",
            "source": "payments",
            "time": "2026-01-02T03:04:05Z",
            "detail": detail,
        })
    }

    fn parse(event: &Value) -> Result<Payment, PaymentEventError> {
        parse_payment_event(&event.to_string())
    }

    #[test]
    fn payment_event_ignores_unknown_fields() {
        let detail = json!({"id": "p1", "orderId": order_id(), "stripeId": "ch_1"});
        let expected = Payment {
            id: "p1".parse().unwrap(),
            order_id: OrderId::from_bytes([0xab; 16]),
            amount: None,
            sent_at: Timestamp::from_epoch_ms(1_767_323_045_000).unwrap(),
        };
        assert_eq!(parse(&event(&detail)).unwrap(), expected);
    }

    #[test]
    fn payment_event_accepts_an_order_id_in_capitals() {
        let detail = json!({"id": "p1", "orderId": order_id().to_uppercase()});
        assert_eq!(parse(&event(&detail)).unwrap().order_id.to_string(), order_id());
    }

    #[test]
    fn amount_is_read_like_a_price() {
        let amount = |amount: Value| {
            let detail = json!({"id": "p1", "orderId": order_id(), "amount": amount});
            parse(&event(&detail)).map(|payment| payment.amount.map(|amount| amount.minor()))
        };
        for (text, minor) in
            [("20", 2_000), ("20.00", 2_000), ("59.970000000000006", 5_997), ("0", 0)]
        {
            assert_eq!(amount(serde_json::from_str(text).unwrap()).unwrap(), Some(minor), "{text}");
        }
        assert_eq!(amount(Value::Null).unwrap(), None);
        for invalid in
            [json!("20.00"), json!(-1), json!(0.001), json!({}), json!([20]), json!(true)]
        {
            let error = amount(invalid.clone()).unwrap_err();
            assert!(matches!(error, PaymentEventError::Amount(_)), "{invalid}: {error}");
        }
    }

    #[test]
    fn payment_event_rejects_another_source() {
        for source in ["tickets", "Payments", ""] {
            let mut event = event(&json!({"id": "p1", "orderId": order_id()}));
            event["source"] = json!(source);
            let error = parse(&event).unwrap_err();
            assert!(matches!(error, PaymentEventError::OtherSource), "{source}: {error}");
        }
    }

    #[test]
    fn payment_event_rejects_an_invalid_time() {
        for time in ["", "yesterday", "2026-01-02", "1960-01-01T00:00:00Z", "2026-13-02T03:04:05Z"]
        {
            let mut event = event(&json!({"id": "p1", "orderId": order_id()}));
            event["time"] = json!(time);
            let error = parse(&event).unwrap_err();
            assert!(matches!(error, PaymentEventError::Time), "{time}: {error}");
        }
    }

    #[test]
    fn payment_event_rejects_other_messages() {
        for (kind, detail, expected) in [
            ("PaymentCreated", json!({}), "not an event"),
            ("PaymentCreated", json!({"id": 7, "orderId": order_id()}), "not an event"),
            ("PaymentCreated", json!({"id": "", "orderId": order_id()}), "detail.id"),
            ("PaymentCreated", json!({"id": "p1", "orderId": "x"}), "detail.orderId"),
            ("PaymentFailed", json!({"id": "p1", "orderId": order_id()}), "the detail-type"),
        ] {
            let mut event = event(&detail);
            event["detail-type"] = json!(kind);
            let error = parse(&event).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{detail}: {error}");
        }
    }
}

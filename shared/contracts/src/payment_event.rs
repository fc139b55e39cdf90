//! `PaymentCreated`, `PaymentStarted` and `PaymentRefunded` in EventBridge's envelope.

use orders_domain::{IdError, OrderId, Payment, PaymentId, Price, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{JsonError, PriceError, order::parse_rfc3339, parse_price};

/// An event of the payment service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentEvent {
    /// `PaymentCreated`: a buyer has paid for an order.
    Created(Payment),
    /// `PaymentStarted`: a buyer has started to pay for an order.
    Started {
        /// Order id.
        order_id: OrderId,
        /// Time of the event, in whole seconds.
        sent_at: Timestamp,
    },
    /// `PaymentRefunded`: a payment went back to the buyer.
    Refunded {
        /// Payment id.
        payment_id: PaymentId,
        /// Order that the payment named.
        order_id: OrderId,
        /// Refunded amount; `None` for the whole charge.
        amount: Option<Price>,
    },
}

/// Reason why a message is not a payment event. Retries cannot help.
#[derive(Debug, thiserror::Error)]
pub enum PaymentEventError {
    /// The message is not an EventBridge event of a payment.
    #[error("not an event of a payment")]
    Malformed(#[source] JsonError),
    /// The event has another type.
    #[error("the detail-type is none of PaymentCreated, PaymentStarted and PaymentRefunded")]
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
    detail: &'a RawValue,
}

/// Detail of `PaymentCreated` and `PaymentRefunded`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PaymentDetail<'a> {
    id: String,
    order_id: String,
    /// Raw text of the number, to be parsed to the cent.
    #[serde(borrow, default)]
    amount: Option<&'a RawValue>,
}

/// Detail of `PaymentStarted`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartDetail {
    order_id: String,
}

impl PaymentEvent {
    /// Parses an event from its EventBridge envelope. Unknown fields are ignored; the order id may have
    /// capitals.
    ///
    /// # Errors
    /// [`PaymentEventError`] for any other message.
    pub fn parse(envelope: &str) -> Result<Self, PaymentEventError> {
        let Envelope { source, detail_type, time, detail } = parse_json(envelope)?;
        // The rule of the bus filters by source too, but a queue can hold messages of another origin.
        if source != "payments" {
            return Err(PaymentEventError::OtherSource);
        }
        let sent_at = parse_rfc3339(&time).ok_or(PaymentEventError::Time)?;
        match detail_type.as_str() {
            "PaymentCreated" => {
                let (id, order_id, amount) = parse_payment(detail.get())?;
                Ok(Self::Created(Payment { id, order_id, amount, sent_at }))
            }
            "PaymentStarted" => {
                let StartDetail { order_id } = parse_json(detail.get())?;
                Ok(Self::Started { order_id: parse_order_id(&order_id)?, sent_at })
            }
            "PaymentRefunded" => {
                let (payment_id, order_id, amount) = parse_payment(detail.get())?;
                Ok(Self::Refunded { payment_id, order_id, amount })
            }
            _ => Err(PaymentEventError::OtherType),
        }
    }

    /// Order that the event names.
    #[must_use]
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Created(payment) => payment.order_id,
            Self::Started { order_id, .. } | Self::Refunded { order_id, .. } => *order_id,
        }
    }

    /// Payment that the event names, if any.
    #[must_use]
    pub fn payment_id(&self) -> Option<&PaymentId> {
        match self {
            Self::Created(payment) => Some(&payment.id),
            Self::Refunded { payment_id, .. } => Some(payment_id),
            Self::Started { .. } => None,
        }
    }
}

type PaymentFields = (PaymentId, OrderId, Option<Price>);

fn parse_payment(detail: &str) -> Result<PaymentFields, PaymentEventError> {
    let PaymentDetail { id, order_id, amount } = parse_json(detail)?;
    let amount = amount.map(|amount| parse_price(amount.get())).transpose();
    Ok((
        id.parse().map_err(PaymentEventError::Id)?,
        parse_order_id(&order_id)?,
        amount.map_err(PaymentEventError::Amount)?,
    ))
}

/// Other services may write a UUID in capitals (RFC 9562, section 4: case is ignored on input).
fn parse_order_id(text: &str) -> Result<OrderId, PaymentEventError> {
    text.to_ascii_lowercase().parse().map_err(PaymentEventError::OrderId)
}

fn parse_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, PaymentEventError> {
    serde_json::from_str(text).map_err(|error| PaymentEventError::Malformed(error.into()))
}

#[cfg(test)]
mod tests {
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
        let event = PaymentEvent::parse(&event.to_string())?;
        let PaymentEvent::Created(payment) = event else { panic!("{event:?}") };
        Ok(payment)
    }

    fn parse_as(kind: &str, detail: &Value) -> Result<PaymentEvent, PaymentEventError> {
        let mut event = event(detail);
        event["detail-type"] = json!(kind);
        PaymentEvent::parse(&event.to_string())
    }

    #[test]
    fn start_of_a_payment_needs_an_order_id_only() {
        let started = parse_as("PaymentStarted", &json!({"orderId": order_id(), "intent": "pi"}));
        let sent_at = Timestamp::from_epoch_ms(1_767_323_045_000).unwrap();
        let order_id = OrderId::from_bytes([0xab; 16]);
        assert_eq!(started.unwrap(), PaymentEvent::Started { order_id, sent_at });
        for invalid in [json!({}), json!({"orderId": 7}), json!({"orderId": "x"}), json!(null)] {
            assert!(parse_as("PaymentStarted", &invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn refund_has_a_payment_an_order_and_perhaps_an_amount() {
        for (amount, expected) in [(json!(null), None), (json!(19.9), Some(1_990))] {
            let detail = json!({"id": "p1", "orderId": order_id(), "amount": amount});
            let event = parse_as("PaymentRefunded", &detail).unwrap();
            assert_eq!(event.payment_id().map(PaymentId::as_str), Some("p1"));
            assert_eq!(event.order_id().to_string(), order_id());
            let PaymentEvent::Refunded { amount, .. } = event else { panic!("{event:?}") };
            assert_eq!(amount.map(Price::minor), expected);
        }
        for invalid in [
            json!({"orderId": order_id()}),
            json!({"id": "", "orderId": order_id()}),
            json!({"id": "p1", "orderId": "x"}),
            json!({"id": "p1", "orderId": order_id(), "amount": "19.90"}),
            json!({"id": "p1", "orderId": order_id(), "amount": -1}),
        ] {
            assert!(parse_as("PaymentRefunded", &invalid).is_err(), "{invalid}");
        }
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
            parse(&event(&detail)).map(|payment| payment.amount.map(Price::minor))
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

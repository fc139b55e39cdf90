//! `PaymentCreated` in EventBridge's envelope.

use orders_domain::{IdError, OrderId, PaymentId};
use serde::Deserialize;

use crate::JsonError;

/// A buyer paid for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentEvent {
    /// Payment id.
    pub payment_id: PaymentId,
    /// Order id.
    pub order_id: OrderId,
}

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
    /// `detail.id` is not a payment id.
    #[error("detail.id is not a payment id")]
    Id(#[source] IdError),
    /// `detail.orderId` is not an order id.
    #[error("detail.orderId is not an order id")]
    OrderId(#[source] IdError),
}

#[derive(Deserialize)]
struct Envelope {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    detail: Detail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    id: String,
    order_id: String,
}

impl PaymentEvent {
    /// Parses an event from its EventBridge envelope. Unknown fields are ignored; the order id may have
    /// capitals.
    ///
    /// # Errors
    /// [`PaymentEventError`] for any other message.
    pub fn parse(envelope: &str) -> Result<Self, PaymentEventError> {
        let Envelope { source, detail_type, detail } = serde_json::from_str(envelope)
            .map_err(|error| PaymentEventError::Malformed(error.into()))?;
        // The rule of the bus filters by source too, but a queue can hold messages of another origin.
        if source != "payments" {
            return Err(PaymentEventError::OtherSource);
        }
        if detail_type != "PaymentCreated" {
            return Err(PaymentEventError::OtherType);
        }
        Ok(Self {
            payment_id: detail.id.parse().map_err(PaymentEventError::Id)?,
            // Other services may write a UUID in capitals (RFC 9562, section 4: case is ignored on input).
            order_id: detail
                .order_id
                .to_ascii_lowercase()
                .parse()
                .map_err(PaymentEventError::OrderId)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(kind: &str, detail: &Value) -> String {
        json!({"detail-type": kind, "source": "payments", "detail": detail}).to_string()
    }

    #[test]
    fn payment_event_ignores_unknown_fields() {
        let order_id = OrderId::from_bytes([7; 16]);
        let detail = json!({"id": "p1", "orderId": order_id.to_string(), "stripeId": "ch_1"});
        let payment = PaymentEvent::parse(&event("PaymentCreated", &detail)).unwrap();
        assert_eq!(payment, PaymentEvent { payment_id: "p1".parse().unwrap(), order_id });
    }

    #[test]
    fn payment_event_accepts_an_order_id_in_capitals() {
        let order_id = OrderId::from_bytes([0xab; 16]);
        let detail = json!({"id": "p1", "orderId": order_id.to_string().to_uppercase()});
        let payment = PaymentEvent::parse(&event("PaymentCreated", &detail)).unwrap();
        assert_eq!(payment.order_id, order_id);
    }

    #[test]
    fn payment_event_rejects_another_source() {
        let order_id = OrderId::from_bytes([7; 16]).to_string();
        let detail = json!({"id": "p1", "orderId": order_id});
        for source in ["tickets", "Payments", ""] {
            let event =
                json!({"detail-type": "PaymentCreated", "source": source, "detail": detail});
            let error = PaymentEvent::parse(&event.to_string()).unwrap_err();
            assert!(matches!(error, PaymentEventError::OtherSource), "{source}: {error}");
        }
    }

    #[test]
    fn payment_event_rejects_other_messages() {
        let order_id = OrderId::from_bytes([7; 16]).to_string();
        for (kind, detail, expected) in [
            ("PaymentCreated", json!({}), "not an event"),
            ("PaymentCreated", json!({"id": 7, "orderId": order_id}), "not an event"),
            ("PaymentCreated", json!({"id": "", "orderId": order_id}), "detail.id"),
            ("PaymentCreated", json!({"id": "p1", "orderId": "x"}), "detail.orderId"),
            ("PaymentFailed", json!({"id": "p1", "orderId": order_id}), "the detail-type"),
        ] {
            let error = PaymentEvent::parse(&event(kind, &detail)).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{detail}: {error}");
        }
    }
}

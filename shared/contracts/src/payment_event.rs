//! `PaymentCreated`, as EventBridge delivers it.

use orders_domain::{IdError, OrderId, PaymentId};
use serde::Deserialize;

use crate::JsonError;

/// A buyer was charged for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentEvent {
    /// The charge.
    pub payment_id: PaymentId,
    /// What it was for.
    pub order_id: OrderId,
}

/// Why a message is not an event of the payment service. It never will be one.
#[derive(Debug, thiserror::Error)]
pub enum PaymentEventError {
    /// The message is not an EventBridge event with a payment in it.
    #[error("not an event with a payment")]
    Malformed(#[source] JsonError),
    /// The event is of another type.
    #[error("the detail-type is not PaymentCreated")]
    OtherType,
    /// The payment's id is not one.
    #[error("detail.id is not a payment id")]
    Id(#[source] IdError),
    /// The order's id is not one that this service gives.
    #[error("detail.orderId is not an order id")]
    OrderId(#[source] IdError),
}

#[derive(Deserialize)]
struct Envelope {
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
    /// Reads the event from an EventBridge envelope; fields that are not named are ignored.
    ///
    /// # Errors
    /// [`PaymentEventError`] if it is none.
    pub fn parse(envelope: &str) -> Result<Self, PaymentEventError> {
        let Envelope { detail_type, detail } = serde_json::from_str(envelope)
            .map_err(|error| PaymentEventError::Malformed(error.into()))?;
        if detail_type != "PaymentCreated" {
            return Err(PaymentEventError::OtherType);
        }
        Ok(Self {
            payment_id: detail.id.parse().map_err(PaymentEventError::Id)?,
            order_id: detail.order_id.parse().map_err(PaymentEventError::OrderId)?,
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
    fn a_payment_is_read_whatever_else_the_event_says() {
        let order_id = OrderId::from_bytes([7; 16]);
        let detail = json!({"id": "p1", "orderId": order_id.to_string(), "stripeId": "ch_1"});
        let payment = PaymentEvent::parse(&event("PaymentCreated", &detail)).unwrap();
        assert_eq!(payment, PaymentEvent { payment_id: "p1".parse().unwrap(), order_id });
    }

    #[test]
    fn an_event_that_is_no_payment_is_refused() {
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

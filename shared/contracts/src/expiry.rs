//! The message that says an order's hold lapses.

use orders_domain::{IdError, OrderId};
use serde::{Deserialize, Serialize};

use crate::JsonError;

/// Asks for the expiry of an order. When it is due, the order itself knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryMessage {
    /// Which order.
    pub order_id: OrderId,
}

/// Why a message does not ask for an expiry. It never will.
#[derive(Debug, thiserror::Error)]
pub enum ExpiryMessageError {
    /// The message is not an object with an order id.
    #[error("not a message with an order id")]
    Malformed(#[source] JsonError),
    /// The order's id is not one.
    #[error("orderId is not an order id")]
    OrderId(#[source] IdError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    order_id: String,
}

impl ExpiryMessage {
    /// Reads the message.
    ///
    /// # Errors
    /// [`ExpiryMessageError`] if it is none.
    pub fn parse(text: &str) -> Result<Self, ExpiryMessageError> {
        let Wire { order_id } = serde_json::from_str(text)
            .map_err(|error| ExpiryMessageError::Malformed(error.into()))?;
        Ok(Self { order_id: order_id.parse().map_err(ExpiryMessageError::OrderId)? })
    }

    /// The message as text.
    ///
    /// # Errors
    /// If it cannot be written as JSON, which nothing in it causes.
    pub fn to_text(self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Wire { order_id: self.order_id.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_as_it_was_written() {
        let message = ExpiryMessage { order_id: OrderId::from_bytes([7; 16]) };
        assert_eq!(ExpiryMessage::parse(&message.to_text().unwrap()).unwrap(), message);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in ["", "null", "{}", r#"{"orderId":7}"#, r#"{"orderId":"x"}"#] {
            assert!(ExpiryMessage::parse(text).is_err(), "{text}");
        }
    }
}

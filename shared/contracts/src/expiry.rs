//! The message of the expiry queue.

use orders_domain::{IdError, OrderId};
use serde::{Deserialize, Serialize};

use crate::JsonError;

/// Request to expire an order. The order itself holds the time, so that message and order cannot
/// disagree.
///
/// # Examples
/// ```
/// use orders_contracts::ExpiryMessage;
/// use orders_domain::OrderId;
///
/// let message = ExpiryMessage { order_id: OrderId::from_bytes([0; 16]) };
/// let text = message.to_text().unwrap();
/// assert_eq!(text, r#"{"orderId":"00000000-0000-0000-0000-000000000000"}"#);
/// assert_eq!(ExpiryMessage::parse(&text).unwrap(), message);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryMessage {
    /// Order id.
    pub order_id: OrderId,
}

/// Reason why a text is not an expiry message. Retries cannot help.
#[derive(Debug, thiserror::Error)]
pub enum ExpiryMessageError {
    /// The text is not a JSON object with an order id.
    #[error("not a message with an order id")]
    Malformed(#[source] JsonError),
    /// `orderId` is not an order id.
    #[error("orderId is not an order id")]
    OrderId(#[source] IdError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    order_id: String,
}

impl ExpiryMessage {
    /// Parses the message.
    ///
    /// # Errors
    /// [`ExpiryMessageError`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ExpiryMessageError> {
        let Wire { order_id } = serde_json::from_str(text)
            .map_err(|error| ExpiryMessageError::Malformed(error.into()))?;
        Ok(Self { order_id: order_id.parse().map_err(ExpiryMessageError::OrderId)? })
    }

    /// The message as text.
    ///
    /// # Errors
    /// Never in practice: an order id is always valid JSON.
    pub fn to_text(self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Wire { order_id: self.order_id.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_message_reads_back_as_written() {
        let message = ExpiryMessage { order_id: OrderId::from_bytes([7; 16]) };
        assert_eq!(ExpiryMessage::parse(&message.to_text().unwrap()).unwrap(), message);
    }

    #[test]
    fn expiry_message_rejects_other_texts() {
        for text in ["", "null", "{}", r#"{"orderId":7}"#, r#"{"orderId":"x"}"#] {
            assert!(ExpiryMessage::parse(text).is_err(), "{text}");
        }
    }
}

//! The message of the expiry queue.

use orders_domain::{IdError, OrderId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    JsonError,
    order::{parse_rfc3339, rfc3339},
};

/// Request to expire an order: the timer of one `expires_at`. A timer for another time than the order's
/// is obsolete.
///
/// # Examples
/// ```
/// use orders_contracts::ExpiryMessage;
/// use orders_domain::{OrderId, Timestamp};
///
/// let message = ExpiryMessage {
///     order_id: OrderId::from_bytes([0; 16]),
///     expires_at: Timestamp::from_epoch_ms(30_000),
/// };
/// let text = message.to_text().unwrap();
/// assert_eq!(
///     text,
///     r#"{"orderId":"00000000-0000-0000-0000-000000000000","expiresAt":"1970-01-01T00:00:30.000Z"}"#
/// );
/// assert_eq!(ExpiryMessage::parse(&text).unwrap(), message);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryMessage {
    /// Order id.
    pub order_id: OrderId,
    /// The `expires_at` of the timer; `None` in a message of the first edition, which is for any time.
    pub expires_at: Option<Timestamp>,
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
    /// `expiresAt` is not a time.
    #[error("expiresAt is not an RFC 3339 time")]
    ExpiresAt,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    order_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl ExpiryMessage {
    /// Parses the message.
    ///
    /// # Errors
    /// [`ExpiryMessageError`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ExpiryMessageError> {
        let Wire { order_id, expires_at } = serde_json::from_str(text)
            .map_err(|error| ExpiryMessageError::Malformed(error.into()))?;
        let time = |text: String| parse_rfc3339(&text).ok_or(ExpiryMessageError::ExpiresAt);
        Ok(Self {
            order_id: order_id.parse().map_err(ExpiryMessageError::OrderId)?,
            expires_at: expires_at.map(time).transpose()?,
        })
    }

    /// The message as text.
    ///
    /// # Errors
    /// Never in practice: an order id and a time are always valid JSON.
    pub fn to_text(self) -> Result<String, serde_json::Error> {
        let expires_at = self.expires_at.map(rfc3339);
        serde_json::to_string(&Wire { order_id: self.order_id.to_string(), expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_message_reads_back_as_written() {
        for expires_at in [None, Timestamp::from_epoch_ms(1_700_000_030_123)] {
            let message = ExpiryMessage { order_id: OrderId::from_bytes([7; 16]), expires_at };
            assert_eq!(ExpiryMessage::parse(&message.to_text().unwrap()).unwrap(), message);
        }
    }

    #[test]
    fn expiry_message_rejects_other_texts() {
        let id = OrderId::from_bytes([7; 16]);
        let with_time = |time: &str| format!(r#"{{"orderId":"{id}","expiresAt":{time}}}"#);
        let times = ["7", "\"\"", "\"soon\"", "\"1960-01-01T00:00:00Z\""].map(with_time);
        let others = ["", "null", "{}", r#"{"orderId":7}"#, r#"{"orderId":"x"}"#];
        for text in others.into_iter().chain(times.iter().map(String::as_str)) {
            assert!(ExpiryMessage::parse(text).is_err(), "{text}");
        }
    }
}

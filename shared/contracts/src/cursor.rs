//! The cursor of `GET /api/orders`: a position in the caller's own list. A forged cursor reaches no
//! other buyer's orders.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use orders_domain::{OrderId, Position, Timestamp};

/// The text is not a cursor of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a cursor from the Link header of an earlier response")]
pub struct CursorError;

/// Encodes 8 bytes of time and 16 bytes of order id in base64url (RFC 4648, section 5).
///
/// # Examples
/// ```
/// use orders_contracts::{decode_cursor, encode_cursor};
/// use orders_domain::{OrderId, Position, Timestamp};
///
/// let created_at = Timestamp::from_epoch_ms(1_700_000_000_000).unwrap();
/// let position = Position { created_at, id: OrderId::from_bytes([7; 16]) };
/// assert_eq!(decode_cursor(&encode_cursor(position)), Ok(position));
/// assert!(decode_cursor("forged").is_err());
/// ```
#[must_use]
pub fn encode_cursor(position: Position) -> String {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&position.created_at.epoch_ms().to_be_bytes());
    bytes[8..].copy_from_slice(&position.id.to_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes a cursor to its position.
///
/// # Errors
/// [`CursorError`] for any other text.
pub fn decode_cursor(text: &str) -> Result<Position, CursorError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
    let (time, id) = bytes.split_first_chunk::<8>().ok_or(CursorError)?;
    let id: [u8; 16] = id.try_into().map_err(|_| CursorError)?;
    let created_at = Timestamp::from_epoch_ms(u64::from_be_bytes(*time)).ok_or(CursorError)?;
    Ok(Position { created_at, id: OrderId::from_bytes(id) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cursor_rejects_other_texts() {
        let beyond_time = URL_SAFE_NO_PAD.encode([0xff; 24]);
        let too_long = URL_SAFE_NO_PAD.encode([0; 25]);
        for text in ["", "x", "AAAA", "not/base64url=", "\0", beyond_time.as_str(), &too_long] {
            assert_eq!(decode_cursor(text), Err(CursorError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn cursor_reads_back_as_its_position(
            ms in 0..=Timestamp::MAX.epoch_ms(),
            id: [u8; 16],
        ) {
            let created_at = Timestamp::from_epoch_ms(ms).unwrap();
            let position = Position { created_at, id: OrderId::from_bytes(id) };
            prop_assert_eq!(decode_cursor(&encode_cursor(position)), Ok(position));
        }

        #[test]
        fn cursor_has_one_spelling(text in "[A-Za-z0-9_-]{32}") {
            if let Ok(position) = decode_cursor(&text) {
                prop_assert_eq!(encode_cursor(position), text);
            }
        }
    }
}

//! The cursor of `GET /api/orders`: a position in the caller's own list and nothing else, so a
//! forged one reaches nothing that the caller could not list anyway.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use orders_domain::{OrderId, Position, Timestamp};

/// The text is not a cursor that this service gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one that an earlier answer gave in its Link header")]
pub struct CursorError;

/// 8 bytes of time and 16 bytes of order id, in base64url.
#[must_use]
pub fn encode_cursor(position: Position) -> String {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&position.created_at.epoch_ms().to_be_bytes());
    bytes[8..].copy_from_slice(&position.id.to_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The position that a cursor stands for.
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
    fn what_is_no_cursor_is_refused() {
        let beyond_time = URL_SAFE_NO_PAD.encode([0xff; 24]);
        let too_long = URL_SAFE_NO_PAD.encode([0; 25]);
        for text in ["", "x", "AAAA", "not/base64url=", "\0", beyond_time.as_str(), &too_long] {
            assert_eq!(decode_cursor(text), Err(CursorError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_the_position_it_stands_for(
            ms in 0..=Timestamp::MAX.epoch_ms(),
            id: [u8; 16],
        ) {
            let created_at = Timestamp::from_epoch_ms(ms).unwrap();
            let position = Position { created_at, id: OrderId::from_bytes(id) };
            prop_assert_eq!(decode_cursor(&encode_cursor(position)), Ok(position));
        }

        #[test]
        fn a_text_has_one_position_or_none(text in "[A-Za-z0-9_-]{32}") {
            if let Ok(position) = decode_cursor(&text) {
                prop_assert_eq!(encode_cursor(position), text);
            }
        }
    }
}

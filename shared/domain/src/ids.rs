//! One type per id, so that a ticket id cannot be passed for an order id.

use std::{fmt, str::FromStr};

use uuid::{Builder, Uuid};

use crate::Timestamp;

/// Reason why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text has no characters.
    #[error("must not be empty")]
    Empty,
    /// The text has more characters than the id allows.
    #[error("must be at most {max} characters long")]
    TooLong {
        /// Maximum number of characters.
        max: usize,
    },
    /// The text has a space, a control character or a character outside ASCII.
    #[error("must be printable ASCII without spaces")]
    Unprintable,
    /// The text is not a UUID in its canonical form (RFC 9562, section 4).
    #[error("must be a UUID in lower case with hyphens")]
    NotAUuid,
}

/// Defines an id chosen by another service: opaque, short, printable ASCII.
macro_rules! foreign_id {
    ($(#[$doc:meta])+ $name:ident, at most $max:literal) => {
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                printable(text, $max).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn printable(text: &str, max: usize) -> Result<String, IdError> {
    if text.is_empty() {
        Err(IdError::Empty)
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(IdError::Unprintable)
    } else if text.len() > max {
        Err(IdError::TooLong { max })
    } else {
        Ok(text.to_owned())
    }
}

foreign_id! {
    /// Ticket id of the ticket service: 1 to 128 printable ASCII characters.
    TicketId, at most 128
}
foreign_id! {
    /// User id of a buyer, the JWT's `sub`: at most 255 ASCII characters (OpenID Connect Core 1.0,
    /// section 2).
    UserId, at most 255
}
foreign_id! {
    /// Payment id of the payment service: 1 to 255 printable ASCII characters.
    PaymentId, at most 255
}
foreign_id! {
    /// Idempotency key of one attempt to buy: 1 to 255 printable ASCII characters.
    IdempotencyKey, at most 255
}
foreign_id! {
    /// Correlation id of everything caused by one request: 1 to 255 printable ASCII characters.
    CorrelationId, at most 255
}

/// Order id: a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(Uuid);

impl OrderId {
    /// Namespace of all ids made from idempotency keys. A change of it would forget every key in use.
    const KEYED: Uuid = Uuid::from_u128(0x8a1c_4d52_70f3_4be0_9c61_5e2f_b7d4_0a93);

    /// The order id of this buyer and key, a `UUIDv5` (RFC 9562, section 5.5): a repeated request finds
    /// its order.
    ///
    /// # Examples
    /// ```
    /// use orders_domain::{IdempotencyKey, OrderId, UserId};
    ///
    /// let key: IdempotencyKey = "attempt-1".parse().unwrap();
    /// let (alice, bob): (UserId, UserId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
    /// assert_eq!(OrderId::for_key(&alice, &key), OrderId::for_key(&alice, &key));
    /// assert_ne!(OrderId::for_key(&alice, &key), OrderId::for_key(&bob, &key));
    /// ```
    #[must_use]
    pub fn for_key(user: &UserId, key: &IdempotencyKey) -> Self {
        // Two steps: in one text, user "ab" with key "c" would equal user "a" with key "bc".
        let namespace = Uuid::new_v5(&Self::KEYED, user.as_str().as_bytes());
        Self(Uuid::new_v5(&namespace, key.as_str().as_bytes()))
    }

    /// A new order id, a `UUIDv7` (RFC 9562, section 5.7) of this time and 10 random bytes. Such ids
    /// sort by time.
    #[must_use]
    pub fn new(now: Timestamp, random: &[u8; 10]) -> Self {
        Self(Builder::from_unix_timestamp_millis(now.epoch_ms(), random).into_uuid())
    }

    /// The id's 16 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The id with these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl FromStr for OrderId {
    type Err = IdError;

    /// Accepts only the canonical form, so that one order has one address.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = Self(Uuid::try_parse(text).map_err(|_| IdError::NotAUuid)?);
        if id.to_string() == text { Ok(id) } else { Err(IdError::NotAUuid) }
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserId {
        text.parse().unwrap()
    }

    fn key(text: &str) -> IdempotencyKey {
        text.parse().unwrap()
    }

    #[test]
    fn id_is_short_printable_ascii() {
        assert_eq!("".parse::<TicketId>(), Err(IdError::Empty));
        assert_eq!("a b".parse::<TicketId>(), Err(IdError::Unprintable));
        assert_eq!("a\0".parse::<TicketId>(), Err(IdError::Unprintable));
        assert_eq!("kärtli".parse::<TicketId>(), Err(IdError::Unprintable));
        assert_eq!("x".repeat(129).parse::<TicketId>(), Err(IdError::TooLong { max: 128 }));
        assert_eq!("x".repeat(128).parse::<TicketId>().unwrap().as_str(), "x".repeat(128));
    }

    #[test]
    fn id_is_written_as_read() {
        let text = "~{tick-et}~";
        assert_eq!(text.parse::<TicketId>().unwrap().to_string(), text);
        assert_eq!(text.parse::<TicketId>().unwrap().as_str(), text);
    }

    #[test]
    fn order_id_has_one_spelling() {
        let id = OrderId::from_bytes([0xab; 16]);
        assert_eq!(id.to_bytes(), [0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in [id.to_string().to_uppercase(), id.to_string().replace('-', ""), String::new()]
        {
            assert_eq!(other.parse::<OrderId>(), Err(IdError::NotAUuid));
        }
    }

    #[test]
    fn key_names_one_order_of_one_user() {
        let id = OrderId::for_key(&user("alice"), &key("k1"));
        assert_eq!(id, OrderId::for_key(&user("alice"), &key("k1")));
        assert_ne!(id, OrderId::for_key(&user("alice"), &key("k2")));
        assert_ne!(id, OrderId::for_key(&user("bob"), &key("k1")));
        assert_ne!(
            OrderId::for_key(&user("ab"), &key("c")),
            OrderId::for_key(&user("a"), &key("bc"))
        );
    }

    #[test]
    fn order_id_of_a_key_is_the_same_in_every_release() {
        let id = OrderId::for_key(&user("alice"), &key("k1"));
        assert_eq!(id.to_string(), "cb540609-e237-5fad-bc79-660cb1e63359");
    }

    #[test]
    fn order_ids_without_a_key_sort_by_time() {
        let early = OrderId::new(Timestamp::from_epoch_ms(1_000).unwrap(), &[0xff; 10]);
        let late = OrderId::new(Timestamp::from_epoch_ms(1_001).unwrap(), &[0; 10]);
        assert!(early < late);
    }
}

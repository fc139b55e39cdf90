//! Ids, cursors and prices.

use std::{fmt::Display, str};

use orders_contracts::{PriceError, decode_cursor, encode_cursor, parse_price};
use orders_domain::{
    CorrelationId, IdempotencyKey, OrderId, PaymentId, Price, TicketId, Timestamp, UserId,
};
use serde_json::value::RawValue;

/// Any text as a cursor. An accepted cursor serialises to the same text.
pub fn cursor(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(position) = decode_cursor(text) {
        assert_eq!(encode_cursor(position), text);
        assert!(position.created_at <= Timestamp::MAX);
    }
}

/// Any text as an id of each kind. Ids of other services are short printable ASCII. An order id
/// serialises to the same text. A key gives different order ids for different buyers.
pub fn id(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    check_id::<TicketId>(text, 128);
    check_id::<UserId>(text, 255);
    check_id::<PaymentId>(text, 255);
    check_id::<CorrelationId>(text, 255);
    check_id::<IdempotencyKey>(text, 255);
    if let Ok(id) = text.parse::<OrderId>() {
        assert_eq!(id.to_string(), text);
        assert_eq!(OrderId::from_bytes(id.to_bytes()), id);
    }
    if let Ok(key) = text.parse::<IdempotencyKey>() {
        let [alices, bobs] = ["alice", "bob"].map(|buyer| {
            let buyer: UserId = buyer.parse().expect("a user id");
            OrderId::for_key(&buyer, &key)
        });
        assert_ne!(alices, bobs);
        assert_eq!(alices.to_string().parse(), Ok(alices));
    }
}

fn check_id<Id: str::FromStr + Display>(text: &str, max_length: usize) {
    let is_id =
        (1..=max_length).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    let id = text.parse::<Id>().ok().map(|id| id.to_string());
    assert_eq!(id.as_deref(), is_id.then_some(text));
}

/// Any text as a price. Only a JSON number is accepted. An accepted price is exact to the cent and
/// equal after serialisation.
pub fn price(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let price = parse_price(text);
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get() == text);
    assert_eq!(price != Err(PriceError::NotANumber), is_number);
    if let Ok(price) = price {
        assert!(price <= Price::MAX);
        assert_eq!(parse_price(&price.to_string()), Ok(price));
        let written: f64 = price.to_string().parse().expect("a number");
        let read: f64 = text.parse().expect("a number");
        assert!((written - read).abs() < 0.001, "{text} parsed as {price}");
    }
}

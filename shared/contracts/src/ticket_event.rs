//! `TicketCreated`, `TicketUpdated` and `TicketWithdrawn` in EventBridge's envelope.

use orders_domain::{IdError, Sale, Ticket, TicketVersion, TitleError, UpdateKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{JsonError, PriceError, parse_price};

/// An event of the ticket service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketEvent {
    /// Type of the event.
    pub kind: UpdateKind,
    /// The whole sale after the change.
    pub sale: Sale,
}

/// Reason why a message is not a ticket event. Retries cannot help.
#[derive(Debug, thiserror::Error)]
pub enum TicketEventError {
    /// The message is not an EventBridge event with a ticket.
    #[error("not an event with a ticket")]
    Malformed(#[source] JsonError),
    /// The event has another type.
    #[error("the detail-type is none of TicketCreated, TicketUpdated and TicketWithdrawn")]
    OtherType,
    /// The event comes from another service.
    #[error("the source is not tickets")]
    OtherSource,
    /// `detail.id` is not a ticket id.
    #[error("detail.id is not a ticket id")]
    Id(#[source] IdError),
    /// `detail.title` is not a title.
    #[error("detail.title is not a title")]
    Title(#[source] TitleError),
    /// `detail.price` is not a price.
    #[error("detail.price is not a price")]
    Price(#[source] PriceError),
    /// `detail.version` is too large to stay exact in JSON.
    #[error("detail.version is above {}", TicketVersion::MAX.number())]
    Version,
}

/// Envelope (EventBridge user guide, "Events"). Unknown fields are ignored.
#[derive(Deserialize)]
struct Envelope<'a> {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    #[serde(borrow)]
    detail: &'a RawValue,
}

#[derive(Deserialize)]
struct TicketDetail<'a> {
    id: String,
    title: String,
    /// Raw text of the number, to be parsed to the cent.
    #[serde(borrow)]
    price: &'a RawValue,
    version: u64,
}

#[derive(Deserialize)]
struct WithdrawalDetail {
    id: String,
    version: u64,
}

impl TicketEvent {
    /// Parses an event from its EventBridge envelope.
    ///
    /// # Errors
    /// [`TicketEventError`] for any other message.
    pub fn parse(envelope: &str) -> Result<Self, TicketEventError> {
        let Envelope { source, detail_type, detail } = parse_json(envelope)?;
        // The rule of the bus filters by source too, but a queue can hold messages of another origin.
        if source != "tickets" {
            return Err(TicketEventError::OtherSource);
        }
        let kind = match detail_type.as_str() {
            "TicketCreated" => UpdateKind::Created,
            "TicketUpdated" => UpdateKind::Updated,
            "TicketWithdrawn" => UpdateKind::Withdrawn,
            _ => return Err(TicketEventError::OtherType),
        };
        let sale = match kind {
            UpdateKind::Created | UpdateKind::Updated => Sale::Open(parse_ticket(detail.get())?),
            UpdateKind::Withdrawn => {
                let WithdrawalDetail { id, version } = parse_json(detail.get())?;
                let id = id.parse().map_err(TicketEventError::Id)?;
                Sale::Withdrawn { id, version: parse_version(version)? }
            }
        };
        Ok(Self { kind, sale })
    }
}

fn parse_ticket(detail: &str) -> Result<Ticket, TicketEventError> {
    let TicketDetail { id, title, price, version } = parse_json(detail)?;
    Ok(Ticket {
        version: parse_version(version)?,
        id: id.parse().map_err(TicketEventError::Id)?,
        title: title.parse().map_err(TicketEventError::Title)?,
        price: parse_price(price.get()).map_err(TicketEventError::Price)?,
    })
}

/// A version beyond the maximum could be rounded by a sender, and then compare wrongly.
fn parse_version(version: u64) -> Result<TicketVersion, TicketEventError> {
    let version = TicketVersion::new(version);
    if version > TicketVersion::MAX { Err(TicketEventError::Version) } else { Ok(version) }
}

fn parse_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, TicketEventError> {
    serde_json::from_str(text).map_err(|error| TicketEventError::Malformed(error.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn event() -> Value {
        json!({
            "version": "0",
            "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
            "detail-type": "TicketCreated",
            "source": "tickets",
            "account": "111122223333",
            "time": "2026-01-02T03:04:05Z",
            "region": "us-east-1",
            "resources": [],
            "detail": {"id": "ticket-1", "title": "Concert", "price": 19.9, "version": 0,
                       "userId": "seller", "orderId": null},
        })
    }

    fn with(pointer: &str, value: Value) -> String {
        let mut event = event();
        *event.pointer_mut(pointer).unwrap() = value;
        event.to_string()
    }

    #[test]
    fn ticket_event_ignores_unknown_fields() {
        let event = TicketEvent::parse(&event().to_string()).unwrap();
        assert_eq!(event.kind, UpdateKind::Created);
        let ticket = event.sale.ticket().unwrap();
        assert_eq!(ticket.id.as_str(), "ticket-1");
        assert_eq!(ticket.title.as_str(), "Concert");
        assert_eq!(ticket.price.minor(), 1_990);
        assert_eq!(ticket.version.number(), 0);
        let updated = TicketEvent::parse(&with("/detail-type", json!("TicketUpdated"))).unwrap();
        assert_eq!(updated.kind, UpdateKind::Updated);
    }

    #[test]
    fn withdrawal_has_an_id_and_a_version_only() {
        let withdrawal = |detail: Value| {
            let mut event = event();
            event["detail-type"] = json!("TicketWithdrawn");
            event["detail"] = detail;
            TicketEvent::parse(&event.to_string())
        };
        let event = withdrawal(json!({"id": "ticket-1", "version": 3, "by": "seller"})).unwrap();
        let (id, version) = ("ticket-1".parse().unwrap(), TicketVersion::new(3));
        let sale = Sale::Withdrawn { id, version };
        assert_eq!(event, TicketEvent { kind: UpdateKind::Withdrawn, sale });
        for invalid in [
            json!({}),
            json!({"id": "ticket-1"}),
            json!({"id": "", "version": 3}),
            json!({"id": "ticket-1", "version": "3"}),
            json!({"id": "ticket-1", "version": -1}),
            json!({"id": "ticket-1", "version": 9_007_199_254_740_992_u64}),
            json!([]),
            json!(null),
        ] {
            assert!(withdrawal(invalid.clone()).is_err(), "{invalid}");
        }
    }

    #[test]
    fn ticket_event_rejects_other_messages() {
        for message in ["", "null", "[]", "{}", "\u{0}", "{\"detail-type\":\"TicketCreated\"}"] {
            let error = TicketEvent::parse(message).unwrap_err();
            assert!(matches!(error, TicketEventError::Malformed(_)), "{message}");
        }
        for (pointer, value, expected) in [
            ("/source", json!("payments"), "the source is not tickets"),
            ("/source", json!(null), "not an event"),
            ("/detail-type", json!("TicketDeleted"), "the detail-type is none"),
            ("/detail/id", json!(""), "detail.id"),
            ("/detail/id", json!(7), "not an event"),
            ("/detail/title", json!(" "), "detail.title"),
            ("/detail/price", json!("20"), "detail.price"),
            ("/detail/price", json!(-1), "detail.price"),
            ("/detail/price", json!(0.001), "detail.price"),
            ("/detail/price", json!(null), "detail.price"),
            ("/detail/version", json!(-1), "not an event"),
            ("/detail/version", json!(1.5), "not an event"),
            ("/detail/version", json!("1"), "not an event"),
            ("/detail/version", json!(9_007_199_254_740_992_u64), "detail.version"),
        ] {
            let error = TicketEvent::parse(&with(pointer, value.clone())).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{pointer} {value}: {error}");
        }
    }

    proptest! {
        #[test]
        fn ticket_event_parser_never_panics(message in ".*") {
            prop_assert!(TicketEvent::parse(&message).is_err());
        }
    }
}

//! The body of `POST /api/orders`.

use orders_domain::{TicketId, TicketVersion};
use serde_json::Value;

use crate::FieldError;

/// Body of a request to create an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateOrderBody {
    /// Ticket to lock.
    pub ticket_id: TicketId,
    /// Version of the ticket that the buyer has seen, if the buyer wants no other price.
    pub ticket_version: Option<TicketVersion>,
}

/// Parses `{"ticketId": "...", "ticketVersion": 3}`. The version is optional, and `null` means none. Other
/// fields are ignored.
///
/// # Errors
/// A [`FieldError`] for the client.
///
/// # Examples
/// ```
/// use orders_contracts::parse_create_order;
///
/// let body = parse_create_order(br#"{"ticketId": "ticket-1"}"#).unwrap();
/// assert_eq!(body.ticket_id.as_str(), "ticket-1");
/// let error = parse_create_order(b"{}").unwrap_err();
/// assert_eq!(error.message, "ticketId is required");
/// ```
pub fn parse_create_order(body: &[u8]) -> Result<CreateOrderBody, FieldError> {
    // Parsed to a value first: errors then name the field, not a byte position in a type.
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| FieldError::general(format!("the body is not valid JSON: {error}")))?;
    let Value::Object(fields) = body else {
        return Err(FieldError::general("the body must be a JSON object"));
    };
    Ok(CreateOrderBody {
        ticket_id: ticket_id(fields.get(TICKET_ID))?,
        ticket_version: ticket_version(fields.get(TICKET_VERSION))?,
    })
}

const TICKET_ID: &str = "ticketId";
const TICKET_VERSION: &str = "ticketVersion";

fn ticket_id(field: Option<&Value>) -> Result<TicketId, FieldError> {
    match field {
        None => Err(FieldError::for_field(TICKET_ID, "is required")),
        Some(Value::String(id)) => {
            id.parse().map_err(|error| FieldError::for_field(TICKET_ID, error))
        }
        Some(_) => Err(FieldError::for_field(TICKET_ID, "must be a string")),
    }
}

fn ticket_version(field: Option<&Value>) -> Result<Option<TicketVersion>, FieldError> {
    let Some(value) = field.filter(|value| !value.is_null()) else { return Ok(None) };
    let version = value.as_u64().map(TicketVersion::new);
    let version = version.filter(|version| *version <= TicketVersion::MAX);
    version.map(Some).ok_or_else(|| {
        let max = TicketVersion::MAX.number();
        FieldError::for_field(TICKET_VERSION, format!("must be a whole number from 0 to {max}"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn create_order_needs_a_ticket_id_only() {
        let body = parse_create_order(br#" {"ticketId":"ticket-1","colour":"red"} "#).unwrap();
        assert_eq!(body.ticket_id.as_str(), "ticket-1");
        assert_eq!(body.ticket_version, None);
    }

    #[test]
    fn create_order_reads_the_ticket_version() {
        for (version, expected) in [("0", Some(0)), ("7", Some(7)), ("null", None)] {
            let body = format!(r#"{{"ticketId":"ticket-1","ticketVersion":{version}}}"#);
            let body = parse_create_order(body.as_bytes()).unwrap();
            assert_eq!(body.ticket_version, expected.map(TicketVersion::new));
        }
    }

    #[test]
    fn create_order_names_the_fault_of_an_invalid_body() {
        for (body, field, message) in [
            (&b""[..], None, "not valid JSON"),
            (b"{", None, "not valid JSON"),
            (b"{\"ticketId\":\"\xff\"}", None, "not valid JSON"),
            (br#"{"ticketId":"\ud800"}"#, None, "not valid JSON"),
            (br#"["ticket-1"]"#, None, "must be a JSON object"),
            (b"null", None, "must be a JSON object"),
            (b"{}", Some("ticketId"), "is required"),
            (br#"{"ticketid":"ticket-1"}"#, Some("ticketId"), "is required"),
            (br#"{"ticketId":null}"#, Some("ticketId"), "must be a string"),
            (br#"{"ticketId":7}"#, Some("ticketId"), "must be a string"),
            (br#"{"ticketId":["ticket-1"]}"#, Some("ticketId"), "must be a string"),
            (br#"{"ticketId":""}"#, Some("ticketId"), "must not be empty"),
            (br#"{"ticketId":"a\u0000b"}"#, Some("ticketId"), "printable ASCII"),
            (br#"{"ticketId":"a","ticketVersion":"1"}"#, Some("ticketVersion"), "a whole number"),
            (br#"{"ticketId":"a","ticketVersion":-1}"#, Some("ticketVersion"), "a whole number"),
            (br#"{"ticketId":"a","ticketVersion":1.5}"#, Some("ticketVersion"), "a whole number"),
            (br#"{"ticketId":"a","ticketVersion":1e30}"#, Some("ticketVersion"), "a whole number"),
            (br#"{"ticketId":"a","ticketVersion":[]}"#, Some("ticketVersion"), "a whole number"),
        ] {
            let error = parse_create_order(body).unwrap_err();
            assert_eq!(error.field, field, "{body:?}");
            assert!(error.message.contains(message), "{body:?}: {}", error.message);
        }
    }

    #[test]
    fn create_order_rejects_a_deeply_nested_body() {
        assert!(parse_create_order("[".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn create_order_parser_never_panics(body: Vec<u8>) {
            if let Ok(parsed) = parse_create_order(&body) {
                prop_assert!(!parsed.ticket_id.as_str().is_empty());
            }
        }
    }
}

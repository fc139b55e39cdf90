//! Errors of the HTTP API.

use serde::Serialize;

use crate::TicketBody;

/// Problem details (RFC 9457), `application/problem+json`, with the `errors` list of older clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemBody {
    /// Problem type: a URI, or `about:blank` if the status suffices.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Title of the problem type.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Explanation of this occurrence and its remedy.
    pub detail: String,
    /// At least one error, with its field if any.
    pub errors: Vec<FieldError>,
    /// The current ticket, if the ticket of the request has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketBody>,
}

/// One error of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Message for the client.
    pub message: String,
    /// Name of the invalid field, parameter or header, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
}

impl FieldError {
    /// Error of this field.
    #[must_use]
    pub fn for_field(field: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { message: format!("{field} {reason}"), field: Some(field) }
    }

    /// Error of the request as a whole.
    #[must_use]
    pub fn general(message: impl Into<String>) -> Self {
        Self { message: message.into(), field: None }
    }
}

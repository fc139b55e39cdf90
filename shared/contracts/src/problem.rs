//! Errors, as the HTTP API tells them.

use serde::Serialize;

/// A problem details object (RFC 9457), `application/problem+json`, with the list of errors that
/// the shop's clients have always read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemBody {
    /// What kind of problem it is: a URI, or `about:blank` if the status says it all.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time, and what to do about it.
    pub detail: String,
    /// One entry or more: what went wrong, and in which field.
    pub errors: Vec<FieldError>,
}

/// One thing wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// What is wrong.
    pub message: String,
    /// The field, parameter or header that is wrong, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
}

impl FieldError {
    /// This field is wrong.
    #[must_use]
    pub fn for_field(field: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { message: format!("{field} {reason}"), field: Some(field) }
    }

    /// The request as a whole is wrong.
    #[must_use]
    pub fn general(message: impl Into<String>) -> Self {
        Self { message: message.into(), field: None }
    }
}

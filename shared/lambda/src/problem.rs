//! Error responses of the HTTP API.

use std::time::Duration;

use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use orders_contracts::{FieldError, ProblemBody, TicketBody};
use orders_domain::{BoxError, StoreError, Ticket};

use crate::command::CommandError;

/// `Cache-Control` of a response that no cache may keep (RFC 9111, section 5.2.2.5).
pub(crate) const NO_STORE: &str = "private, no-store";

/// Reason for an error response.
#[derive(Debug)]
pub enum Problem {
    /// The request has at least one error.
    Invalid(Vec<FieldError>),
    /// The token has no usable `sub` claim.
    MissingUserId,
    /// The buyer has no such order.
    NoSuchOrder,
    /// There is no such ticket.
    NoSuchTicket,
    /// Another order holds the ticket.
    Reserved {
        /// Time until the hold lapses.
        free_in: Duration,
    },
    /// The ticket has been bought.
    Sold,
    /// The seller has withdrawn the ticket.
    Withdrawn,
    /// The ticket is not at the version that the buyer has seen.
    TicketChanged {
        /// The current ticket.
        ticket: Ticket,
        /// Whether the buyer has seen a newer version: its event is on the way.
        is_behind: bool,
    },
    /// The buyer holds as many unpaid tickets as allowed.
    TooManyHolds {
        /// Time until the next hold ends.
        free_in: Duration,
    },
    /// The order has been paid, so it cannot be cancelled.
    Paid,
    /// The body is too large.
    TooLarge {
        /// Maximum size, in bytes.
        max: usize,
    },
    /// The `Content-Type` is not JSON.
    NotJson,
    /// The idempotency key was used for another ticket.
    KeyReused,
    /// The outcome is unknown. The request can be sent again safely.
    Unavailable(BoxError),
    /// The service has a defect or a wrong configuration.
    Internal(BoxError),
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.retryable() {
            Self::Unavailable(error.into())
        } else {
            Self::Internal(error.into())
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Contended => Self::Unavailable(error.into()),
            CommandError::Store(error) => error.into(),
        }
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::Invalid(vec![error])
    }
}

/// Status, problem type (a URI, RFC 9457) and title.
type Kind = (StatusCode, &'static str, &'static str);

impl Problem {
    /// HTTP status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind().0
    }

    /// The response: problem details without internal causes.
    #[must_use]
    pub fn into_response(self) -> Response<String> {
        let body = self.body();
        let mut response = Response::new(serde_json::to_string(&body).unwrap_or_default());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
        if let Some(wait) = self.retry_after() {
            // A random part, so that refused buyers do not return all at once.
            let jitter = Duration::from_millis(fastrand::u64(0..=1_000));
            headers.insert(RETRY_AFTER, whole_seconds(wait + jitter).into());
        }
        if let Self::MissingUserId = &self {
            // RFC 9110, section 11.6.1: a 401 names the authentication scheme.
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    fn body(&self) -> ProblemBody {
        let (status, kind, title) = self.kind();
        let detail = self.detail();
        let errors = if let Self::Invalid(errors) = self {
            errors.clone()
        } else {
            vec![FieldError::general(detail.clone())]
        };
        let ticket = if let Self::TicketChanged { ticket, .. } = self {
            Some(TicketBody::from(ticket))
        } else {
            None
        };
        ProblemBody { kind, title, status: status.as_u16(), detail, errors, ticket }
    }

    fn retry_after(&self) -> Option<Duration> {
        if let Self::Reserved { free_in } | Self::TooManyHolds { free_in } = self {
            return Some(*free_in);
        }
        let is_short =
            matches!(self, Self::Unavailable(_) | Self::TicketChanged { is_behind: true, .. });
        is_short.then_some(Duration::from_secs(1))
    }

    fn kind(&self) -> Kind {
        const BLANK: &str = "about:blank";
        match self {
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, BLANK, "Bad Request"),
            Self::MissingUserId => (StatusCode::UNAUTHORIZED, BLANK, "Unauthorized"),
            Self::NoSuchOrder => (StatusCode::NOT_FOUND, BLANK, "Not Found"),
            Self::NoSuchTicket => {
                (StatusCode::NOT_FOUND, "urn:problem-type:orders:no-such-ticket", "No such ticket")
            }
            Self::Reserved { .. } => (
                StatusCode::CONFLICT,
                "urn:problem-type:orders:ticket-reserved",
                "The ticket is reserved",
            ),
            Self::Sold => {
                (StatusCode::CONFLICT, "urn:problem-type:orders:ticket-sold", "The ticket is sold")
            }
            Self::Withdrawn => (
                StatusCode::GONE,
                "urn:problem-type:orders:ticket-withdrawn",
                "The ticket has been withdrawn",
            ),
            Self::TicketChanged { .. } => (
                StatusCode::CONFLICT,
                "urn:problem-type:orders:ticket-changed",
                "The ticket has changed",
            ),
            Self::TooManyHolds { .. } => (
                StatusCode::CONFLICT,
                "urn:problem-type:orders:too-many-holds",
                "Too many unpaid tickets",
            ),
            Self::Paid => {
                (StatusCode::CONFLICT, "urn:problem-type:orders:order-paid", "The order is paid")
            }
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, BLANK, "Content Too Large"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, BLANK, "Unsupported Media Type"),
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "urn:problem-type:orders:idempotency-key-reused",
                "The idempotency key was used for another request",
            ),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, BLANK, "Service Unavailable"),
            Self::Internal(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, BLANK, "Internal Server Error")
            }
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Invalid(errors) => {
                errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ")
            }
            Self::MissingUserId => {
                "the token's sub claim must be a string with the buyer's id".into()
            }
            Self::NoSuchOrder => "no order with this id belongs to you".into(),
            Self::NoSuchTicket => "no ticket has this id".into(),
            Self::Reserved { free_in } => format!(
                "another order holds the ticket; try again in {} s",
                whole_seconds(*free_in)
            ),
            Self::Sold => "the ticket has been sold".into(),
            Self::Withdrawn => "the seller has withdrawn the ticket".into(),
            Self::TicketChanged { ticket, is_behind: false } => format!(
                "the ticket is at version {} now; check its price and order it again",
                ticket.version.number()
            ),
            Self::TicketChanged { is_behind: true, .. } => {
                "the version of the ticket is not known yet; send the same request again".into()
            }
            Self::TooManyHolds { free_in } => format!(
                "you hold as many unpaid tickets as allowed; pay for one or cancel it, or try again \
                 in {} s",
                whole_seconds(*free_in)
            ),
            Self::Paid => "the order has been paid and cannot be cancelled".into(),
            Self::TooLarge { max } => format!("the body must be at most {max} bytes long"),
            Self::NotJson => "the Content-Type must be application/json".into(),
            Self::KeyReused => {
                "this Idempotency-Key has placed an order for another ticket; use a new key".into()
            }
            Self::Unavailable(_) => {
                "the outcome of the request is unknown; send the same request again, with the same \
                 Idempotency-Key if it has one"
                    .into()
            }
            Self::Internal(_) => "the service failed; the request is not at fault".into(),
        }
    }
}

/// Whole seconds for `Retry-After` (RFC 9110, section 10.2.3): rounded up, and at least 1.
fn whole_seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn json_of(problem: Problem) -> Value {
        serde_json::from_str(problem.into_response().body()).unwrap()
    }

    #[test]
    fn problem_has_the_standard_fields_and_the_errors_list() {
        let problem = Problem::Invalid(vec![
            FieldError::for_field("limit", "must be a whole number"),
            FieldError::general("and so on"),
        ]);
        let response = problem.into_response();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            serde_json::from_str::<Value>(response.body()).unwrap(),
            json!({
                "type": "about:blank",
                "title": "Bad Request",
                "status": 400,
                "detail": "limit must be a whole number; and so on",
                "errors": [
                    {"message": "limit must be a whole number", "field": "limit"},
                    {"message": "and so on"},
                ],
            })
        );
    }

    #[test]
    fn reserved_ticket_has_a_retry_after_up_to_a_second_after_its_hold() {
        for (free_in_ms, earliest) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (30_000, 30)] {
            let free_in = Duration::from_millis(free_in_ms);
            let response = Problem::Reserved { free_in }.into_response();
            let seconds = response.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
            assert!((earliest..=earliest + 1).contains(&seconds), "{free_in_ms} ms: {seconds} s");
        }
    }

    #[test]
    fn problem_never_contains_an_internal_cause() {
        let secret = || StoreError::Refused("table orders-7f3a".into());
        let unavailable = StoreError::Unavailable("table orders-7f3a".into());
        let unreadable = StoreError::Unreadable("table orders-7f3a".into());
        for (problem, status) in
            [(secret().into(), 500), (unavailable.into(), 503), (Problem::from(unreadable), 503)]
        {
            let body = json_of(problem);
            assert_eq!(body["status"], status);
            assert!(!body.to_string().contains("orders-7f3a"));
        }
    }
}

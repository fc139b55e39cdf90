//! Shows an order to its owner.

use http::{Response, StatusCode};
use orders_contracts::{OrderBody, etag};
use orders_domain::OrderStore;
use orders_lambda::{
    http::{ApiRequest, empty, json, own_order},
    problem::Problem,
};

/// Handles `GET /api/orders/{id}`.
///
/// # Errors
/// A [`Problem`], the error response.
pub async fn handle(
    store: &impl OrderStore,
    request: ApiRequest,
) -> Result<Response<String>, Problem> {
    let order = own_order(store, &request).await?;
    let now = request.response_time();
    let tag = etag(&order, now);
    let known = request.header("if-none-match")?.is_some_and(|tags| matches(tags, &tag));
    let headers = [("etag", tag), ("cache-control", "private, no-cache".to_owned())];
    // The client has this state already.
    if known {
        return empty(StatusCode::NOT_MODIFIED, &headers);
    }
    json(StatusCode::OK, &headers, &OrderBody::new(&order, now))
}

/// Whether `If-None-Match` contains the tag, by weak comparison (RFC 9110, section 13.1.2).
fn matches(tags: &str, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|candidate| opaque(candidate) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match_accepts_weak_and_strong_tags() {
        let tag = "W/\"0-awaiting_payment\"";
        for tags in [tag, "*", "\"0-awaiting_payment\"", "\"x\", W/\"0-awaiting_payment\""] {
            assert!(matches(tags, tag), "{tags}");
        }
        for tags in ["", "\"\"", "W/\"1-paid\"", "0-awaiting_payment"] {
            assert!(!matches(tags, tag), "{tags}");
        }
    }
}

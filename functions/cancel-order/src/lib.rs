//! Cancels an order for its owner and releases the ticket.

use http::{Response, StatusCode};
use orders_domain::{Command, CommitOutcome, Decision, OrderStore, Refusal, decide};
use orders_lambda::{
    http::{ApiRequest, empty, own_order},
    problem::Problem,
    retry::{MAX_ATTEMPTS, backoff},
};

/// Handles `DELETE /api/orders/{id}`.
///
/// # Errors
/// A [`Problem`], the error response.
pub async fn handle(
    store: &impl OrderStore,
    request: ApiRequest,
) -> Result<Response<String>, Problem> {
    for _ in 0..MAX_ATTEMPTS {
        let order = own_order(store, &request).await?;
        let transition = match decide(&order, &Command::Cancel) {
            Decision::Apply(transition) => transition,
            Decision::AlreadyDone => return empty(StatusCode::NO_CONTENT, &[]),
            Decision::Refuse(Refusal::Paid | Refusal::NotDue { .. }) => return Err(Problem::Paid),
        };
        match store.commit(&transition).await? {
            CommitOutcome::Committed => return empty(StatusCode::NO_CONTENT, &[]),
            // A payment or the expiry came first: read again and decide again.
            CommitOutcome::Conflict => backoff().await,
        }
    }
    Err(Problem::Unavailable("the order changed after each read".into()))
}

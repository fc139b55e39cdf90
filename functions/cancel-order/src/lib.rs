//! Cancels an order at its owner's wish, and so frees its ticket.

use http::{Response, StatusCode};
use orders_domain::{Command, CommitOutcome, Decision, OrderStore, Refusal, decide};
use orders_lambda::{
    http::{Call, empty, own_order},
    problem::Problem,
};

/// How often the order is read, while it changes each time before it is cancelled.
const MAX_READS: usize = 5;

/// Answers `DELETE /api/orders/{id}`.
///
/// # Errors
/// The [`Problem`] to answer with instead.
pub async fn handle(store: &impl OrderStore, call: Call) -> Result<Response<String>, Problem> {
    let mut refused = None;
    for _ in 0..MAX_READS {
        let order = own_order(store, &call).await?;
        // Every change of an order changes its version, so it was the lock that refused.
        if refused == Some(order.version) {
            return Err(Problem::Internal("the ticket's lock does not name its live order".into()));
        }
        let transition = match decide(&order, &Command::Cancel) {
            Decision::Apply(transition) => transition,
            Decision::AlreadyDone => return empty(StatusCode::NO_CONTENT, &[]),
            Decision::Refuse(Refusal::Paid | Refusal::NotDue { .. }) => return Err(Problem::Paid),
        };
        match store.commit(&transition).await? {
            CommitOutcome::Committed => return empty(StatusCode::NO_CONTENT, &[]),
            CommitOutcome::Moved => refused = Some(order.version),
        }
    }
    Err(Problem::Unavailable("the order kept changing".into()))
}

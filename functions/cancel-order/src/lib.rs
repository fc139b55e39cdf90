//! Cancels an order for its owner and releases the ticket.

use http::{Response, StatusCode};
use orders_domain::{Command, OrderStore};
use orders_lambda::{
    command::{CommandOutcome, execute},
    http::{ApiRequest, empty, own_order},
    problem::Problem,
};

/// Handles `DELETE /api/orders/{id}`.
///
/// # Errors
/// A [`Problem`], the error response.
pub async fn handle(
    store: &impl OrderStore,
    request: ApiRequest,
) -> Result<Response<String>, Problem> {
    let order = own_order(store, &request).await?;
    match execute(store, order, &Command::Cancel, request.now).await? {
        CommandOutcome::Committed(_) | CommandOutcome::AlreadyDone => {
            empty(StatusCode::NO_CONTENT, &[])
        }
        CommandOutcome::Refused(_) | CommandOutcome::PaymentOfAnotherOrder(_) => Err(Problem::Paid),
    }
}

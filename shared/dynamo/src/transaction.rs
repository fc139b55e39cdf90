//! `TransactWriteItems`, retried until its outcome is known.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput},
    types::{CancellationReason, TransactWriteItem},
};
use orders_domain::StoreError;
use uuid::Uuid;

use crate::{
    error::store_error,
    items::Item,
    retry::{Attempt, retry_conflicts},
};

/// Outcome of a transaction.
#[derive(Debug)]
pub(crate) enum Transacted {
    /// All writes are committed.
    Committed,
    /// A condition failed. Nothing was written.
    Refused {
        /// For each write, the item found by its failed condition, if requested.
        found: Vec<Option<Item>>,
        /// Indexes of the writes whose condition failed.
        failed: Vec<usize>,
    },
}

/// Sends the writes as one transaction and retries conflicts. Each attempt builds the writes anew.
///
/// An attempt has a token of its own, which the SDK repeats: `DynamoDB` recognises a repeat of a committed
/// transaction whose response was lost, and reports success (Amazon `DynamoDB` API reference,
/// `ClientRequestToken`). After a conflict the conditions decide: should a lost request of an earlier
/// attempt still commit, they find the own write.
pub(crate) async fn transact(
    client: &Client,
    writes: impl Fn() -> Result<Vec<TransactWriteItem>, StoreError>,
    conflict_budget: Duration,
) -> Result<Transacted, StoreError> {
    retry_conflicts(conflict_budget, || {
        let writes = writes();
        async move {
            match writes {
                Ok(writes) => attempt(client, writes).await,
                Err(error) => Attempt::Failed(error),
            }
        }
    })
    .await
}

/// Sends the writes as one transaction, once.
pub(crate) async fn attempt(
    client: &Client,
    writes: Vec<TransactWriteItem>,
) -> Attempt<Transacted> {
    let request = client.transact_write_items().set_transact_items(Some(writes));
    outcome(request.client_request_token(Uuid::new_v4().to_string()).send().await)
}

fn outcome(
    response: Result<TransactWriteItemsOutput, SdkError<TransactWriteItemsError>>,
) -> Attempt<Transacted> {
    let Err(error) = response else {
        return Attempt::Done(Transacted::Committed);
    };
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        error.as_service_error()
    else {
        return Attempt::Failed(store_error(error));
    };
    let reasons = cancelled.cancellation_reasons();
    // A failed condition is final, whatever conflicts were found beside it.
    let has_failed = |(_, reason): &(usize, &CancellationReason)| {
        reason.code() == Some("ConditionalCheckFailed")
    };
    let failed: Vec<usize> =
        reasons.iter().enumerate().filter(has_failed).map(|(index, _)| index).collect();
    if !failed.is_empty() {
        let found = reasons.iter().map(|reason| reason.item.clone()).collect();
        return Attempt::Done(Transacted::Refused { found, failed });
    }
    if reasons.iter().any(is_transient) {
        return Attempt::Conflict(StoreError::Unavailable(error.into()));
    }
    Attempt::Failed(StoreError::Refused(error.into()))
}

/// Whether a retry may succeed (Amazon DynamoDB API reference, `TransactWriteItems`, "Cancellation
/// reasons").
fn is_transient(reason: &CancellationReason) -> bool {
    matches!(
        reason.code(),
        Some("TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
    )
}

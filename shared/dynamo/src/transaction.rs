//! One `TransactWriteItems`, sent until it has an outcome.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput},
    types::{CancellationReason, Put, TransactWriteItem, Update},
};
use orders_domain::StoreError;
use uuid::Uuid;

use crate::{
    error::store_error,
    items::Item,
    retry::{Attempt, retry_conflicts},
};

/// One write of a transaction.
#[derive(Debug)]
pub(crate) enum Write {
    /// A whole item.
    Put(Put),
    /// Some attributes of an item.
    Update(Update),
}

/// What became of a transaction.
#[derive(Debug)]
pub(crate) enum Transacted {
    /// All of it is written.
    Committed,
    /// A condition did not hold: none of it is written.
    Refused {
        /// For each write, the item that its condition found, if it asked for it and failed.
        found: Vec<Option<Item>>,
    },
}

/// Sends the writes as one transaction, again and again while others are in its way.
///
/// The token and the writes stay the same over all tries, so that a try whose answer was lost is
/// recognised by DynamoDB and answered as the success it was.
pub(crate) async fn transact(
    client: &Client,
    writes: Vec<Write>,
    conflict_budget: Duration,
) -> Result<Transacted, StoreError> {
    let items: Vec<TransactWriteItem> = writes
        .into_iter()
        .map(|write| match write {
            Write::Put(put) => TransactWriteItem::builder().put(put).build(),
            Write::Update(update) => TransactWriteItem::builder().update(update).build(),
        })
        .collect();
    let token = Uuid::new_v4().to_string();
    retry_conflicts(conflict_budget, || async {
        let request = client
            .transact_write_items()
            .set_transact_items(Some(items.clone()))
            .client_request_token(&token);
        outcome(request.send().await)
    })
    .await
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
    // A condition that failed says more than a conflict beside it.
    if reasons.iter().any(|reason| reason.code() == Some("ConditionalCheckFailed")) {
        return Attempt::Done(Transacted::Refused {
            found: reasons.iter().map(|reason| reason.item.clone()).collect(),
        });
    }
    if reasons.iter().any(may_pass) {
        return Attempt::Conflict(StoreError::Unavailable(error.into()));
    }
    Attempt::Failed(StoreError::Refused(error.into()))
}

/// Whether the reason goes away by itself (Amazon DynamoDB API reference, `TransactWriteItems`,
/// "Cancellation reasons").
fn may_pass(reason: &CancellationReason) -> bool {
    matches!(
        reason.code(),
        Some("TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
    )
}

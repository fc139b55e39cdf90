//! What DynamoDB's errors mean to a caller of the store.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use orders_domain::StoreError;

/// Throttling and trouble on DynamoDB's side (DynamoDB developer guide, "Error handling"). The SDK
/// has tried these again already.
const PASSING: [&str; 9] = [
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

/// Sorts an error of the SDK: an answer that names a passing trouble, or none that can be read,
/// leaves the outcome open.
#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK may add to its errors")]
pub(crate) fn store_error<E>(error: SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let refused = match &error {
        SdkError::ServiceError(response) => {
            let passing = response.err().code().is_none_or(|code| PASSING.contains(&code));
            !passing && !response.raw().status().is_server_error()
        }
        SdkError::ConstructionFailure(_) => true,
        // Timeouts, broken connections and answers that do not parse.
        _ => false,
    };
    if refused { StoreError::Refused(error.into()) } else { StoreError::Unavailable(error.into()) }
}

/// A request that this crate built wrongly.
pub(crate) fn invalid_request(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Refused(error.into())
}

/// An item that is not what its table holds.
pub(crate) fn corrupt(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Corrupt(error.into())
}

//! Errors of DynamoDB, classified for callers of the store.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use orders_domain::StoreError;

/// Codes of throttling and of server-side failures (DynamoDB developer guide, "Error handling"). The SDK
/// has retried these already.
const TRANSIENT: [&str; 9] = [
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

/// Classifies an error of the SDK. A transient error, or a response that cannot be parsed, leaves the
/// outcome unknown.
#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK may add errors")]
pub(crate) fn store_error<E>(error: SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let refused = match &error {
        SdkError::ServiceError(response) => {
            let transient = response.err().code().is_none_or(|code| TRANSIENT.contains(&code));
            !transient && !response.raw().status().is_server_error()
        }
        SdkError::ConstructionFailure(_) => true,
        // Timeouts, broken connections and responses that do not parse.
        _ => false,
    };
    if refused { StoreError::Refused(error.into()) } else { StoreError::Unavailable(error.into()) }
}

/// Error of an invalid request, a defect of this crate.
pub(crate) fn invalid_request(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Refused(error.into())
}

/// Error of an item that this release cannot read.
pub(crate) fn unreadable(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unreadable(error.into())
}

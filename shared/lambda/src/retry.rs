//! Retries of a use case whose write met a concurrent change.

use std::time::Duration;

use tokio::time::sleep;

/// Maximum number of attempts of a use case. Each attempt reads again.
pub const MAX_ATTEMPTS: usize = 5;

/// Maximum wait before the next attempt.
const MAX_BACKOFF: Duration = Duration::from_millis(40);

/// Waits before the next attempt, with full jitter so that concurrent attempts do not stay in step.
///
/// The wait lets a concurrent transaction become visible as a whole: two reads of two items may see one
/// item after the transaction and the other before it (DynamoDB developer guide, "Amazon DynamoDB
/// Transactions: How it works", read-committed isolation).
pub async fn backoff() {
    let max_ms = u64::try_from(MAX_BACKOFF.as_millis()).unwrap_or(u64::MAX);
    sleep(Duration::from_millis(fastrand::u64(0..=max_ms))).await;
}

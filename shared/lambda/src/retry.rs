//! Retries of a use case whose write met a concurrent change.

use std::time::Duration;

use tokio::time::sleep;

/// Maximum number of attempts of a use case. Each attempt reads again.
pub const MAX_ATTEMPTS: u32 = 8;

/// Maximum wait before the second attempt. It doubles with each attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
/// Maximum wait before any attempt.
const LONGEST_BACKOFF: Duration = Duration::from_millis(250);

/// Waits after the nth attempt, from 0 on, with full jitter so that concurrent attempts do not stay in step.
///
/// The wait lets a concurrent transaction become visible as a whole: two reads of two items may see one
/// item after the transaction and the other before it (DynamoDB developer guide, "Amazon DynamoDB
/// Transactions: How it works", read-committed isolation).
pub async fn backoff(attempt: u32) {
    let longest = FIRST_BACKOFF.saturating_mul(1 << attempt.min(8)).min(LONGEST_BACKOFF);
    sleep(longest.mul_f64(fastrand::f64())).await;
}

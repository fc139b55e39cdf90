//! What a use case does when it has read something that another function is changing.

use std::time::Duration;

use tokio::time::sleep;

/// How often a use case reads before it gives up on what changes each time.
pub const MAX_ATTEMPTS: usize = 5;

/// How long to wait before reading again, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(40);

/// Gives a transaction that is being committed time to be seen whole. Two reads of two items may find
/// one of them changed and the other not yet (DynamoDB developer guide, "Amazon DynamoDB Transactions:
/// How it works", read-committed isolation). With full jitter, so that readers do not go on in step.
pub async fn backoff() {
    let longest = u64::try_from(LONGEST_PAUSE.as_millis()).unwrap_or(u64::MAX);
    sleep(Duration::from_millis(fastrand::u64(0..=longest))).await;
}

//! Retries of conflicting writes, which the SDK leaves to its callers.

use std::time::Duration;

use orders_domain::StoreError;
use tokio::time::{Instant, sleep};

/// Maximum wait before the first retry.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// Maximum wait before any retry.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Result of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    /// The attempt has an outcome.
    Done(T),
    /// Another write was in progress. Nothing was written; a retry may succeed.
    Conflict(StoreError),
    /// The attempt failed for another reason.
    Failed(StoreError),
}

/// Retries conflicts for at most `budget`. The waits double and have full jitter, so that writers do not
/// collide again in step.
pub(crate) async fn retry_conflicts<T, F>(
    budget: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Attempt<T>>,
{
    let deadline = Instant::now() + budget;
    let mut max_wait = FIRST_WAIT;
    loop {
        let conflict = match attempt().await {
            Attempt::Done(outcome) => return Ok(outcome),
            Attempt::Failed(error) => return Err(error),
            Attempt::Conflict(error) => error,
        };
        let wait = Duration::from_micros(fastrand::u64(0..=micros(max_wait)));
        if Instant::now() + wait >= deadline {
            return Err(conflict);
        }
        metrics::counter!("WriteRetries").increment(1);
        sleep(wait).await;
        max_wait = (max_wait * 2).min(LONGEST_WAIT);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

//! Writes that conflict with others in flight are tried again. The SDK does not do that.

use std::time::Duration;

use orders_domain::StoreError;
use tokio::time::{Instant, sleep};

/// How long to wait before the first try again, at most.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// How long to wait before any try again, at most.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// What came of one try.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    /// It has an outcome.
    Done(T),
    /// Another write was in the way: nothing was written, and it can be tried again.
    Conflict(StoreError),
    /// It failed in another way.
    Failed(StoreError),
}

/// Tries until there is no conflict, for at most `budget`. The waits double and have full jitter, so
/// that writers who collided once do not collide again in step.
pub(crate) async fn retry_conflicts<T, F>(
    budget: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Attempt<T>>,
{
    let deadline = Instant::now() + budget;
    let mut longest = FIRST_WAIT;
    loop {
        let conflict = match attempt().await {
            Attempt::Done(outcome) => return Ok(outcome),
            Attempt::Failed(error) => return Err(error),
            Attempt::Conflict(error) => error,
        };
        let wait = Duration::from_micros(fastrand::u64(0..=micros(longest)));
        if Instant::now() + wait >= deadline {
            return Err(conflict);
        }
        metrics::counter!("WriteRetries").increment(1);
        sleep(wait).await;
        longest = (longest * 2).min(LONGEST_WAIT);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

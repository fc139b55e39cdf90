//! The clock. Nothing else reads the time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::Context;
use orders_domain::{BoxError, OrderId, Timestamp};
use tokio::time::Instant;

/// How much of a function's time is kept back to give an answer.
const TIME_TO_ANSWER: Duration = Duration::from_millis(500);

/// The time now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_epoch_ms(0).map_or(Timestamp::MAX, |epoch| epoch.plus(since_epoch))
}

/// An order id that was never used before. Its randomness is the operating system's: two functions
/// that start in the same millisecond must not think of the same id.
///
/// # Errors
/// If the operating system has none.
pub fn new_order_id(now: Timestamp) -> Result<OrderId, BoxError> {
    let mut random = [0; 10];
    getrandom::fill(&mut random)?;
    Ok(OrderId::new(now, &random))
}

/// When work must stop, so that the function can still answer before Lambda ends it.
pub(crate) fn work_deadline(context: &Context, now: Timestamp) -> Instant {
    let deadline = Timestamp::from_epoch_ms(context.deadline).unwrap_or(Timestamp::MAX);
    Instant::now() + now.until(deadline).saturating_sub(TIME_TO_ANSWER)
}

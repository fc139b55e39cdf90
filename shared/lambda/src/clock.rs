//! The clock. No other module reads the time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::Context;
use orders_domain::{BoxError, OrderId, Timestamp};
use tokio::time::Instant;

/// Time reserved at the end of an invocation for its response.
const TIME_TO_RESPOND: Duration = Duration::from_millis(500);

/// Current time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_epoch_ms(0).map_or(Timestamp::MAX, |epoch| epoch.plus(since_epoch))
}

/// A new, unique order id. The operating system provides the random bytes: two environments that start
/// in the same millisecond must not generate the same id.
///
/// # Errors
/// If the operating system provides no random bytes.
pub fn new_order_id(now: Timestamp) -> Result<OrderId, BoxError> {
    let mut random = [0; 10];
    getrandom::fill(&mut random)?;
    Ok(OrderId::new(now, &random))
}

/// End of the work of an invocation: early enough for a response before Lambda's timeout.
pub(crate) fn work_deadline(context: &Context, now: Timestamp) -> Instant {
    let deadline = Timestamp::from_epoch_ms(context.deadline).unwrap_or(Timestamp::MAX);
    Instant::now() + now.until(deadline).saturating_sub(TIME_TO_RESPOND)
}

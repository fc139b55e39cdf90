//! Configuration from environment variables. An invalid variable ends the function at its start, with
//! the variable's name in the error.

use std::{env, ops::RangeInclusive, str::FromStr, time::Duration};

use orders_domain::SlotCount;
use orders_dynamo::{Retention, TableNames};

/// A missing or invalid environment variable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The variable is missing.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// The variable's value is invalid.
    #[error("the environment variable {name} must be {expected}")]
    Invalid {
        /// Name of the variable.
        name: &'static str,
        /// Expected value.
        expected: &'static str,
    },
}

/// Value of a variable; `None` if it is missing or empty.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Value of a required variable.
///
/// # Errors
/// [`ConfigError::Missing`] if the variable is missing or empty.
pub fn required(name: &'static str) -> Result<String, ConfigError> {
    optional(name).ok_or(ConfigError::Missing(name))
}

/// Table names from `ORDERS_TABLE`, `TICKETS_TABLE`, `PAYMENTS_TABLE` and `BUYERS_TABLE`.
///
/// # Errors
/// [`ConfigError::Missing`] if a variable is missing.
pub fn table_names() -> Result<TableNames, ConfigError> {
    Ok(TableNames {
        orders: required("ORDERS_TABLE")?,
        tickets: required("TICKETS_TABLE")?,
        payments: required("PAYMENTS_TABLE")?,
        buyers: required("BUYERS_TABLE")?,
    })
}

/// Duration of a hold from `HOLD_SECONDS`: 1 second to a day.
///
/// # Errors
/// [`ConfigError`] if the variable is missing or out of range.
pub fn hold() -> Result<Duration, ConfigError> {
    seconds("HOLD_SECONDS", 1..=86_400, "a whole number from 1 to 86400")
}

/// Time after the end of a hold in which a payment can still be sent, from `LATE_PAYMENT_SECONDS`: 0 to a
/// day.
///
/// # Errors
/// [`ConfigError`] if the variable is missing or out of range.
pub fn late_payment_limit() -> Result<Duration, ConfigError> {
    seconds("LATE_PAYMENT_SECONDS", 0..=86_400, "a whole number from 0 to 86400")
}

/// Time to pay from the start of a payment on, from `PAYMENT_SECONDS`: 0 to a day; 0 for no longer hold.
///
/// # Errors
/// [`ConfigError`] if the variable is missing or out of range.
pub fn time_to_pay() -> Result<Duration, ConfigError> {
    seconds("PAYMENT_SECONDS", 0..=86_400, "a whole number from 0 to 86400")
}

/// Number of unpaid tickets that one buyer can hold at once, from `HOLDS_PER_BUYER`: 0 to 50; 0 for no
/// limit.
///
/// # Errors
/// [`ConfigError`] if the variable is missing or out of range.
pub fn holds_per_buyer() -> Result<SlotCount, ConfigError> {
    const NAME: &str = "HOLDS_PER_BUYER";
    let count = u8::from_str(&required(NAME)?).ok().and_then(|count| count.try_into().ok());
    count.ok_or(ConfigError::Invalid { name: NAME, expected: "a whole number from 0 to 50" })
}

/// Retention of orders without a sale, from `KEEP_UNPAID_DAYS`: 60 days or more; 0 for ever. At least 60
/// days, so that an order outlives every message about it in the queues, the dead-letter queues and an archive
/// of 30 days.
///
/// # Errors
/// [`ConfigError`] if the variable is missing or out of range.
pub fn retention() -> Result<Retention, ConfigError> {
    const NAME: &str = "KEEP_UNPAID_DAYS";
    const EXPECTED: &str = "0, or a whole number from 60 to 36500";
    match u16::from_str(&required(NAME)?) {
        Ok(0) => Ok(Retention::Unlimited),
        Ok(days @ 60..=36_500) => {
            Ok(Retention::Limited(Duration::from_hours(24 * u64::from(days))))
        }
        Ok(_) | Err(_) => Err(ConfigError::Invalid { name: NAME, expected: EXPECTED }),
    }
}

fn seconds(
    name: &'static str,
    range: RangeInclusive<u64>,
    expected: &'static str,
) -> Result<Duration, ConfigError> {
    let seconds = u64::from_str(&required(name)?).ok().filter(|seconds| range.contains(seconds));
    seconds.map(Duration::from_secs).ok_or(ConfigError::Invalid { name, expected })
}

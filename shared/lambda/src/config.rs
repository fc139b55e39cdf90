//! Configuration from environment variables. An invalid variable ends the function at its start, with
//! the variable's name in the error.

use std::{env, str::FromStr, time::Duration};

use orders_dynamo::TableNames;

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

/// Table names from `ORDERS_TABLE` and `TICKETS_TABLE`.
///
/// # Errors
/// [`ConfigError::Missing`] if a variable is missing.
pub fn table_names() -> Result<TableNames, ConfigError> {
    Ok(TableNames { orders: required("ORDERS_TABLE")?, tickets: required("TICKETS_TABLE")? })
}

/// Duration of a hold from `HOLD_SECONDS`: 1 second to a day.
///
/// # Errors
/// [`ConfigError`] if the variable is missing or out of range.
pub fn hold() -> Result<Duration, ConfigError> {
    const NAME: &str = "HOLD_SECONDS";
    const DAY: u64 = 86_400;
    parse_hold(&required(NAME)?, 1..=DAY)
        .ok_or(ConfigError::Invalid { name: NAME, expected: "a whole number from 1 to 86400" })
}

fn parse_hold(text: &str, range: std::ops::RangeInclusive<u64>) -> Option<Duration> {
    u64::from_str(text).ok().filter(|seconds| range.contains(seconds)).map(Duration::from_secs)
}

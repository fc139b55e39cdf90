//! What a function is told by its environment. A wrong setting ends the function at its start, with
//! the setting's name.

use std::{env, str::FromStr, time::Duration};

use orders_dynamo::TableNames;

/// A setting that is not there, or not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// The variable's value is not of its kind.
    #[error("the environment variable {name} must be {expected}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

/// The value of a variable; nothing, if it is not set or empty.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of a variable.
///
/// # Errors
/// [`ConfigError::Missing`] if it is not set or empty.
pub fn required(name: &'static str) -> Result<String, ConfigError> {
    optional(name).ok_or(ConfigError::Missing(name))
}

/// The tables, from `ORDERS_TABLE` and `TICKETS_TABLE`.
///
/// # Errors
/// [`ConfigError::Missing`]
pub fn table_names() -> Result<TableNames, ConfigError> {
    Ok(TableNames { orders: required("ORDERS_TABLE")?, tickets: required("TICKETS_TABLE")? })
}

/// How long an order holds its ticket: `HOLD_SECONDS`, 1 second to a day.
///
/// # Errors
/// [`ConfigError`]
pub fn hold() -> Result<Duration, ConfigError> {
    const NAME: &str = "HOLD_SECONDS";
    const DAY: u64 = 86_400;
    parse_hold(&required(NAME)?, 1..=DAY)
        .ok_or(ConfigError::Invalid { name: NAME, expected: "a whole number from 1 to 86400" })
}

fn parse_hold(text: &str, range: std::ops::RangeInclusive<u64>) -> Option<Duration> {
    u64::from_str(text).ok().filter(|seconds| range.contains(seconds)).map(Duration::from_secs)
}

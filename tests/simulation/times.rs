//! Times as the service writes them.

use chrono::DateTime;

/// An RFC 3339 time, in epoch milliseconds.
pub(crate) fn epoch_ms(time: &str) -> u64 {
    let time = DateTime::parse_from_rfc3339(time).expect("a time is RFC 3339");
    time.timestamp_millis().try_into().expect("a time is after 1970")
}

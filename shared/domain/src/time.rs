//! Points in time.

use std::time::Duration;

/// A point in time, in whole milliseconds since 1970-01-01T00:00:00Z, up to the end of the year 9999,
/// the last year that RFC 3339 can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last millisecond of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The time this many milliseconds after the epoch; `None` beyond [`Timestamp::MAX`].
    #[must_use]
    pub fn from_epoch_ms(ms: u64) -> Option<Self> {
        (ms <= Self::MAX.0).then_some(Self(ms))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn epoch_ms(self) -> u64 {
        self.0
    }

    /// The time later by `duration`, at most [`Timestamp::MAX`]. Fractions of a millisecond are dropped.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ms)).min(Self::MAX)
    }

    /// The time earlier by `duration`, at least the epoch. Fractions of a millisecond are dropped.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(ms))
    }

    /// The duration until `later`; zero if `later` has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_ends_with_the_year_9999() {
        assert_eq!(Timestamp::from_epoch_ms(Timestamp::MAX.epoch_ms() + 1), None);
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(1)), Timestamp::MAX);
    }

    #[test]
    fn timestamp_begins_with_the_epoch() {
        let early = Timestamp::from_epoch_ms(5_000).unwrap();
        assert_eq!(early.minus(Duration::from_secs(2)).epoch_ms(), 3_000);
        assert_eq!(early.minus(Duration::from_secs(6)).epoch_ms(), 0);
    }

    #[test]
    fn until_a_past_time_is_zero() {
        let early = Timestamp::from_epoch_ms(5).unwrap();
        let late = early.plus(Duration::from_millis(7));
        assert_eq!(early.until(late), Duration::from_millis(7));
        assert_eq!(late.until(early), Duration::ZERO);
    }
}

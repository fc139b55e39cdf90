//! Resources with a limit: rates as token buckets, pools as numbers of busy workers. Each records how much
//! of it was used and when it first refused.

/// Use of a resource, for the report.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    pub(crate) name: String,
    /// Highest use in a second, as a share of the limit.
    pub(crate) peak: f64,
    /// Limit, as a text.
    pub(crate) limit: String,
    pub(crate) refused: u64,
    /// Time of the first refusal, from the start.
    pub(crate) first_refused_ms: Option<u64>,
}

/// A rate with a burst, refilled continuously.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    per_second: f64,
    burst: f64,
    level: f64,
    at_ms: u64,
    /// Second of the last use, and the use in it.
    second: (u64, f64),
    peak: f64,
    pub(crate) total: f64,
    refused: u64,
    first_refused_ms: Option<u64>,
}

impl Rate {
    /// A rate whose burst is the use of one second.
    pub(crate) fn new(per_second: f64) -> Self {
        Self::with_burst(per_second, per_second)
    }

    pub(crate) fn with_burst(per_second: f64, burst: f64) -> Self {
        let (level, second) = (burst, (0, 0.0));
        Self {
            per_second,
            burst,
            level,
            at_ms: 0,
            second,
            peak: 0.0,
            total: 0.0,
            refused: 0,
            first_refused_ms: None,
        }
    }

    /// Whether this much is left now.
    pub(crate) fn has(&mut self, amount: f64, now_ms: u64) -> bool {
        let elapsed = ms(now_ms.saturating_sub(self.at_ms));
        self.level = (self.level + self.per_second * elapsed).min(self.burst);
        self.at_ms = now_ms;
        self.level >= amount
    }

    /// Takes this much, which must be left.
    pub(crate) fn take(&mut self, amount: f64, now_ms: u64) {
        self.level -= amount;
        self.total += amount;
        if self.second.0 != now_ms / 1_000 {
            self.second = (now_ms / 1_000, 0.0);
        }
        self.second.1 += amount;
        self.peak = self.peak.max(self.second.1);
    }

    pub(crate) fn refuse(&mut self, now_ms: u64) {
        self.refused += 1;
        self.first_refused_ms.get_or_insert(now_ms);
    }

    /// Takes this much if it is left, and counts a refusal otherwise.
    pub(crate) fn try_take(&mut self, amount: f64, now_ms: u64) -> bool {
        let has = self.has(amount, now_ms);
        if has {
            self.take(amount, now_ms);
        } else {
            self.refuse(now_ms);
        }
        has
    }

    pub(crate) fn usage(&self, name: impl Into<String>) -> Usage {
        Usage {
            name: name.into(),
            peak: self.peak / self.per_second,
            limit: format!("{}/s", self.per_second),
            refused: self.refused,
            first_refused_ms: self.first_refused_ms,
        }
    }
}

/// A number of workers.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) size: usize,
    pub(crate) busy: usize,
    at_ms: u64,
    /// Second, and the busy time in it, in worker milliseconds.
    second: (u64, f64),
    peak: f64,
    refused: u64,
    first_refused_ms: Option<u64>,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        let second = (0, 0.0);
        Self { size, busy: 0, at_ms: 0, second, peak: 0.0, refused: 0, first_refused_ms: None }
    }

    pub(crate) fn start(&mut self, now_ms: u64) {
        self.advance(now_ms);
        self.busy += 1;
    }

    pub(crate) fn finish(&mut self, now_ms: u64) {
        self.advance(now_ms);
        self.busy -= 1;
    }

    pub(crate) fn refuse(&mut self, now_ms: u64) {
        self.refused += 1;
        self.first_refused_ms.get_or_insert(now_ms);
    }

    /// Adds the busy time since the last change to the seconds that it belongs to.
    fn advance(&mut self, now_ms: u64) {
        while self.at_ms < now_ms {
            let end = now_ms.min((self.at_ms / 1_000 + 1) * 1_000);
            if self.second.0 != self.at_ms / 1_000 {
                self.second = (self.at_ms / 1_000, 0.0);
            }
            self.second.1 += count(self.busy) * ms(end - self.at_ms);
            self.peak = self.peak.max(self.second.1);
            // Idle seconds add nothing.
            self.at_ms = if self.busy == 0 { now_ms } else { end };
        }
    }

    pub(crate) fn usage(&self, name: impl Into<String>) -> Usage {
        Usage {
            name: name.into(),
            peak: self.peak / count(self.size),
            limit: self.size.to_string(),
            refused: self.refused,
            first_refused_ms: self.first_refused_ms,
        }
    }
}

/// Milliseconds as seconds.
pub(crate) fn ms(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

/// A count as a float; exact below 2^32.
pub(crate) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_allows_its_burst_and_then_its_rate() {
        let mut rate = Rate::with_burst(100.0, 20.0);
        let taken = (0..10_000).filter(|at_ms| rate.try_take(1.0, *at_ms)).count();
        // 20 at once, and 100 a second for 10 seconds.
        assert_eq!(taken, 1_019);
        assert_eq!(rate.usage("").first_refused_ms, Some(22));
    }

    #[test]
    fn pool_has_its_busiest_second_as_peak() {
        let mut pool = Pool::new(4);
        pool.start(500);
        pool.start(1_000);
        pool.finish(2_000);
        pool.finish(2_100);
        let peak = pool.usage("").peak;
        assert!((peak - 0.5).abs() < 1e-9, "{peak}");
    }
}

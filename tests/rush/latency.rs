//! Latencies and processor times. AWS publishes none of them: each is an **assumption**, unless it names a
//! measurement of this project. Log-normal distributions, given by p50 and p99.

use std::time::Duration;

use fastrand::Rng;

/// A latency distribution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    p50_ms: f64,
    p99_ms: f64,
}

const fn latency(p50_ms: f64, p99_ms: f64) -> Latency {
    Latency { p50_ms, p99_ms }
}

/// Network, TLS, authorizer and API Gateway together, there and back.
pub(crate) const GATEWAY: Latency = latency(12.0, 40.0);
/// `GetItem` from Lambda.
pub(crate) const READ: Latency = latency(4.0, 15.0);
/// `UpdateItem` from Lambda.
pub(crate) const WRITE: Latency = latency(5.0, 18.0);
/// `TransactWriteItems` from Lambda: two rounds between the partitions.
pub(crate) const TRANSACTION: Latency = latency(14.0, 50.0);
/// `PutEvents`.
pub(crate) const PUT_EVENTS: Latency = latency(20.0, 80.0);
/// `CreateSchedule` and `DeleteSchedule`.
pub(crate) const SCHEDULE: Latency = latency(60.0, 250.0);
/// A call of SQS.
pub(crate) const SQS: Latency = latency(10.0, 50.0);
/// From a message in the queue to the start of the invocation: long poll and invocation of the mapping.
pub(crate) const RECEIVE: Latency = latency(15.0, 60.0);
/// From the end of an invocation to the next poll: deletion of the batch.
pub(crate) const DELETE: Latency = latency(10.0, 40.0);
/// From `PutEvents` to a target of a rule.
pub(crate) const BUS: Latency = latency(120.0, 500.0);
/// Start of an environment until its first invocation: download, boot, and the first poll, which
/// docs/performance.md counts as 4.6 M instructions.
pub(crate) const COLD_START: Latency = latency(150.0, 400.0);
/// Wait of Lambda before it repeats a throttled batch of a queue or a shard, and its longest wait.
pub(crate) const THROTTLED_BATCH: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(10));
/// Wait of Lambda before it repeats a batch of a shard that failed.
pub(crate) const FAILED_RECORDS: Duration = Duration::from_millis(500);
/// Part of a transaction in which its items are in use: other transactions conflict.
pub(crate) const ITEMS_IN_USE: f64 = 0.5;

/// Processor time on a full core, in microseconds: `make bench` on a quiet machine.
pub(crate) mod cpu_us {
    pub(crate) const CREATE: f64 = 573.0;
    pub(crate) const SHOW: f64 = 281.0;
    pub(crate) const CANCEL: f64 = 416.0;
    pub(crate) const TICKET_EVENT: f64 = 163.0;
    pub(crate) const PAYMENT: f64 = 345.0;
    pub(crate) const EXPIRY: f64 = 338.0;
    pub(crate) const RELAYED: f64 = 55.0;
}

impl Latency {
    /// No latency.
    pub(crate) const NONE: Self = latency(0.0, 0.0);

    /// A random latency.
    pub(crate) fn sample(self, rng: &mut Rng) -> Duration {
        /// Standard deviations between the median and the 99th percentile.
        const P99: f64 = 2.326;
        if self.p50_ms == 0.0 {
            return Duration::ZERO;
        }
        let sigma = (self.p99_ms / self.p50_ms).ln() / P99;
        let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
        Duration::from_secs_f64(self.p50_ms * (sigma * normal).exp() / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_median_and_the_99th_percentile() {
        let mut rng = Rng::with_seed(1);
        let mut samples: Vec<f64> =
            (0..20_000).map(|_| TRANSACTION.sample(&mut rng).as_secs_f64() * 1_000.0).collect();
        samples.sort_by(f64::total_cmp);
        let (p50, p99) = (samples[10_000], samples[19_800]);
        assert!((13.5..14.5).contains(&p50), "{p50}");
        assert!((47.0..53.0).contains(&p99), "{p99}");
    }
}

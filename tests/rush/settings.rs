//! What this project decides: parameters of `template.yaml`, and constants of the AWS clients, whose code a
//! store in memory does not run. A test compares them with their source, so that the two cannot drift.

use std::time::Duration;

use crate::limits;

/// Settings of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) name: &'static str,
    // Parameters of the template
    pub(crate) orders_per_second: u32,
    pub(crate) orders_burst: u32,
    /// Requests a second of each other route.
    pub(crate) requests_per_second: u32,
    pub(crate) hold: Duration,
    pub(crate) holds_per_buyer: u8,
    /// Concurrent batches of each queue.
    pub(crate) queue_concurrency: usize,
    /// Provisioned pollers of the expiry queue; 0 for the standard mode of its mapping.
    pub(crate) expiry_pollers: usize,
    // Properties in the template
    pub(crate) memory_mb: u32,
    pub(crate) timeout: Duration,
    pub(crate) queue_batch: usize,
    pub(crate) visibility_timeout: Duration,
    pub(crate) max_receive_count: u32,
    pub(crate) stream_batch: usize,
    pub(crate) parallelization_factor: usize,
    // Constants of shared/lambda/src/aws.rs and shared/dynamo/src/retry.rs
    pub(crate) sdk_backoff: Duration,
    pub(crate) sdk_attempts: u32,
    pub(crate) attempt_timeout: Duration,
    pub(crate) operation_timeout: Duration,
    pub(crate) conflict_budget: Duration,
    pub(crate) first_conflict_wait: Duration,
    pub(crate) longest_conflict_wait: Duration,
    // The account and its tables
    pub(crate) account_concurrency: usize,
    /// Requests a second of all APIs of the account; the burst is half of it.
    pub(crate) gateway_rate: f64,
    /// Events a second of the account.
    pub(crate) put_events: f64,
    /// Write request units a second that each table has carried or was warmed for.
    pub(crate) table_writes: f64,
}

impl Settings {
    /// The values of the release of 2026-11-26.
    pub(crate) fn before() -> Self {
        Self {
            name: "before",
            orders_per_second: 200,
            orders_burst: 200,
            requests_per_second: 1_000,
            hold: Duration::from_secs(30),
            holds_per_buyer: 10,
            queue_concurrency: 10,
            expiry_pollers: 0,
            memory_mb: 256,
            timeout: Duration::from_secs(10),
            queue_batch: 10,
            visibility_timeout: Duration::from_mins(1),
            max_receive_count: 10,
            stream_batch: 50,
            parallelization_factor: 1,
            sdk_backoff: Duration::from_secs(1),
            sdk_attempts: 3,
            attempt_timeout: Duration::from_secs(2),
            operation_timeout: Duration::from_secs(6),
            conflict_budget: Duration::from_secs(4),
            first_conflict_wait: Duration::from_millis(10),
            longest_conflict_wait: Duration::from_millis(250),
            account_concurrency: limits::ACCOUNT_CONCURRENCY,
            gateway_rate: limits::GATEWAY_RATE,
            put_events: limits::PUT_EVENTS,
            table_writes: limits::NEW_TABLE_WRITES,
        }
    }

    /// The values that the cases need.
    pub(crate) fn after() -> Self {
        Self {
            name: "after",
            orders_per_second: 500,
            orders_burst: 500,
            queue_concurrency: 50,
            max_receive_count: 1_000,
            parallelization_factor: 10,
            sdk_backoff: Duration::from_millis(50),
            ..Self::before()
        }
    }

    /// Parameters for an account with 10 concurrent executions.
    pub(crate) fn for_a_new_account(self) -> Self {
        Self { orders_per_second: 5, orders_burst: 5, queue_concurrency: 2, ..self }
    }

    /// Quotas of an account that is prepared for 100,000 buyers (docs/capacity.md).
    pub(crate) fn with_higher_quotas(self) -> Self {
        Self {
            account_concurrency: 5_000,
            gateway_rate: 40_000.0,
            put_events: 20_000.0,
            table_writes: limits::TABLE_QUOTA,
            ..self
        }
    }

    /// The mapping of the expiry queue, prepared for 10,000 holds that lapse at once (docs/capacity.md).
    pub(crate) fn with_provisioned_pollers(self) -> Self {
        Self { expiry_pollers: 100, ..self }
    }

    /// Throttles of the API above every limit behind it.
    pub(crate) fn without_throttles(self) -> Self {
        let most = 100_000;
        Self { orders_per_second: most, orders_burst: most, requests_per_second: most, ..self }
    }

    /// Share of a processor core of each environment.
    pub(crate) fn cores(&self) -> f64 {
        f64::from(self.memory_mb) / limits::MEMORY_OF_ONE_CPU
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = include_str!("../../template.yaml");
    const AWS: &str = include_str!("../../shared/lambda/src/aws.rs");
    const RETRY: &str = include_str!("../../shared/dynamo/src/retry.rs");
    const PROBLEM: &str = include_str!("../../shared/lambda/src/problem.rs");

    /// Default of a parameter of the template.
    fn parameter(name: &str) -> usize {
        let (_, section) = TEMPLATE.split_once(&format!("\n  {name}:\n")).expect("a parameter");
        let (_, default) = section.split_once("Default: ").expect("a default");
        default.lines().next().and_then(|line| line.parse().ok()).expect("a number")
    }

    /// Values of a property, as often as the template has it.
    fn property(name: &str) -> Vec<usize> {
        let value = |line: &str| line.trim().strip_prefix(name)?.strip_prefix(": ")?.parse().ok();
        TEMPLATE.lines().filter_map(value).collect()
    }

    /// A duration of the code.
    fn constant(source: &str, name: &str) -> Duration {
        let start = format!("const {name}: Duration = Duration::from_");
        let (_, value) = source.split_once(&start).expect("a constant");
        let (unit, value) = value.split_once('(').expect("a unit");
        let value = value.split_once(')').and_then(|(value, _)| value.parse().ok());
        let value: u64 = value.expect("a number");
        match unit {
            "secs" => Duration::from_secs(value),
            "millis" => Duration::from_millis(value),
            _ => panic!("{unit}"),
        }
    }

    #[test]
    fn after_has_the_values_of_the_template() {
        let after = Settings::after();
        let rates = [after.orders_per_second, after.orders_burst];
        let rates = rates.map(|rate| usize::try_from(rate).expect("a small number"));
        assert_eq!(rates, ["OrdersPerSecond", "OrdersBurst"].map(parameter));
        let other = format!(
            "ThrottlingRateLimit: {0}, ThrottlingBurstLimit: {0} ",
            after.requests_per_second
        );
        assert_eq!(TEMPLATE.matches(&other).count(), 3);
        assert_eq!(after.queue_concurrency, parameter("QueueConcurrency"));
        assert_eq!(usize::from(after.holds_per_buyer), parameter("HoldsPerBuyer"));
        let seconds = [after.hold, crate::mappings::TIME_TO_PAY, orders_testing::LATE_LIMIT];
        let seconds = seconds.map(|time| usize::try_from(time.as_secs()).expect("a short time"));
        assert_eq!(seconds, ["HoldSeconds", "PaymentSeconds", "LatePaymentSeconds"].map(parameter));
        assert_eq!(TEMPLATE.matches("MaximumConcurrency: !Ref QueueConcurrency").count(), 3);
        let batch = after.queue_batch;
        assert_eq!(property("BatchSize"), [batch, batch, after.stream_batch, batch]);
        assert_eq!(property("ParallelizationFactor"), [after.parallelization_factor]);
        assert_eq!(property("maxReceiveCount"), [after.max_receive_count as usize]);
        assert_eq!(property("MemorySize"), [after.memory_mb as usize]);
        let [visibility, timeout] = [after.visibility_timeout, after.timeout]
            .map(|time| usize::try_from(time.as_secs()).expect("a short time"));
        assert_eq!(property("VisibilityTimeout"), [visibility]);
        // That of reconcile is longer.
        assert_eq!(property("Timeout"), [timeout, 900]);
    }

    #[test]
    fn after_has_the_constants_of_the_code() {
        let after = Settings::after();
        assert_eq!(after.sdk_backoff, constant(AWS, "INITIAL_BACKOFF"));
        assert_eq!(after.attempt_timeout, constant(AWS, "ATTEMPT_TIMEOUT"));
        assert_eq!(after.operation_timeout, constant(AWS, "OPERATION_TIMEOUT"));
        assert_eq!(after.conflict_budget, constant(AWS, "CONFLICT_BUDGET"));
        assert_eq!(after.first_conflict_wait, constant(RETRY, "FIRST_WAIT"));
        assert_eq!(after.longest_conflict_wait, constant(RETRY, "LONGEST_WAIT"));
        // Three attempts: the standard mode of the SDK (AWS SDKs reference guide, "Retry behavior").
        assert!(AWS.contains("RetryConfig::standard()") && !AWS.contains("max_attempts"));
        assert_eq!(after.sdk_attempts, 3);
        // `cases/timers.rs` returns the buyers as this header asks.
        assert!(PROBLEM.contains("let jitter = Duration::from_millis(fastrand::u64(0..=1_000));"));
    }

    #[test]
    fn capacity_of_a_new_table_is_above_the_default_rate() {
        // An order, its payment and the start of the payment: three writes of the order, two units each.
        let units =
            f64::from(Settings::after().orders_per_second) * 3.0 * limits::TRANSACTIONAL_WRITE;
        assert!(units <= limits::NEW_TABLE_WRITES, "{units}");
        // One ticket: an order and its cancellation write it once each.
        let orders = limits::PARTITION_WRITES / (2.0 * limits::TRANSACTIONAL_WRITE);
        assert!((orders - 250.0).abs() < 1e-9);
    }
}

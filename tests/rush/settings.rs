//! What this project decides: parameters of `template.yaml`, and constants of the AWS clients, whose code a
//! store in memory does not run. A test compares them with their source, so that the two cannot drift.

use std::time::Duration;

use crate::limits;

/// Settings of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) name: &'static str,
    // Parameters of the template
    pub(crate) requests_per_second: u32,
    pub(crate) orders_per_second: u32,
    pub(crate) hold: Duration,
    pub(crate) holds_per_buyer: u8,
    /// Concurrent batches of each queue.
    pub(crate) queue_concurrency: usize,
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
    /// Write request units a second that each table has carried or was warmed for.
    pub(crate) table_writes: f64,
}

impl Settings {
    /// The values of main before `make rush`.
    pub(crate) fn before() -> Self {
        Self {
            name: "before",
            requests_per_second: 1_000,
            orders_per_second: 200,
            hold: Duration::from_secs(30),
            holds_per_buyer: 10,
            queue_concurrency: 10,
            memory_mb: 256,
            timeout: Duration::from_secs(10),
            queue_batch: 10,
            visibility_timeout: Duration::from_secs(60),
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
            table_writes: limits::NEW_TABLE_WRITES,
        }
    }

    /// The values that the cases need.
    pub(crate) fn after() -> Self {
        Self {
            name: "after",
            max_receive_count: 1_000,
            parallelization_factor: 10,
            sdk_backoff: Duration::from_millis(50),
            ..Self::before()
        }
    }

    /// Parameters for an account with 10 concurrent executions.
    pub(crate) fn for_a_new_account(self) -> Self {
        self
    }

    /// Throttles of the API above every limit behind it.
    pub(crate) fn without_throttles(self) -> Self {
        Self { requests_per_second: 100_000, orders_per_second: 100_000, ..self }
    }

    /// Share of a processor core of each environment.
    pub(crate) fn cores(&self) -> f64 {
        f64::from(self.memory_mb) / limits::MEMORY_OF_ONE_CPU
    }
}

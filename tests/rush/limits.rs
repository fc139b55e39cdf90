//! Limits and quotas of AWS, each with the page that publishes it, in us-east-1 with the defaults of an
//! account. `latency.rs` holds what AWS does not publish.

use std::time::Duration;

/// Write request units a second of one partition, and so of one item (DynamoDB developer guide, "Best
/// practices for designing and using partition keys effectively").
pub(crate) const PARTITION_WRITES: f64 = 1_000.0;
/// Read request units a second of one partition (same page).
pub(crate) const PARTITION_READS: f64 = 3_000.0;
/// Write request units a second of a new on-demand table, and of a new index (DynamoDB developer guide,
/// "DynamoDB on-demand capacity mode", initial throughput). The table also carries three times as many read
/// units: 12,000.
pub(crate) const NEW_TABLE_WRITES: f64 = 4_000.0;
/// Write request units a second of one table in an account without an increase (DynamoDB developer guide,
/// "Quotas", default throughput quotas).
pub(crate) const TABLE_QUOTA: f64 = 40_000.0;
/// Units of a write in a transaction, for an item of up to 1 KB (DynamoDB developer guide, "Amazon DynamoDB
/// Transactions: How it works", capacity management). Also of a condition check, and of a failed condition.
pub(crate) const TRANSACTIONAL_WRITE: f64 = 2.0;

/// Concurrent executions of an account (Lambda developer guide, "Lambda quotas").
pub(crate) const ACCOUNT_CONCURRENCY: usize = 1_000;
/// Concurrent executions of a new account (same page: new accounts have reduced quotas; the lowest value
/// that AWS support names).
pub(crate) const NEW_ACCOUNT_CONCURRENCY: usize = 10;
/// Requests a second for each unit of the account's concurrency (Lambda developer guide, "Understanding
/// Lambda function scaling", concurrency and requests per second).
pub(crate) const REQUESTS_PER_CONCURRENCY: f64 = 10.0;
/// New environments of one function in 10 seconds, refilled continuously (Lambda developer guide, "Lambda
/// scaling behavior").
pub(crate) const ENVIRONMENTS_PER_10_S: f64 = 1_000.0;
/// Memory with the power of one vCPU, in MB (Lambda developer guide, "Configure Lambda function memory").
pub(crate) const MEMORY_OF_ONE_CPU: f64 = 1_769.0;

/// Batches that an event source mapping of a standard queue processes at first (Lambda developer guide,
/// "Configuring scaling behavior for SQS event source mappings").
pub(crate) const FIRST_POLLERS: usize = 5;
/// Further batches a second: 300 a minute (same page).
pub(crate) const POLLERS_PER_SECOND: usize = 5;
/// Concurrent batches of one provisioned poller (Lambda developer guide, "Configuring scaling behavior for SQS
/// event source mappings", provisioned mode).
pub(crate) const BATCHES_OF_A_POLLER: usize = 10;
/// Receive calls a second of one provisioned poller (same page).
pub(crate) const RECEIVES_OF_A_POLLER: usize = 10;
/// Messages in flight of a standard queue (SQS developer guide, "Amazon SQS message quotas").
pub(crate) const IN_FLIGHT: usize = 120_000;
/// Time between two reads of a shard without records: 4 a second (Lambda developer guide, "Using AWS Lambda
/// with Amazon DynamoDB", polling and batching streams).
pub(crate) const SHARD_POLL: Duration = Duration::from_millis(250);

/// Requests a second of all APIs of an account (API Gateway developer guide, "Quotas for HTTP APIs"). The
/// burst is 5,000.
pub(crate) const GATEWAY_RATE: f64 = 10_000.0;
/// Events a second (EventBridge user guide, "Amazon EventBridge quotas", `PutEvents` in us-east-1; 400 in
/// the smallest Regions). Each entry counts here, the stricter reading.
pub(crate) const PUT_EVENTS: f64 = 10_000.0;
/// `CreateSchedule` and `DeleteSchedule` requests a second, each (EventBridge Scheduler user guide, "Quotas":
/// 5,000 since 2026 and 1,000 before in the primary Regions, 250 elsewhere; the lower value counts here).
pub(crate) const SCHEDULE_CHANGES: f64 = 1_000.0;
/// Schedules that fire in a second (same page, invocations throttle limit).
pub(crate) const SCHEDULE_INVOCATIONS: f64 = 1_000.0;
/// Time after a schedule's time in which it fires (EventBridge Scheduler user guide, "What is Amazon
/// EventBridge Scheduler?").
pub(crate) const SCHEDULE_PRECISION: Duration = Duration::from_mins(1);

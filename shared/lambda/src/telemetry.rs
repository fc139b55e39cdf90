//! Logs and metrics: JSON lines on standard output, without tokens, buyer ids or request bodies.
//!
//! Metrics use CloudWatch's embedded metric format, namespace `Orders`, dimension `Function`:
//!
//! | metric | value |
//! |---|---|
//! | `OrdersPlaced`, `OrdersExtended`, `OrdersPaid`, `OrdersRefunded` | events published by the relay |
//! | `OrdersCancelled`, `OrdersExpired`, `RefundsDue`, `RefundsSettled` | events published by the relay |
//! | `RelayLag` | milliseconds from a write to its event; the stream has the write's time in seconds |
//! | `ChangesReceived`, `EventsPublished` | changes that need an event, and events accepted by the bus |
//! | `MessagesReceived`, `MessagesFailed` | receives of queue messages, and those that failed: retried or dead-lettered, but not early |
//! | `RetriedAge` | seconds since a message was sent that stays in its queue after a receive |
//! | `ExpiryLateness` | milliseconds from `expires_at` to the expiry |
//! | `ReservedConflicts` | orders refused because the ticket was reserved |
//! | `HoldLimitConflicts` | orders refused because the buyer holds too many unpaid tickets |
//! | `WriteRetries` | retries of conflicting writes |
//! | `TicketVersionGaps` | ticket events applied over missing versions |
//! | `TicketContradictions` | receives of ticket events that contradict the stored version |
//! | `WrongAmounts` | refunds due because the amount is not the order's price |
//! | `OrdersRemoved` | orders removed from the table by hand |
//! | `ReconciledHolds` | forgotten holds repaired by reconcile |
//! | `ReconcileUnfinished` | 1 for a run of reconcile that left a ticket out |
//! | `UnreadableItems` | reads of items that this release cannot read |
//!
//! The collector leaves out a counter of 0. `EventsPublished` and `MessagesFailed` are gauges of one batch, because
//! the collector writes a gauge of 0: without any value, an alarm could not compare them with what was
//! received.

use std::{env, error::Error, io::stdout, sync::OnceLock};

use metrics::{Unit, describe_histogram};
use metrics_cloudwatch_embedded::{Builder, Collector};
use tracing::Subscriber;
use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter, util::SubscriberInitExt};

static METRICS: OnceLock<&Collector> = OnceLock::new();

/// Starts logs and metrics. The log level is `AWS_LAMBDA_LOG_LEVEL`, at most `INFO`: at lower levels the
/// Lambda runtime logs whole events with their tokens.
///
/// # Errors
/// If called twice.
pub fn init() -> Result<(), crate::BoxError> {
    let wanted = env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    let level = wanted.unwrap_or(LevelFilter::INFO).min(LevelFilter::INFO);
    log(level, stdout).try_init()?;
    let function = env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    let collector = Builder::new()
        .cloudwatch_namespace("Orders")
        .with_dimension("Function", function)
        .init()?;
    METRICS.set(collector).map_err(|_| "telemetry is initialised already")?;
    describe_histogram!("ExpiryLateness", Unit::Milliseconds, "");
    describe_histogram!("RelayLag", Unit::Milliseconds, "");
    describe_histogram!("RetriedAge", Unit::Seconds, "");
    Ok(())
}

/// The log of [`init`] with another writer, for tests.
pub fn log<W>(level: LevelFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // The innermost span has all ids. A list of all spans would double the line.
    let log = tracing_subscriber::fmt().json().with_target(false).with_span_list(false);
    log.with_max_level(level).with_writer(writer).finish()
}

/// Writes the metrics of an invocation. Lambda may freeze the environment after each invocation, so each
/// ends with a flush.
pub(crate) fn flush_metrics() {
    if let Some(collector) = METRICS.get()
        && let Err(error) = collector.flush(stdout())
    {
        tracing::warn!(error = error_chain(&error), "Writing metrics failed");
    }
}

/// The error and its chain of causes, in one line.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

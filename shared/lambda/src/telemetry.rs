//! The log and the metrics: JSON lines on standard output. They never hold a token, a buyer's id or a
//! request's body.
//!
//! Metrics are in CloudWatch's embedded metric format, in the namespace `Orders`, by function:
//!
//! | metric | counts |
//! |---|---|
//! | `OrdersPlaced`, `OrdersPaid`, `OrdersCancelled`, `OrdersExpired`, `RefundsDue` | events published by the relay |
//! | `RelayLag` | milliseconds from a write to its event, of which the stream tells the second |
//! | `ExpiryLateness` | milliseconds from `expires_at` to the expiry |
//! | `ReservedConflicts` | orders refused because the ticket was reserved |
//! | `WriteRetries` | writes tried again because of a conflict |
//! | `TicketVersionGaps` | ticket events applied although events before them were missing |

use std::{env, error::Error, io::stdout, sync::OnceLock};

use metrics::{Unit, describe_histogram};
use metrics_cloudwatch_embedded::{Builder, Collector};
use tracing_subscriber::filter::LevelFilter;

static METRICS: OnceLock<&Collector> = OnceLock::new();

/// Starts the log and the metrics. The log has what Lambda's setting asks for
/// (`AWS_LAMBDA_LOG_LEVEL`), but never more than `INFO`: below that, the runtime logs whole events,
/// with the token in them.
///
/// # Errors
/// If it is called twice.
pub fn init() -> Result<(), crate::BoxError> {
    let wanted = env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    let level = wanted.unwrap_or(LevelFilter::INFO).min(LevelFilter::INFO);
    // The span has the request's id; a list of one span would only say it again.
    let log = tracing_subscriber::fmt().json().with_target(false).with_span_list(false);
    log.with_max_level(level).init();
    let function = env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    let collector = Builder::new()
        .cloudwatch_namespace("Orders")
        .with_dimension("Function", function)
        .init()?;
    METRICS.set(collector).map_err(|_| "telemetry is on already")?;
    describe_histogram!("ExpiryLateness", Unit::Milliseconds, "");
    describe_histogram!("RelayLag", Unit::Milliseconds, "");
    Ok(())
}

/// Writes out what has been counted since the last time. Lambda may freeze a function between two
/// invocations, so each ends with this.
pub(crate) fn flush_metrics() {
    if let Some(collector) = METRICS.get()
        && let Err(error) = collector.flush(stdout())
    {
        tracing::warn!(error = error_chain(&error), "metrics are lost");
    }
}

/// An error with everything that caused it, in one line.
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

//! Invocations by a recurring schedule, whose payload has no meaning.

use lambda_runtime::{LambdaEvent, service_fn};
use serde::{Serialize, de::IgnoredAny};
use tokio::time::Instant;

use crate::{BoxError, clock, telemetry};

/// Handles invocations for the lifetime of the environment. The handler gets its deadline; its report is
/// the response.
///
/// # Errors
/// If the Lambda Runtime API fails.
pub async fn run<H, R>(handler: H) -> Result<(), BoxError>
where
    H: AsyncFn(Instant) -> R,
    R: Serialize,
{
    let handler = &handler;
    lambda_runtime::run(service_fn(|event: LambdaEvent<IgnoredAny>| async move {
        let deadline = clock::work_deadline(&event.context, clock::now());
        let report = Box::pin(handler(deadline)).await;
        telemetry::flush_metrics();
        Ok::<_, BoxError>(report)
    }))
    .await
}

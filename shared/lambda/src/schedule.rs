//! Invocations by a recurring schedule, or by an operator.

use lambda_runtime::{LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use crate::{BoxError, clock, telemetry};

/// Handles invocations for the lifetime of the environment. The handler gets the payload and its deadline;
/// its report is the response.
///
/// # Errors
/// If the Lambda Runtime API fails.
pub async fn run<H, P, R>(handler: H) -> Result<(), BoxError>
where
    H: AsyncFn(P, Instant) -> R,
    P: DeserializeOwned,
    R: Serialize,
{
    let handler = &handler;
    lambda_runtime::run(service_fn(|event: LambdaEvent<P>| async move {
        let deadline = clock::work_deadline(&event.context, clock::now());
        let report = Box::pin(handler(event.payload, deadline)).await;
        telemetry::flush_metrics();
        Ok::<_, BoxError>(report)
    }))
    .await
}

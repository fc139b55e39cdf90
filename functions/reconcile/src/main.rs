//! Lambda function of the recurring schedule that repairs forgotten holds.

use orders_lambda::{BoxError, aws, clock, config, schedule, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), BoxError> {
    telemetry::init()?;
    let sdk = aws::sdk_config()?;
    let store = aws::store(&sdk)?.with_retention(config::retention()?);
    schedule::run(async |request, deadline| {
        reconcile::reconcile(&store, request, clock::now(), deadline).await
    })
    .await
}

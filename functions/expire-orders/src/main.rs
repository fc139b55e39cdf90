//! Lambda function of the expiry queue.

use orders_lambda::{BoxError, aws, clock, config, queue, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), BoxError> {
    telemetry::init()?;
    let sdk = aws::sdk_config()?;
    let store = aws::store(&sdk)?.with_retention(config::retention()?);
    let queue = aws::queue(&sdk)?;
    queue::run(&queue, async |message| expire_orders::handle(&store, clock::now(), message).await)
        .await
}

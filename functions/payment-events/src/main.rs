//! Lambda function of the payment event queue.

use orders_lambda::{BoxError, aws, clock, queue, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), BoxError> {
    telemetry::init()?;
    let sdk = aws::sdk_config()?;
    let store = aws::store(&sdk)?;
    let queue = aws::queue(&sdk)?;
    queue::run(&queue, async |message| payment_events::handle(&store, clock::now(), message).await)
        .await
}

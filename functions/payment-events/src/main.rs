//! Lambda function of the payment event queue.

use orders_lambda::{BoxError, aws, clock, config, queue, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), BoxError> {
    telemetry::init()?;
    let sdk = aws::sdk_config()?;
    let store = aws::store(&sdk)?;
    let queue = aws::queue(&sdk)?;
    let late_limit = config::late_payment_limit()?;
    queue::run(&queue, async |message| {
        payment_events::handle(&store, late_limit, clock::now(), message).await
    })
    .await
}

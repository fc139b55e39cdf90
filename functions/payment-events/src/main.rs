//! Lambda function of the payment event queue.

use orders_lambda::{BoxError, aws, clock, config, queue, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), BoxError> {
    telemetry::init()?;
    let sdk = aws::sdk_config()?;
    let store = aws::store(&sdk)?.with_retention(config::retention()?);
    let queue = aws::queue(&sdk)?;
    let limits = payment_events::Limits {
        late_payment: config::late_payment_limit()?,
        time_to_pay: config::time_to_pay()?,
    };
    queue::run(&queue, async |message| {
        payment_events::handle(&store, limits, clock::now(), message).await
    })
    .await
}

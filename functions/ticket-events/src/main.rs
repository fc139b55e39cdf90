//! Lambda function of the ticket event queue.

use orders_lambda::{BoxError, aws, queue, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), BoxError> {
    telemetry::init()?;
    let sdk = aws::sdk_config()?;
    let store = aws::store(&sdk)?;
    let queue = aws::queue(&sdk)?;
    queue::run(&queue, async |message| ticket_events::handle(&store, message).await).await
}

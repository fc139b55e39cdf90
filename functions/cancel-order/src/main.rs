//! The Lambda function behind `DELETE /api/orders/{id}`.

use orders_lambda::{Error, aws, http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init()?;
    let sdk = aws::sdk_config().await;
    let store = aws::store(&sdk)?;
    http::run(|call| cancel_order::handle(&store, call)).await
}

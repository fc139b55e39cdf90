//! The Lambda function behind `GET /api/orders`.

use orders_lambda::{Error, aws, http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init()?;
    let sdk = aws::sdk_config().await;
    let store = aws::store(&sdk)?;
    http::run(|call| list_orders::handle(&store, call)).await
}

//! Lambda function of `DELETE /api/orders/{id}`.

use orders_domain::{OrderId, OrderStore};
use orders_lambda::{BoxError, aws, config, http, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), BoxError> {
    telemetry::init()?;
    let sdk = aws::sdk_config()?;
    let store = aws::store(&sdk)?.with_retention(config::retention()?);
    // Opens the connection before the first request.
    aws::warm_up(store.find(OrderId::from_bytes([0; 16]))).await;
    http::run(|request| cancel_order::handle(&store, request)).await
}

//! Lambda function of `POST /api/orders`.

use orders_domain::OrderStore;
use orders_lambda::{BoxError, aws, clock, config, http, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), BoxError> {
    telemetry::init()?;
    let sdk = aws::sdk_config()?;
    let store = aws::store(&sdk)?.with_retention(config::retention()?);
    let limits =
        create_order::Limits { hold: config::hold()?, holds_per_buyer: config::holds_per_buyer()? };
    // Opens the connection before the first request.
    aws::warm_up(store.find_ticket(&"warm-up".parse()?)).await;
    http::run(|request| create_order::handle(&store, limits, clock::new_order_id, request)).await
}

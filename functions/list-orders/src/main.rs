//! Lambda function of `GET /api/orders`.

use orders_domain::{Direction, ListQuery, OrderStore, PageSize};
use orders_lambda::{BoxError, aws, http, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), BoxError> {
    telemetry::init()?;
    let sdk = aws::sdk_config()?;
    let store = aws::store(&sdk)?;
    let nothing = ListQuery {
        user_id: "warm-up".parse()?,
        size: PageSize::DEFAULT,
        direction: Direction::OldestFirst,
        after: None,
    };
    // Opens the connection before the first request.
    aws::warm_up(store.list(&nothing)).await;
    http::run(|request| list_orders::handle(&store, request)).await
}

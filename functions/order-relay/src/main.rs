//! The Lambda function behind the orders table's stream.

use orders_lambda::{
    Error, aws, clock,
    outbox::{AwsOutbox, OutboxNames},
    stream, telemetry,
};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    telemetry::init()?;
    let sdk = aws::sdk_config()?;
    let outbox = AwsOutbox::new(&sdk, OutboxNames::from_env()?);
    stream::run(async |records, deadline| {
        order_relay::relay(&outbox, clock::now(), deadline, records).await
    })
    .await
}

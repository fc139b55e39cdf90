//! Lambda function of the orders table's stream.

use order_relay::sink::{AwsRelaySink, RelaySinkConfig};
use orders_lambda::{BoxError, aws, clock, stream, telemetry};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), BoxError> {
    telemetry::init()?;
    let sdk = aws::sdk_config()?;
    let sink = AwsRelaySink::new(&sdk, RelaySinkConfig::from_env()?);
    stream::run(async |records, deadline| {
        order_relay::relay(&sink, clock::now(), deadline, records).await
    })
    .await
}

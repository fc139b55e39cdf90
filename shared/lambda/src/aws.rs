//! The AWS SDK, set up once for every function.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use orders_dynamo::DynamoStore;

use crate::{config, config::ConfigError, queue::SqsVisibility};

/// One try of one request. DynamoDB answers in milliseconds; a try that takes longer is lost.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// All tries of one request together; well below every function's timeout.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(6);
/// How long a write is tried again that conflicts with others.
const CONFLICT_BUDGET: Duration = Duration::from_secs(4);

/// Region, credentials and endpoint from the environment; one HTTP client for all services. The SDK
/// has no time limits of its own, so they are set here.
pub async fn sdk_config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(ATTEMPT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard())
        .load()
        .await
}

/// The one HTTP client, with the one TLS stack: rustls on ring.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// The store on the tables that the environment names.
///
/// # Errors
/// [`ConfigError`] if it names none.
pub fn store(sdk: &SdkConfig) -> Result<DynamoStore, ConfigError> {
    let client = aws_sdk_dynamodb::Client::new(sdk);
    Ok(DynamoStore::new(client, config::table_names()?, CONFLICT_BUDGET))
}

/// The queue that `QUEUE_URL` names.
///
/// # Errors
/// [`ConfigError`] if it names none.
pub fn queue(sdk: &SdkConfig) -> Result<SqsVisibility, ConfigError> {
    Ok(SqsVisibility::new(aws_sdk_sqs::Client::new(sdk), config::required("QUEUE_URL")?))
}

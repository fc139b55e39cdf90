//! The AWS SDK, set up once for every function, without what a function has no use for: the
//! environment says all there is to know, so nothing is looked for elsewhere, and nothing is made
//! twice. docs/performance.md has what each of this is worth.

use std::{fs, time::Duration};

use aws_sdk_dynamodb::config::{
    BehaviorVersion, Credentials, Region, SharedCredentialsProvider, SharedHttpClient,
    StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_runtime_api::client::http::http_client_fn;
use aws_types::SdkConfig;
use orders_domain::StoreError;
use orders_dynamo::DynamoStore;

use crate::{
    BoxError, config, config::ConfigError, https, queue::SqsVisibility, telemetry::error_chain,
};

/// One try of one request. DynamoDB answers in milliseconds; a try that takes longer is lost.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// All tries of one request together; well below every function's timeout.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(6);
/// How long a write is tried again that conflicts with others.
const CONFLICT_BUDGET: Duration = Duration::from_secs(4);

/// What the certificates of AWS's endpoints go back to (Amazon Trust Services, "Root CAs"). The
/// system's 140 or so would take longer to read than all else that happens at a cold start.
const ROOTS: &[u8] = include_bytes!("roots.pem");

/// What Lambda's environment says: the region, the credentials, which stay the same for as long as
/// this environment lives, and the endpoint if it is not AWS's. The SDK has no time limits of its
/// own, so they are set here.
///
/// # Errors
/// [`ConfigError`] if something is not set.
pub fn sdk_config() -> Result<SdkConfig, BoxError> {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let credentials = Credentials::new(
        config::required("AWS_ACCESS_KEY_ID")?,
        config::required("AWS_SECRET_ACCESS_KEY")?,
        config::optional("AWS_SESSION_TOKEN"),
        None,
        "environment",
    );
    let mut builder = SdkConfig::builder();
    builder.set_endpoint_url(config::optional("AWS_ENDPOINT_URL"));
    Ok(builder
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(config::required("AWS_REGION")?))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client()?)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard())
        // For long downloads; an answer here is short, and has its time limit.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build())
}

/// The one HTTP client. It trusts AWS's endpoints, or those whose certificates go back to the file that
/// `AWS_CA_BUNDLE` names.
///
/// # Errors
/// [`ConfigError`] if that file cannot be read, or does not hold certificates.
pub fn http_client() -> Result<SharedHttpClient, ConfigError> {
    const INVALID: ConfigError = ConfigError::Invalid {
        name: "AWS_CA_BUNDLE",
        expected: "the path of a file with certificates (PEM)",
    };
    let roots = match config::optional("AWS_CA_BUNDLE") {
        Some(path) => fs::read(path).or(Err(INVALID))?,
        None => ROOTS.to_vec(),
    };
    let connector = https::connector(&roots).or(Err(INVALID))?;
    Ok(http_client_fn(move |_, _| connector.clone()))
}

/// Reads something, whatever it is, before the first request comes: the connection is open then, and
/// the buyer does not wait for it. If that fails, the first request finds out why.
pub async fn warm_up<T>(read: impl Future<Output = Result<T, StoreError>>) {
    if let Err(error) = Box::pin(read).await {
        tracing::warn!(error = error_chain(&error), "not warmed up");
    }
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

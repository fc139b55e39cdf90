//! AWS clients for every function, configured once at the cold start.
//!
//! Region, credentials and endpoint come from environment variables alone, without the SDK's chain of
//! providers: Lambda sets them, and they stay the same for the lifetime of the environment.

use std::{fs, time::Duration};

use aws_sdk_dynamodb::config::{
    BehaviorVersion, Credentials, Region, SharedCredentialsProvider, SharedHttpClient,
    StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::{
    Connector,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_types::SdkConfig;
use orders_domain::StoreError;
use orders_dynamo::DynamoStore;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{BoxError, config, config::ConfigError, queue::SqsQueue, telemetry::error_chain};

/// Time limit of one attempt of a request. DynamoDB responds in milliseconds; an attempt that takes
/// longer than this is lost.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit of all attempts of one request together, well below every function's timeout.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(6);
/// Time limit of the retries after write conflicts.
const CONFLICT_BUDGET: Duration = Duration::from_secs(4);
/// Maximum wait before the first retry of a request; it doubles with each attempt and has full jitter. The
/// SDK's default is 1 s, a hundred times the duration of a request.
const INITIAL_BACKOFF: Duration = Duration::from_millis(50);
/// Idle time after which a connection is dropped. AWS closes idle connections too, and a function
/// that Lambda froze meanwhile cannot see the close: a request on such a connection fails.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Root certificates of AWS's endpoints (Amazon Trust Services, "Root CAs"). Parsing the system's 140
/// or so would take longer than the rest of a cold start.
const ROOTS: &[u8] = include_bytes!("roots.pem");

/// SDK configuration from Lambda's environment variables. The SDK sets no time limits by default, so
/// they are set here.
///
/// # Errors
/// [`ConfigError`] if a variable is missing or invalid.
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
        .retry_config(RetryConfig::standard().with_initial_backoff(INITIAL_BACKOFF))
        // Made for long downloads; every response here is short and has a time limit.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build())
}

/// HTTP client of the SDK. It trusts AWS's endpoints, or those under the root certificates in the file
/// named by `AWS_CA_BUNDLE`.
///
/// # Errors
/// [`ConfigError`] if that file cannot be read or does not hold certificates.
pub fn http_client() -> Result<SharedHttpClient, BoxError> {
    const INVALID: ConfigError = ConfigError::Invalid {
        name: "AWS_CA_BUNDLE",
        expected: "the path of a file with certificates (PEM)",
    };
    let roots = match config::optional("AWS_CA_BUNDLE") {
        Some(path) => fs::read(path).or(Err(INVALID))?,
        None => ROOTS.to_vec(),
    };
    if !are_roots(&roots) {
        return Err(INVALID.into());
    }
    client_trusting(&roots)
}

/// Whether the PEM file holds at least one certificate, and nothing else. The SDK's connector panics on
/// an invalid file.
fn are_roots(pem: &[u8]) -> bool {
    let mut roots = RootCertStore::empty();
    let all_valid = CertificateDer::pem_slice_iter(pem)
        .all(|certificate| certificate.is_ok_and(|certificate| roots.add(certificate).is_ok()));
    all_valid && !roots.is_empty()
}

/// One connector for all clients: the SDK's own client would build one to validate it and a second one
/// to use.
fn client_trusting(roots: &[u8]) -> Result<SharedHttpClient, BoxError> {
    let trusted = TrustStore::empty().with_pem_certificate(roots);
    let connector = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(TlsContext::builder().with_trust_store(trusted).build()?)
        .connector_settings(HttpConnectorSettings::builder().build())
        .sleep_impl(TokioSleep::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build();
    let connector = SharedHttpConnector::new(connector);
    Ok(http_client_fn(move |_, _| connector.clone()))
}

/// Opens the connection before the first request arrives, by a read whose result does not matter, so
/// that no buyer waits for it. A failure is logged only: the first request will report it.
pub async fn warm_up<T>(read: impl Future<Output = Result<T, StoreError>>) {
    if let Err(error) = Box::pin(read).await {
        tracing::warn!(error = error_chain(&error), "Warm-up read failed");
    }
}

/// Store on the tables named by environment variables.
///
/// # Errors
/// [`ConfigError`] if a table name is missing.
pub fn store(sdk: &SdkConfig) -> Result<DynamoStore, ConfigError> {
    let client = aws_sdk_dynamodb::Client::new(sdk);
    Ok(DynamoStore::new(client, config::table_names()?, CONFLICT_BUDGET))
}

/// Queue named by `QUEUE_URL`, with the dead-letter queue named by `DEAD_LETTER_QUEUE_URL`.
///
/// # Errors
/// [`ConfigError`] if a variable is missing.
pub fn queue(sdk: &SdkConfig) -> Result<SqsQueue, ConfigError> {
    let client = aws_sdk_sqs::Client::new(sdk);
    let dead_letters = config::required("DEAD_LETTER_QUEUE_URL")?;
    Ok(SqsQueue::new(client, config::required("QUEUE_URL")?, dead_letters))
}

#[cfg(test)]
mod tests;

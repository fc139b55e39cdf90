//! DynamoDB in this process: an engine that answers the requests of the SDK without a socket.

use std::fmt;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{
    Credentials, SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use dynoxide::{Database, DynoxideError};
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::yield_now;

/// Returns the JSON response of the engine to a request of the SDK.
///
/// # Panics
/// If no test uses the operation.
pub fn respond(database: &Database, request: &HttpRequest) -> HttpResponse {
    let (operation, body) = (operation(request), body(request));
    let response = match operation {
        "CreateTable" => call(body, |request| database.create_table(request)),
        "DescribeTable" => call(body, |request| database.describe_table(request)),
        "GetItem" => call(body, |request| database.get_item(request)),
        "PutItem" => call(body, |request| database.put_item(request)),
        "UpdateItem" => call(body, |request| database.update_item(request)),
        "DeleteItem" => call(body, |request| database.delete_item(request)),
        "Query" => call(body, |request| database.query(request)),
        "Scan" => call(body, |request| database.scan(request)),
        "TransactWriteItems" => call(body, |request| database.transact_write_items(request)),
        other => panic!("no test calls {other}"),
    };
    let (status, body) = match response {
        Ok(body) => (200, body),
        Err(error) => (error.status_code(), error.to_json()),
    };
    HttpResponse::new(StatusCode::try_from(status).expect("a status"), SdkBody::from(body))
}

/// Operation of a request.
pub fn operation(request: &HttpRequest) -> &str {
    let target = request.headers().get("x-amz-target").expect("an operation");
    target.split_once('.').expect("`service.operation`").1
}

/// Body of a request.
pub fn body(request: &HttpRequest) -> &[u8] {
    request.body().bytes().expect("a body in memory")
}

fn call<Request: DeserializeOwned, Reply: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Request) -> Result<Reply, DynoxideError>,
) -> Result<String, DynoxideError> {
    let request = serde_json::from_slice(body).expect("a valid request");
    Ok(serde_json::to_string(&operation(request)?).expect("a JSON response"))
}

/// Returns the AWS configuration of the engine.
pub fn sdk_config(database: Database) -> SdkConfig {
    sdk_config_on(Engine(database))
}

/// Returns an AWS configuration whose requests this connector answers.
pub fn sdk_config_on(connector: impl HttpConnector + 'static) -> SdkConfig {
    let connector = SharedHttpConnector::new(connector);
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build()
}

struct Engine(Database);

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Engine")
    }
}

impl HttpConnector for Engine {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let database = self.0.clone();
        HttpConnectorFuture::new(async move {
            // Other tasks run before and after the call, as on a network.
            yield_now().await;
            let response = respond(&database, &request);
            yield_now().await;
            Ok(response)
        })
    }
}

//! The relay sink, a queue and a store on AWS, with responses defined by the test.

use std::{fmt, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider, retry::RetryConfig};
use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector,
            http_client_fn,
        },
        orchestrator::HttpRequest,
    },
    http::{Response, StatusCode},
};
use aws_smithy_types::body::SdkBody;
use order_relay::sink::{AwsRelaySink, RelaySinkConfig};
use orders_dynamo::{DynamoStore, TableNames};
use orders_lambda::queue::SqsQueue;
use serde_json::{Value, json};

/// HTTP status and body of a response.
pub type AwsResponse = (u16, Value);

/// Returns the successful response of an operation.
pub fn success(operation: &str, request: &Value) -> AwsResponse {
    let each = |field: &str, response: fn(&Value) -> Value| -> Vec<Value> {
        request[field].as_array().into_iter().flatten().map(response).collect()
    };
    let response = match operation {
        "PutEvents" => {
            let entries = each("Entries", |_| json!({"EventId": "event"}));
            json!({"FailedEntryCount": 0, "Entries": entries})
        }
        "SendMessageBatch" => {
            let sent = |entry: &Value| json!({"Id": entry["Id"], "MessageId": "message", "MD5OfMessageBody": "md5"});
            json!({"Successful": each("Entries", sent), "Failed": []})
        }
        "SendMessage" => json!({"MessageId": "message"}),
        "CreateSchedule" => json!({"ScheduleArn": "schedule"}),
        "ChangeMessageVisibility" | "DeleteSchedule" => json!({}),
        other => panic!("neither relay nor queue calls {other}"),
    };
    (200, response)
}

/// A call without a response.
pub const NO_RESPONSE: AwsResponse = (0, Value::Null);

/// Returns a store whose calls are answered by `response`, from operation name and request.
pub fn store(
    response: impl Fn(&str, &Value) -> AwsResponse + Send + Sync + 'static,
) -> DynamoStore {
    let name = |name: &str| name.to_owned();
    let tables = TableNames {
        orders: name("orders"),
        tickets: name("tickets"),
        payments: name("payments"),
        buyers: name("buyers"),
    };
    DynamoStore::new(aws_sdk_dynamodb::Client::new(&sdk(response)), tables, Duration::ZERO)
}

/// Returns a queue whose calls are answered by `response`, from operation name and request.
pub fn queue(response: impl Fn(&str, &Value) -> AwsResponse + Send + Sync + 'static) -> SqsQueue {
    let url = |name| format!("https://sqs.us-east-1.amazonaws.com/111122223333/{name}");
    let client = aws_sdk_sqs::Client::new(&sdk(response));
    SqsQueue::new(client, url("queue"), url("dead-letter-queue"))
}

fn sdk(response: impl Fn(&str, &Value) -> AwsResponse + Send + Sync + 'static) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
        .http_client(client(response))
        .retry_config(RetryConfig::disabled())
        .build()
}

/// Returns a relay sink whose calls are answered by `response`, from operation name and request.
/// A request of the scheduler has the name of the schedule in `Name`.
pub fn relay_sink(
    response: impl Fn(&str, &Value) -> AwsResponse + Send + Sync + 'static,
) -> AwsRelaySink {
    let name = |name: &str| name.to_owned();
    let names = RelaySinkConfig {
        event_bus_name: name("bus"),
        expiry_queue_url: name("https://sqs.us-east-1.amazonaws.com/111122223333/expiries"),
        expiry_queue_arn: name("arn:aws:sqs:us-east-1:111122223333:expiries"),
        expiry_dead_letter_queue_arn: name("arn:aws:sqs:us-east-1:111122223333:expiries-dead"),
        schedule_group_name: name("group"),
        scheduler_role_arn: name("arn:aws:iam::111122223333:role/scheduler"),
        poison_queue_url: name("https://sqs.us-east-1.amazonaws.com/111122223333/poison"),
    };
    AwsRelaySink::new(&sdk(response), names)
}

struct CannedConnector<F>(F);

impl<F> fmt::Debug for CannedConnector<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Canned")
    }
}

fn client(
    response: impl Fn(&str, &Value) -> AwsResponse + Send + Sync + 'static,
) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(CannedConnector(response));
    http_client_fn(move |_, _| connector.clone())
}

impl<F: Fn(&str, &Value) -> AwsResponse + Send + Sync> HttpConnector for CannedConnector<F> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        // Scheduler requests name the operation by method and path, all others in a header.
        let operation = match (request.headers().get("x-amz-target"), request.method()) {
            (Some(target), _) => target.split_once('.').expect("`service.operation`").1,
            (None, "POST") => "CreateSchedule",
            (None, "DELETE") => "DeleteSchedule",
            (None, other) => panic!("the relay does not call {other}"),
        };
        let body = request.body().bytes().unwrap_or_default();
        let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
        if operation.ends_with("Schedule") {
            let path = request.uri().split('?').next().unwrap_or_default();
            body["Name"] = json!(path.rsplit('/').next());
        }
        let (status, response) = (self.0)(operation, &body);
        if (status, &response) == (NO_RESPONSE.0, &NO_RESPONSE.1) {
            return HttpConnectorFuture::new(std::future::pending());
        }
        let status = StatusCode::try_from(status).expect("an HTTP status");
        HttpConnectorFuture::ready(Ok(Response::new(status, SdkBody::from(response.to_string()))))
    }
}

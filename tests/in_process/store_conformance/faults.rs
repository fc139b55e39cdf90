//! Faults of DynamoDB between the SDK and a healthy engine: conflicts, throttling, errors, missing
//! replies, and replies lost after the commit.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
            SharedHttpClient, SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use orders_domain::{
    Command, CommitOutcome, Lock, OrderStore, PlaceOutcome, Placement, StoreError, TicketOutcome,
    TicketRule,
};
use orders_dynamo::{DynamoStore, TableNames};
use serde_json::{Value, json};

use crate::{
    stores,
    suite::{new_ticket, order_at, order_for, placement, ticket, transition_of},
};

/// Fate of a request.
#[derive(Clone, Debug)]
enum Fault {
    /// Not forwarded; this is the reply.
    Reply(u16, String),
    /// Forwarded; the reply is lost.
    LoseReply,
    /// Not forwarded; no reply.
    NoReply,
}

/// An HTTP client with planned faults for the next requests. Records the body of each request.
#[derive(Clone, Debug)]
struct Faults {
    inner: SharedHttpClient,
    planned: Arc<Mutex<VecDeque<Fault>>>,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Faults {
    fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.planned.lock().unwrap().extend(faults);
        self.requests.lock().unwrap().clear();
    }

    fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }
}

impl HttpClient for Faults {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(FaultyConnector {
            inner: self.inner.http_connector(settings, components),
            faults: self.clone(),
        })
    }
}

#[derive(Debug)]
struct FaultyConnector {
    inner: SharedHttpConnector,
    faults: Faults,
}

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        self.faults.requests.lock().unwrap().push(body);
        let fault = self.faults.planned.lock().unwrap().pop_front();
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move {
            match fault {
                None => inner.call(request).await,
                Some(Fault::Reply(status, body)) => {
                    Ok(HttpResponse::new(StatusCode::try_from(status).unwrap(), body.into()))
                }
                Some(Fault::LoseReply) => {
                    inner.call(request).await?;
                    Err(ConnectorError::io("connection reset".into()))
                }
                Some(Fault::NoReply) => std::future::pending().await,
            }
        })
    }
}

const CONFLICT_BUDGET: Duration = Duration::from_millis(300);

/// Returns a store on a healthy engine, and the faults of its HTTP client.
async fn store() -> (DynamoStore, Faults) {
    let sdk = stores::in_process_endpoint().await;
    let tables: TableNames = stores::make_tables(&Client::new(&sdk)).await;
    let faults = Faults {
        inner: sdk.http_client().unwrap(),
        planned: Arc::default(),
        requests: Arc::default(),
    };
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_millis(100));
    let sdk =
        sdk.into_builder().http_client(faults.clone()).timeout_config(timeouts.build()).build();
    (DynamoStore::new(Client::new(&sdk), tables, CONFLICT_BUDGET), faults)
}

fn error(status: u16, name: &str) -> Fault {
    let body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": ""});
    Fault::Reply(status, body.to_string())
}

/// A cancelled transaction with a reason per write.
fn cancelled(reasons: &[&str]) -> Fault {
    let reasons: Vec<_> = reasons.iter().map(|code| json!({"Code": code})).collect();
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled",
        "CancellationReasons": reasons,
    });
    Fault::Reply(400, body.to_string())
}

#[tokio::test]
async fn conflict_is_retried_with_the_same_token() {
    let (store, faults) = store().await;
    let order = order_for(&new_ticket(&store).await);
    faults.plan([
        cancelled(&["None", "TransactionConflict"]),
        cancelled(&["TransactionConflict", "None"]),
        cancelled(&["None", "ThrottlingError"]),
        cancelled(&["None", "ProvisionedThroughputExceeded"]),
    ]);
    assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Placed);
    let requests = faults.requests();
    assert_eq!(requests.len(), 5);
    assert!(requests[0]["ClientRequestToken"].is_string());
    assert!(requests.iter().all(|body| *body == requests[0]), "{requests:#?}");
}

#[tokio::test]
async fn lasting_conflict_is_unavailable_not_reserved() {
    let (store, faults) = store().await;
    let order = order_for(&new_ticket(&store).await);
    faults.plan((0..1_000).map(|_| cancelled(&["None", "TransactionConflict"])));
    let outcome = store.place(&placement(&order)).await;
    assert!(matches!(&outcome, Err(error @ StoreError::Unavailable(_)) if error.retryable()));
    let tries = faults.requests().len();
    assert!((2..1_000).contains(&tries), "{tries}");
}

#[tokio::test]
async fn failed_condition_overrides_a_conflict() {
    let (store, faults) = store().await;
    let order = order_for(&new_ticket(&store).await);
    faults.plan([cancelled(&["TransactionConflict", "ConditionalCheckFailed"])]);
    assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Conflict);
    assert_eq!(faults.requests().len(), 1);
}

#[tokio::test]
async fn ticket_write_conflict_is_retried() {
    let (store, faults) = store().await;
    let known = new_ticket(&store).await;
    faults.plan([error(400, "TransactionConflictException")]);
    let next = ticket(&known.id, known.version.number() + 1);
    let outcome = store.apply_ticket(&next, TicketRule::Next).await.unwrap();
    assert_eq!(outcome, TicketOutcome::Applied { replaced: Some(known.version) });
}

#[tokio::test]
async fn reply_lost_after_the_commit_is_a_success() {
    let (store, faults) = store().await;
    let order = order_for(&new_ticket(&store).await);
    faults.plan([Fault::LoseReply]);
    assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Placed);

    let cancel = transition_of(&order, &Command::Cancel);
    faults.plan([Fault::LoseReply]);
    assert_eq!(store.commit(&cancel).await.unwrap(), CommitOutcome::Committed);
}

#[tokio::test]
async fn lost_replies_are_unavailable_until_a_repeat() {
    let (store, faults) = store().await;
    let order = order_for(&new_ticket(&store).await);
    faults.plan((0..3).map(|_| Fault::LoseReply));
    let outcome = store.place(&placement(&order)).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    let repeat = store.place(&placement(&order)).await.unwrap();
    assert_eq!(repeat, PlaceOutcome::AlreadyPlaced(order));
}

#[tokio::test]
async fn transient_and_permanent_errors_are_distinguished() {
    let (store, faults) = store().await;
    let known = new_ticket(&store).await;
    for fault in [
        error(400, "ThrottlingException"),
        error(400, "ProvisionedThroughputExceededException"),
        error(400, "RequestLimitExceeded"),
        error(500, "InternalServerError"),
        error(503, "ServiceUnavailable"),
        Fault::Reply(502, "<html>".to_owned()),
        Fault::Reply(200, "{".to_owned()),
        Fault::NoReply,
    ] {
        faults.plan(vec![fault.clone(); 3]);
        let outcome = store.find_ticket(&known.id).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{fault:?}: {outcome:?}");
        faults.planned.lock().unwrap().clear();
    }
    for fault in [
        error(400, "ValidationException"),
        error(400, "ResourceNotFoundException"),
        error(400, "AccessDeniedException"),
        error(400, "UnrecognizedClientException"),
    ] {
        faults.plan([fault.clone()]);
        let outcome = store.find_ticket(&known.id).await;
        assert!(matches!(outcome, Err(StoreError::Refused(_))), "{fault:?}: {outcome:?}");
    }
    assert_eq!(store.find_ticket(&known.id).await.unwrap().unwrap().lock, Lock::Free);
}

#[tokio::test]
async fn throttled_read_is_retried_by_the_sdk() {
    let (store, faults) = store().await;
    let known = new_ticket(&store).await;
    faults.plan([error(400, "ThrottlingException"), error(500, "InternalServerError")]);
    assert!(store.find_ticket(&known.id).await.unwrap().is_some());
    assert_eq!(faults.requests().len(), 3);
}

#[tokio::test]
async fn foreign_lock_is_never_changed() {
    let sdk = stores::in_process_endpoint().await;
    let client = Client::new(&sdk);
    let tables = stores::make_tables(&client).await;
    let store = DynamoStore::new(client.clone(), tables.clone(), CONFLICT_BUDGET);
    let order = order_for(&new_ticket(&store).await);
    assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Placed);
    // Impossible through the store: a live order whose ticket is locked by another order.
    let other = order_for(&order.ticket).id;
    let update = client.update_item().table_name(tables.tickets);
    let update = update.key("id", AttributeValue::S(order.ticket.id.to_string()));
    let update = update.update_expression("SET locked_by = :other");
    let other_id = AttributeValue::S(other.to_string());
    update.expression_attribute_values(":other", other_id).send().await.unwrap();
    for command in [
        Command::Cancel,
        Command::Expire { now: order.expires_at },
        Command::Pay { payment_id: "p1".parse().unwrap(), ticket_is_free: false },
    ] {
        let change = transition_of(&order, &command);
        assert_eq!(store.commit(&change).await.unwrap(), CommitOutcome::Conflict);
        let lock = store.find_ticket(&order.ticket.id).await.unwrap().unwrap().lock;
        assert_eq!(lock, Lock::Held { by: other, until: order.expires_at });
        assert_eq!(store.find(order.id).await.unwrap(), Some(order.clone()));
    }
    let command = Command::Expire { now: order.expires_at };
    let expiry = transition_of(&order, &command);
    let takeover = Placement { order: order_at(&order.ticket, 30), takeover: Some(expiry) };
    assert_eq!(store.place(&takeover).await.unwrap(), PlaceOutcome::Conflict);
    assert_eq!(store.find(order.id).await.unwrap(), Some(order));
}

#[tokio::test]
async fn invalid_order_row_is_corrupt() {
    let (store, faults) = store().await;
    let row = json!({"Item": {"id": {"S": "x"}, "status": {"S": "lost"}}});
    faults.plan([Fault::Reply(200, row.to_string())]);
    let outcome = store.find(order_for(&ticket(&"t".parse().unwrap(), 0)).id).await;
    assert!(matches!(outcome, Err(StoreError::Corrupt(_))), "{outcome:?}");
}

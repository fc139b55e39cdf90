//! What DynamoDB does when it is not well, put between the SDK and a healthy engine: conflicts,
//! throttling, errors, silence, and answers that get lost after the work is done.

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
    Command, CommitOutcome, Decision, Lock, OrderStore, PlaceOutcome, Placement, StoreError,
    TicketOutcome, TicketRule, decide,
};
use orders_dynamo::{DynamoStore, TableNames};
use serde_json::{Value, json};

use crate::{
    stores,
    suite::{free_ticket, order_at, order_for, placement, ticket},
};

/// What happens to one request.
#[derive(Clone, Debug)]
enum Fault {
    /// It is not forwarded; this is the answer.
    Answer(u16, String),
    /// It is forwarded, and the answer gets lost.
    LoseAnswer,
    /// It is not forwarded, and nothing answers.
    Silence,
}

/// Does to the next requests what is planned, forwards the others, and keeps the body of each.
#[derive(Clone, Debug)]
struct Faults {
    inner: SharedHttpClient,
    planned: Arc<Mutex<VecDeque<Fault>>>,
    sent: Arc<Mutex<Vec<Value>>>,
}

impl Faults {
    fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.planned.lock().unwrap().extend(faults);
        self.sent.lock().unwrap().clear();
    }

    fn sent(&self) -> Vec<Value> {
        self.sent.lock().unwrap().clone()
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
        self.faults.sent.lock().unwrap().push(body);
        let fault = self.faults.planned.lock().unwrap().pop_front();
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move {
            match fault {
                None => inner.call(request).await,
                Some(Fault::Answer(status, body)) => {
                    Ok(HttpResponse::new(StatusCode::try_from(status).unwrap(), body.into()))
                }
                Some(Fault::LoseAnswer) => {
                    inner.call(request).await?;
                    Err(ConnectorError::io("the connection broke".into()))
                }
                Some(Fault::Silence) => std::future::pending().await,
            }
        })
    }
}

const CONFLICT_BUDGET: Duration = Duration::from_millis(300);

/// A store on a healthy engine, with a client between them that can be made faulty.
async fn store() -> (DynamoStore, Faults) {
    let sdk = stores::in_process_endpoint().await;
    let tables: TableNames = stores::make_tables(&Client::new(&sdk)).await;
    let faults =
        Faults { inner: sdk.http_client().unwrap(), planned: Arc::default(), sent: Arc::default() };
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_millis(100));
    let sdk =
        sdk.into_builder().http_client(faults.clone()).timeout_config(timeouts.build()).build();
    (DynamoStore::new(Client::new(&sdk), tables, CONFLICT_BUDGET), faults)
}

fn error(status: u16, name: &str) -> Fault {
    let body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": ""});
    Fault::Answer(status, body.to_string())
}

/// A cancelled transaction, with a reason for each write.
fn cancelled(reasons: &[&str]) -> Fault {
    let reasons: Vec<_> = reasons.iter().map(|code| json!({"Code": code})).collect();
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled",
        "CancellationReasons": reasons,
    });
    Fault::Answer(400, body.to_string())
}

#[tokio::test]
async fn a_conflict_is_tried_again_with_the_same_token_and_the_same_writes() {
    let (store, faults) = store().await;
    let order = order_for(&free_ticket(&store).await);
    faults.plan([
        cancelled(&["None", "TransactionConflict"]),
        cancelled(&["TransactionConflict", "None"]),
        cancelled(&["None", "ThrottlingError"]),
        cancelled(&["None", "ProvisionedThroughputExceeded"]),
    ]);
    assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Placed);
    let sent = faults.sent();
    assert_eq!(sent.len(), 5);
    assert!(sent[0]["ClientRequestToken"].is_string());
    assert!(sent.iter().all(|body| *body == sent[0]), "{sent:#?}");
}

#[tokio::test]
async fn a_conflict_that_lasts_is_an_open_outcome_and_not_a_reserved_ticket() {
    let (store, faults) = store().await;
    let order = order_for(&free_ticket(&store).await);
    faults.plan((0..1_000).map(|_| cancelled(&["None", "TransactionConflict"])));
    let outcome = store.place(&placement(&order)).await;
    assert!(matches!(&outcome, Err(error @ StoreError::Unavailable(_)) if error.retryable()));
    let tries = faults.sent().len();
    assert!((2..1_000).contains(&tries), "{tries}");
}

#[tokio::test]
async fn a_failed_condition_beside_a_conflict_counts() {
    let (store, faults) = store().await;
    let order = order_for(&free_ticket(&store).await);
    faults.plan([cancelled(&["TransactionConflict", "ConditionalCheckFailed"])]);
    assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Conflict);
    assert_eq!(faults.sent().len(), 1);
}

#[tokio::test]
async fn a_conflict_of_a_ticket_event_is_tried_again() {
    let (store, faults) = store().await;
    let known = free_ticket(&store).await;
    faults.plan([error(400, "TransactionConflictException")]);
    let next = ticket(&known.id, known.version.number() + 1);
    let outcome = store.apply_ticket(&next, TicketRule::Next).await.unwrap();
    assert_eq!(outcome, TicketOutcome::Applied { replaced: Some(known.version) });
}

#[tokio::test]
async fn an_answer_lost_after_the_commit_is_still_a_success() {
    let (store, faults) = store().await;
    let order = order_for(&free_ticket(&store).await);
    faults.plan([Fault::LoseAnswer]);
    assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Placed);

    let Decision::Apply(cancel) = decide(&order, &Command::Cancel) else { panic!() };
    faults.plan([Fault::LoseAnswer]);
    assert_eq!(store.commit(&cancel).await.unwrap(), CommitOutcome::Committed);
}

#[tokio::test]
async fn answers_lost_for_good_leave_the_outcome_open_and_a_repeat_finds_it() {
    let (store, faults) = store().await;
    let order = order_for(&free_ticket(&store).await);
    faults.plan((0..3).map(|_| Fault::LoseAnswer));
    let outcome = store.place(&placement(&order)).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    let repeat = store.place(&placement(&order)).await.unwrap();
    assert_eq!(repeat, PlaceOutcome::AlreadyPlaced(order));
}

#[tokio::test]
async fn trouble_that_passes_is_told_from_trouble_that_stays() {
    let (store, faults) = store().await;
    let known = free_ticket(&store).await;
    for fault in [
        error(400, "ThrottlingException"),
        error(400, "ProvisionedThroughputExceededException"),
        error(400, "RequestLimitExceeded"),
        error(500, "InternalServerError"),
        error(503, "ServiceUnavailable"),
        Fault::Answer(502, "<html>".to_owned()),
        Fault::Answer(200, "{".to_owned()),
        Fault::Silence,
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
async fn a_throttled_request_is_tried_again_by_the_sdk() {
    let (store, faults) = store().await;
    let known = free_ticket(&store).await;
    faults.plan([error(400, "ThrottlingException"), error(500, "InternalServerError")]);
    assert!(store.find_ticket(&known.id).await.unwrap().is_some());
    assert_eq!(faults.sent().len(), 3);
}

#[tokio::test]
async fn a_lock_that_names_another_order_is_never_touched() {
    let sdk = stores::in_process_endpoint().await;
    let client = Client::new(&sdk);
    let tables = stores::make_tables(&client).await;
    let store = DynamoStore::new(client.clone(), tables.clone(), CONFLICT_BUDGET);
    let order = order_for(&free_ticket(&store).await);
    assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Placed);
    // No store lets it come to this: the order is live, and its ticket is another's.
    let other = order_for(&order.ticket).id;
    let steal = client.update_item().table_name(tables.tickets);
    let steal = steal.key("id", AttributeValue::S(order.ticket.id.to_string()));
    let steal = steal.update_expression("SET locked_by = :other");
    let other_id = AttributeValue::S(other.to_string());
    steal.expression_attribute_values(":other", other_id).send().await.unwrap();
    for command in [
        Command::Cancel,
        Command::Expire { now: order.expires_at },
        Command::Pay { payment_id: "p1".parse().unwrap(), ticket_is_free: false },
    ] {
        let Decision::Apply(change) = decide(&order, &command) else { panic!("{command:?}") };
        assert_eq!(store.commit(&change).await.unwrap(), CommitOutcome::Conflict);
        let lock = store.find_ticket(&order.ticket.id).await.unwrap().unwrap().lock;
        assert_eq!(lock, Lock::Held { by: other, until: order.expires_at });
        assert_eq!(store.find(order.id).await.unwrap(), Some(order.clone()));
    }
    let command = Command::Expire { now: order.expires_at };
    let Decision::Apply(expiry) = decide(&order, &command) else { panic!() };
    let takeover = Placement { order: order_at(&order.ticket, 30), takeover: Some(expiry) };
    assert_eq!(store.place(&takeover).await.unwrap(), PlaceOutcome::Conflict);
    assert_eq!(store.find(order.id).await.unwrap(), Some(order));
}

#[tokio::test]
async fn a_row_that_is_no_order_is_told_so() {
    let (store, faults) = store().await;
    let row = json!({"Item": {"id": {"S": "x"}, "status": {"S": "lost"}}});
    faults.plan([Fault::Answer(200, row.to_string())]);
    let outcome = store.find(order_for(&ticket(&"t".parse().unwrap(), 0)).id).await;
    assert!(matches!(outcome, Err(StoreError::Corrupt(_))), "{outcome:?}");
}

//! Faults of DynamoDB between the SDK and a healthy engine: conflicts, throttling, errors, missing
//! replies, and replies lost after the commit.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
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
use create_order::{CreateError, CreateOrder, Created, create_order};
use orders_domain::{
    Availability, Command, CommitOutcome, Lock, Order, OrderStore, PlaceOutcome, SlotCount, Slots,
    StoreError, Ticket, TicketOutcome, TicketRule, Transition,
};
use orders_dynamo::{DynamoStore, TableNames};
use orders_testing::{at, new_order, order_id, pay, transition};
use orders_tests::stores;
use serde_json::{Value, json};

use crate::suite::{
    extension_of, late_payment_of, lock_of, new_ticket, order_for, order_in, placed_in_slot,
    placed_order, placement, sale, slot, slot_changes, sold_to, stored, transition_on,
};

/// Fate of a request.
#[derive(Clone, Debug)]
enum Fault {
    /// Forwarded, with its reply.
    None,
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
                None | Some(Fault::None) => inner.call(request).await,
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
    let sdk = stores::in_process_endpoint();
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
async fn conflict_of_a_placement_is_not_retried() {
    let (store, faults) = store().await;
    let order = order_for(&new_ticket(&store).await);
    for reasons in [
        ["None", "TransactionConflict"],
        ["TransactionConflict", "None"],
        ["None", "ThrottlingError"],
        ["None", "ProvisionedThroughputExceeded"],
    ] {
        faults.plan([cancelled(&reasons)]);
        assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Conflict);
        assert_eq!(faults.requests().len(), 1);
    }
    assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Placed);
}

fn request_for(ticket: &Ticket) -> CreateOrder {
    CreateOrder {
        ticket_id: ticket.id.clone(),
        ticket_version: None,
        holds_per_buyer: SlotCount::DEFAULT,
        has_key: false,
        order: new_order(order_id(1), at(0)),
    }
}

/// A transaction that met another one is not sent again before the ticket and the slots are read again.
#[tokio::test]
async fn conflicting_order_reads_ticket_and_slots_again() {
    let (store, faults) = store().await;
    let ticket = new_ticket(&store).await;
    let conflict = cancelled(&["None", "TransactionConflict"]);
    faults.plan([Fault::None, Fault::None, conflict.clone(), Fault::None, Fault::None, conflict]);
    let created = create_order(&store, &request_for(&ticket)).await;
    assert!(matches!(created, Ok(Created::New(_))), "{created:?}");
    let requests = faults.requests();
    let is_transaction = |request: &Value| request.get("TransactItems").is_some();
    let transactions: Vec<bool> = requests.iter().map(is_transaction).collect();
    assert_eq!(transactions, [false, false, true].repeat(3));
    let mut tokens: Vec<_> =
        requests.iter().filter_map(|it| it["ClientRequestToken"].as_str()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
}

#[tokio::test]
async fn lasting_conflict_of_orders_is_unavailable_not_reserved() {
    let (store, faults) = store().await;
    let ticket = new_ticket(&store).await;
    let conflict = cancelled(&["None", "TransactionConflict"]);
    faults.plan([Fault::None, Fault::None, conflict].into_iter().cycle().take(3_000));
    let refused = create_order(&store, &request_for(&ticket)).await;
    assert!(matches!(refused, Err(CreateError::Contended)), "{refused:?}");
}

#[tokio::test]
async fn lasting_conflict_of_a_transition_is_unavailable() {
    let (store, faults) = store().await;
    let order = placed_order(&store).await;
    faults.plan((0..1_000).map(|_| cancelled(&["None", "TransactionConflict"])));
    let outcome = store.commit(&transition(&order, &Command::Cancel)).await;
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
    let next = sale(&known.id, 4);
    let outcome = store.apply_ticket(&next, TicketRule::Next).await.unwrap();
    assert_eq!(outcome, TicketOutcome::Applied { replaced: Some(known.version) });
}

#[tokio::test]
async fn reply_lost_after_the_commit_is_a_success() {
    let (store, faults) = store().await;
    let order = order_for(&new_ticket(&store).await);
    faults.plan([Fault::LoseReply]);
    assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Placed);

    let payment = payment_of(&order);
    faults.plan([Fault::LoseReply]);
    assert_eq!(store.commit(&payment).await.unwrap(), CommitOutcome::Committed);
    assert_eq!(stored(&store, &order).await, *payment.order());
    faults.plan([Fault::LoseReply]);
    let outcome = store.make_permanent(payment.order()).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed);
}

/// The SDK repeats the write, whose condition refuses it.
#[tokio::test]
async fn ticket_write_with_a_lost_reply_is_refused_by_itself() {
    let (store, faults) = store().await;
    let known = new_ticket(&store).await;
    let next = sale(&known.id, 4);
    faults.plan([Fault::LoseReply]);
    let outcome = store.apply_ticket(&next, TicketRule::Next).await.unwrap();
    assert_eq!(outcome, TicketOutcome::Refused { stored: Some(next) });
}

/// The repeat finds the order changed, and the payment booked once.
#[tokio::test]
async fn lost_replies_of_a_payment_are_unavailable_until_a_repeat() {
    let (store, faults) = store().await;
    let order = placed_order(&store).await;
    let payment = payment_of(&order);
    faults.plan((0..3).map(|_| Fault::LoseReply));
    let outcome = store.commit(&payment).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    assert_eq!(store.commit(&payment).await.unwrap(), CommitOutcome::Conflict);
    assert_eq!(stored(&store, &order).await, *payment.order());
    let id = &payment.booked().unwrap().payment.id;
    assert_eq!(store.find_payment(id).await.unwrap().as_ref(), payment.booked());
}

fn payment_of(order: &Order) -> Transition {
    transition(order, &pay("p1", order, 1))
}

/// The updated attributes of a recorded transaction, as `<table>: <attributes>`.
fn updates(request: &Value) -> Vec<String> {
    let items = request["TransactItems"].as_array().unwrap().iter();
    let update = |item: &Value| {
        let item = item.get("Update").or_else(|| item.get("ConditionCheck"))?;
        let table = item["TableName"].as_str().unwrap().rsplit('-').next().unwrap();
        let expression = item["UpdateExpression"].as_str().unwrap_or("nothing");
        Some(format!("{table}: {expression}").replace('#', ""))
    };
    items.map(|item| update(item).expect("no put")).collect()
}

/// Attributes that this release does not know stay as they are: no item is replaced.
#[tokio::test]
async fn transition_updates_only_what_it_changes() {
    let (store, faults) = store().await;
    let book = "payments: SET amount = :amount, order_id = :order_id, result = :result, \
                sent_at = :sent_at";
    let change = "orders: SET status = :status, version = :version";
    let kept = |assignments: &str| format!("{change}{assignments} REMOVE forget_at");
    let status = &kept("");
    let buy = &kept(", payment_id = :payment_id");
    let refund = &kept(", refunds_due = list_append(if_not_exists(refunds_due, :none), :refund)");
    let release = "tickets: REMOVE locked_by, locked_until, locked_for";
    let sell = "tickets: REMOVE locked_until";
    let lock = "tickets: SET locked_by = :order, locked_for = :user REMOVE locked_until";

    let extend = &kept(", expires_at = :expires_at, extended = :extended");
    let settle = &kept(", refunds_due[0].state = :state");
    let refund_of =
        |payment: &str| Command::Refund { payment_id: payment.parse().unwrap(), amount: None };

    let order = placed_order(&store).await;
    let cancel = transition(&order, &Command::Cancel);
    let late = late_payment_of(&order, Availability::Own);
    let paid = payment_of(&order);
    let refund_due = transition(cancel.order(), &pay("p2", &order, 1));
    let beside = transition_on(&order, &Command::Cancel, Availability::Free);
    let extension = extension_of(&order);
    let settled = transition(refund_due.order(), &refund_of("p2"));
    let refunded = transition(paid.order(), &refund_of("p1"));
    for (transition, expected) in [
        (&cancel, vec![status, release]),
        (&extension, vec![extend, "tickets: SET locked_until = :until"]),
        (&settled, vec![settle]),
        (&refunded, vec![status, release]),
        (&beside, vec![status, "tickets: nothing"]),
        (&paid, vec![book, buy, sell]),
        (&late, vec![book, buy, lock]),
        (&refund_due, vec![book, refund]),
    ] {
        faults.plan([]);
        store.commit(transition).await.unwrap();
        assert_eq!(updates(&faults.requests()[0]), expected);
    }
}

#[tokio::test]
async fn transition_updates_only_the_slot_of_its_buyer() {
    let (store, faults) = store().await;
    for (index, expected) in [
        (0, "buyers: REMOVE slot"),
        (1, "buyers: REMOVE slot"),
        (2, "buyers: SET slot = :until, forget_at = :forget_at"),
    ] {
        let order = placed_in_slot(&store).await;
        faults.plan([]);
        store.commit(&slot_changes(&order)[index]).await.unwrap();
        assert_eq!(updates(&faults.requests()[0]).last().unwrap(), expected);
    }
}

/// The slot belongs to a later order, so the transaction is sent again without it.
#[tokio::test]
async fn transition_is_committed_without_a_slot_that_has_changed() {
    let (store, faults) = store().await;
    let order = placed_in_slot(&store).await;
    let cancel = &slot_changes(&order)[0];
    faults.plan([
        cancelled(&["None", "None", "TransactionConflict"]),
        cancelled(&["None", "TransactionConflict", "ConditionalCheckFailed"]),
        cancelled(&["None", "TransactionConflict"]),
        Fault::LoseReply,
    ]);
    assert_eq!(store.commit(cancel).await.unwrap(), CommitOutcome::Committed);
    let requests = faults.requests();
    assert_eq!(stored(&store, &order).await, *cancel.order());
    let numbers = requests.iter().map(|request| updates(request).len()).collect::<Vec<_>>();
    assert_eq!(numbers, [3, 3, 2, 2, 2]);
    // Each attempt has a token of its own, which the SDK repeats after a lost reply.
    for attempts in requests[..4].windows(2) {
        assert_ne!(attempts[0]["ClientRequestToken"], attempts[1]["ClientRequestToken"]);
    }
    assert_eq!(requests[3], requests[4]);
    assert_eq!(
        store.find_slots(&order.user_id).await.unwrap(),
        Slots::from_iter([(slot(), order.expires_at)])
    );
}

/// The slot does not matter: the order has changed.
#[tokio::test]
async fn transition_of_a_changed_order_is_not_sent_again_without_its_slot() {
    let (store, faults) = store().await;
    let order = placed_in_slot(&store).await;
    let [cancel, payment, _] = slot_changes(&order);
    assert_eq!(store.commit(&cancel).await.unwrap(), CommitOutcome::Committed);
    faults.plan([]);
    assert_eq!(store.commit(&payment).await.unwrap(), CommitOutcome::Conflict);
    assert_eq!(faults.requests().len(), 1);
}

#[tokio::test]
async fn lost_reply_of_a_placement_occupies_one_slot() {
    let (store, faults) = store().await;
    let order = order_in(&store, &order_for(&new_ticket(&store).await).user_id, slot(), 0).await;
    faults.plan([Fault::LoseReply]);
    assert_eq!(store.place(&placement(&order)).await.unwrap(), PlaceOutcome::Placed);
    assert_eq!(
        store.find_slots(&order.user_id).await.unwrap(),
        Slots::from_iter([(slot(), order.expires_at)])
    );
}

#[tokio::test]
async fn conflict_of_a_transition_is_retried() {
    let (store, faults) = store().await;
    let order = placed_order(&store).await;
    let payment = payment_of(&order);
    faults.plan([
        cancelled(&["None", "None", "TransactionConflict"]),
        cancelled(&["TransactionConflict", "None", "None"]),
    ]);
    assert_eq!(store.commit(&payment).await.unwrap(), CommitOutcome::Committed);
    let requests = faults.requests();
    assert_eq!(requests.len(), 3);
    for repeat in &requests[1..] {
        assert_eq!(repeat["TransactItems"], requests[0]["TransactItems"]);
    }
    assert_eq!(lock_of(&store, &order).await, sold_to(&order));
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

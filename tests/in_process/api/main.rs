//! The HTTP API in process: API Gateway event to response.

mod holds;
mod orders;
mod refunds;
mod requests;
mod sales;
mod unavailable;

use orders_domain::{
    Command, Order, OrderId, OrderStore, Payment, Sale, TicketOutcome, TicketRule, Timestamp,
};
use orders_lambda::{
    clock,
    queue::{Message, Outcome},
};
use orders_testing::{LATE_LIMIT, MemoryStore, commit, new_order, ticket};
use orders_tests::{
    events::PAYMENT_LIMITS,
    gateway::{Api, ApiResponse, Event},
};
use serde_json::{Value, json};

const ORDER: &str = r#"{"ticketId":"t1"}"#;

async fn api_with_tickets(ids: &[&str]) -> Api<MemoryStore> {
    on_store_with_tickets(ids).await
}

async fn on_store_with_tickets<S: OrderStore + Default>(ids: &[&str]) -> Api<S> {
    let api = Api::<S>::default();
    for id in ids {
        apply(&api, &Sale::Open(ticket(id, 0))).await;
    }
    api
}

/// Applies a newer version of a ticket.
async fn apply(api: &Api<impl OrderStore>, sale: &Sale) {
    let outcome = api.store.apply_ticket(sale, TicketRule::AnyNewer).await.unwrap();
    assert!(matches!(outcome, TicketOutcome::Applied { .. }), "{outcome:?}");
}

async fn place_order(api: &Api<impl OrderStore>, ticket: &str) -> String {
    let response = api.create(&Event::post(&json!({ "ticketId": ticket }).to_string())).await;
    assert_eq!(response.status(), 201, "{response:?}");
    response.body()["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_problem(response: &ApiResponse, status: u64) {
    assert_eq!(response.status(), status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let body = response.body();
    assert_eq!(body["status"], status);
    for field in ["type", "title", "detail"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {body}");
    }
    let errors = body["errors"].as_array().expect("a list of errors");
    assert!(!errors.is_empty());
    assert!(errors.iter().all(|error| error["message"].is_string()), "{body}");
}

/// Checks that the response is a problem of this type.
#[track_caller]
fn assert_rejected(response: &ApiResponse, status: u64, kind: &str) {
    assert_problem(response, status);
    assert_eq!(response.body()["type"], format!("urn:problem-type:orders:{kind}"));
}

fn retry_after(response: &ApiResponse) -> u64 {
    response.header("retry-after").expect("Retry-After").parse().unwrap()
}

/// Commits the payment, now.
async fn pay(api: &Api<MemoryStore>, id: &str, payment: &str) {
    let order = api.store.find(id.parse().unwrap()).await.unwrap().unwrap();
    let now = clock::now();
    let payment = Payment { sent_at: now, ..orders_testing::payment(payment, &order, 0) };
    commit(&api.store, &order, &Command::Pay { payment, late_limit: LATE_LIMIT, now }).await;
}

/// Delivers an event of the payment service, which is done.
async fn deliver_payment_event(api: &Api<MemoryStore>, event: &Value) {
    let (body, now) = (event.to_string(), clock::now());
    let message = Message::new(&body);
    let outcome = payment_events::handle(&api.store, PAYMENT_LIMITS, now, message).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
}

/// Alice's order for `t1`, placed so many seconds ago.
fn order_of(id: OrderId, seconds_ago: u64) -> Order {
    let now = clock::now().epoch_ms() - seconds_ago * 1_000;
    Order::new(new_order(id, Timestamp::from_epoch_ms(now).unwrap()), ticket("t1", 0))
}

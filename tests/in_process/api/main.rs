//! The HTTP API in process: API Gateway event to response.

mod orders;
mod requests;
mod unavailable;

use orders_domain::{Command, Order, OrderId, OrderStore, Payment, TicketRule, Timestamp};
use orders_lambda::clock;
use orders_testing::{LATE_LIMIT, MemoryStore, commit, new_order, ticket};
use orders_tests::gateway::{Api, ApiResponse, Event};
use serde_json::json;

const ORDER: &str = r#"{"ticketId":"t1"}"#;

async fn api_with_tickets(ids: &[&str]) -> Api<MemoryStore> {
    on_store_with_tickets(ids).await
}

async fn on_store_with_tickets<S: OrderStore + Default>(ids: &[&str]) -> Api<S> {
    let api = Api::<S>::default();
    for id in ids {
        api.store.apply_ticket(&ticket(id, 0), TicketRule::FirstOrNext).await.unwrap();
    }
    api
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

/// Alice's order for `t1`, placed so many seconds ago.
fn order_of(id: OrderId, seconds_ago: u64) -> Order {
    let now = clock::now().epoch_ms() - seconds_ago * 1_000;
    Order::new(new_order(id, Timestamp::from_epoch_ms(now).unwrap()), ticket("t1", 0))
}

//! Runs of reconcile on DynamoDB: pages, failures, and their metrics.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use metrics_util::debugging::DebuggingRecorder;
use orders_domain::{LapsedHolds, Lock, OrderStore, Sale, Status, TicketReplica};
use orders_testing::{MemoryStore, after, at, order, order_id, pay, place, ticket};
use orders_tests::{
    aws_responses::{self, AwsResponse, NO_RESPONSE},
    stores,
};
use reconcile::Report;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::new_metrics;

/// Runs reconcile half an hour later. Returns the report and the metrics.
async fn run(store: &impl LapsedHolds) -> (Report, Vec<String>) {
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let deadline = Instant::now() + Duration::from_mins(14);
    let report =
        reconcile::reconcile(store, reconcile::Request::default(), at(1_800), deadline).await;
    (report, new_metrics(&recorder))
}

/// A page of a scan with these tickets; the last one is its position, if more pages follow.
fn page(tickets: &[&str], is_last: bool) -> AwsResponse {
    let keys: Vec<_> = tickets.iter().map(|id| json!({"id": {"S": id}})).collect();
    let mut response = json!({"Items": keys, "Count": keys.len(), "ScannedCount": 100});
    if !is_last {
        response["LastEvaluatedKey"] = keys.last().cloned().unwrap_or_default();
    }
    (200, response)
}

fn throttled() -> AwsResponse {
    (400, json!({"__type": "ThrottlingException", "message": "slow down"}))
}

fn finished() -> Report {
    Report { finished: true, ..Report::default() }
}

/// Tickets with lapsed locks: of two due orders, of a missing order and of a paid order.
#[tokio::test]
async fn repairs_of_each_kind_are_counted() {
    let mut orders = [1, 2, 3].map(order);
    let tickets = ["t1", "t2", "t3", "t4"].map(|id| ticket(id, 0));
    for (order, ticket) in orders.iter_mut().zip(&tickets) {
        order.ticket = ticket.clone();
    }
    orders[2] = after(&orders[2], &pay("p1", &orders[2], 10));
    let lapsed = tickets.into_iter().zip(1..).map(|(ticket, byte)| TicketReplica {
        sale: Sale::Open(ticket),
        lock: Lock::Held { by: order_id(byte), until: at(30) },
        locked_for: None,
    });
    let (report, metrics) = run(&MemoryStore::holding(lapsed, orders)).await;
    assert_eq!(report, Report { expired: 2, released: 1, made_permanent: 1, ..finished() });
    assert_eq!(metrics, ["ReconciledHolds 4"]);
}

#[tokio::test]
async fn scan_continues_after_each_page() {
    let starts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&starts);
    let store = aws_responses::store(move |operation, request| {
        if operation != "Scan" {
            return (200, json!({})); // the ticket is gone
        }
        let mut starts = seen.lock().unwrap();
        starts.push(request["ExclusiveStartKey"]["id"]["S"].clone());
        page(&[["t1", "t2"], ["t3", "t4"], ["t5", "t6"]][starts.len() - 1], starts.len() == 3)
    });
    assert_eq!(run(&store).await, (finished(), vec![]));
    assert_eq!(*starts.lock().unwrap(), [Value::Null, json!("t2"), json!("t4")]);
}

#[tokio::test]
async fn scan_that_fails_is_unfinished() {
    let store = aws_responses::store(|operation, request| match operation {
        "Scan" if request["ExclusiveStartKey"].is_null() => page(&["t1"], false),
        "Scan" => throttled(),
        _ => (200, json!({})),
    });
    let (report, metrics) = run(&store).await;
    assert_eq!((report, metrics), (Report::default(), vec!["ReconcileUnfinished 1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn scan_ends_at_the_deadline() {
    let store = aws_responses::store(|operation, request| match operation {
        "Scan" if request["ExclusiveStartKey"].is_null() => page(&["t1"], false),
        "Scan" => NO_RESPONSE,
        _ => (200, json!({})),
    });
    let (report, metrics) = run(&store).await;
    assert_eq!((report, metrics), (Report::default(), vec!["ReconcileUnfinished 1".to_owned()]));
}

#[tokio::test]
async fn ticket_that_fails_delays_no_other() {
    let read = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&read);
    let store = aws_responses::store(move |operation, request| {
        if operation == "Scan" {
            return page(&["t1", "t2", "t3"], !request["ExclusiveStartKey"].is_null());
        }
        let id = request["Key"]["id"]["S"].clone();
        let fails = id == "t1";
        seen.lock().unwrap().push(id);
        if fails { throttled() } else { (200, json!({})) }
    });
    let report = Report { failed: 2, ..finished() };
    assert_eq!(run(&store).await, (report, vec!["ReconcileUnfinished 1".to_owned()]));
    let read = read.lock().unwrap();
    assert_eq!(read.iter().filter(|id| **id == "t3").count(), 2, "{read:?}");
}

#[tokio::test]
async fn unreadable_order_delays_no_other_hold() {
    let sdk = stores::in_process_endpoint();
    let (store, client) = (stores::store_on(&sdk).await, Client::new(&sdk));
    for byte in 1..=3 {
        let mut order = order(byte);
        order.ticket = ticket(&format!("ticket-{byte}"), 0);
        place(&store, &order).await;
    }
    let update = client.update_item().table_name(stores::make_tables(&client).await.orders);
    let update = update.key("id", AttributeValue::S(order_id(1).to_string()));
    let update = update.update_expression("SET #schema = :newer");
    let update = update.expression_attribute_names("#schema", "schema");
    let newer = AttributeValue::N("2".to_owned());
    update.expression_attribute_values(":newer", newer).send().await.unwrap();

    let (report, metrics) = run(&store).await;
    assert_eq!(report, Report { expired: 2, unreadable: 1, ..finished() });
    assert_eq!(metrics, ["ReconciledHolds 2", "UnreadableItems 1"]);
    for byte in 2..=3 {
        let expired = store.find(order_id(byte)).await.unwrap().unwrap();
        assert_eq!(expired.status, Status::Expired);
    }
}

//! Invalid messages and records: each is dead-lettered alone and unmodified.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use orders_domain::OrderId;
use orders_tests::{
    bus::{Listener, kinds, payment_result},
    buyers::{TestStack, eventually, new_buyer, payment_message, ticket as new_version, utc_now},
    stack::{redrive, stack},
};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn malformed_payment_and_expiry_are_dead_lettered() {
    let test_stack = TestStack::connect().await;
    let order = new_buyer().order(&test_stack.new_ticket().await).await.json();
    let id = order["id"].as_str().unwrap();
    let invalid = format!("{{\"malformed\": \"{}\", ", Uuid::new_v4());
    for queue in ["PaymentEventsQueueUrl", "ExpiryQueueUrl"] {
        test_stack.send(queue, &invalid).await;
    }
    test_stack.publish_payment(&format!("payment-{}", Uuid::new_v4()), id).await;
    eventually(async || test_stack.order_row(id).await.unwrap()["status"] == "paid").await;
    for queue in ["PaymentEventsDeadLetterQueueUrl", "ExpiryDeadLetterQueueUrl"] {
        eventually(async || test_stack.delete_message(queue, &invalid).await).await;
        let others = test_stack.peek(queue).await;
        assert!(!others.iter().any(|message| message.contains(id)), "{others:?}");
    }
}

#[tokio::test]
async fn redriven_dead_letters_are_applied() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let alice = new_buyer();
    let listener = Listener::start().await;
    let order = alice.order(&ticket).await.json();
    let id = order["id"].as_str().unwrap().to_owned();
    assert_eq!(alice.cancel(&id).await.status, 204);

    let next = json!({"source": "tickets", "detail-type": "TicketUpdated", "detail": new_version(&ticket, 1)});
    test_stack.send("TicketEventsDeadLetterQueueUrl", &next.to_string()).await;
    let expiry = json!({"orderId": id}).to_string();
    test_stack.send("ExpiryDeadLetterQueueUrl", &expiry).await;
    let record = test_stack.creation_record(&id).await.to_string();
    test_stack.send("OrderRelayDeadLetterQueueUrl", &record).await;

    for name in ["TicketEvents", "Expiry", "OrderRelay"] {
        redrive(name);
    }
    eventually(async || test_stack.ticket_row(&ticket).await.unwrap()["version"] == 1).await;
    // Published once from the stream and once from the redriven record.
    let received = listener.collect(std::slice::from_ref(&id), |all| all[&id].len() >= 3).await;
    assert_eq!(kinds(&received[&id]), ["OrderCreated", "OrderCancelled"]);
    assert_eq!(test_stack.order_row(&id).await.unwrap()["version"], 1);
    let remaining = test_stack.peek("ExpiryDeadLetterQueueUrl").await;
    assert!(!remaining.contains(&expiry), "{remaining:?}");
}

/// The first payment is received before its order exists, and retried. The second one has failed for half a day.
#[tokio::test]
async fn payment_before_its_order_is_retried_and_a_dead_lettered_one_is_redriven() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let alice = new_buyer();
    let id = OrderId::for_key(&alice.sub.parse().unwrap(), &"later".parse().unwrap()).to_string();
    let [first, second] = [(); 2].map(|()| format!("payment-{}", Uuid::new_v4()));
    let event = |payment: &str| payment_message(payment, &id, utc_now(), &Value::Null);
    test_stack.send("PaymentEventsQueueUrl", &event(&first)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    assert_eq!(alice.order_with_key(&ticket, "later").await.json()["id"], id);
    eventually(async || test_stack.order_row(&id).await.unwrap()["payment_id"] == first).await;
    test_stack.send("PaymentEventsDeadLetterQueueUrl", &event(&second)).await;
    assert!(redrive("").contains("PaymentEvents: "), "a list of queues");
    assert!(redrive("PaymentEvents").contains("moved back"));
    eventually(async || {
        let row = test_stack.order_row(&id).await.unwrap();
        payment_result(&row, &second) == Some("refund due")
    })
    .await;
}

#[tokio::test]
async fn invalid_stream_record_is_dead_lettered_unmodified() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let listener = Listener::start().await;
    let invalid = Uuid::new_v4().to_string();
    let row = [("id", invalid.clone()), ("status", "lost".to_owned())];
    let put = test_stack.tables.put_item().table_name(stack().output("OrdersTableName"));
    let item = row.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
    put.set_item(Some(item.into())).send().await.unwrap();

    let order = new_buyer().order(&ticket).await.json();
    let id = order["id"].as_str().unwrap().to_owned();
    let received = listener.collect(std::slice::from_ref(&id), |all| !all[&id].is_empty()).await;
    assert_eq!(kinds(&received[&id])[0], "OrderCreated");

    let mut record = None;
    eventually(async || {
        record = record_of(&test_stack, &invalid).await;
        record.is_some()
    })
    .await;
    let messages = test_stack.peek("OrderRelayDeadLetterQueueUrl").await;
    assert!(!messages.iter().any(|message| message.contains(&id)), "{messages:?}");
    let image = &record.unwrap()["dynamodb"]["NewImage"];
    assert_eq!(*image, json!({"id": {"S": invalid}, "status": {"S": "lost"}}));
    let delete = test_stack.tables.delete_item().table_name(stack().output("OrdersTableName"));
    delete.key("id", AttributeValue::S(invalid)).send().await.unwrap();
}

/// Returns the dead-lettered record of this row.
async fn record_of(test_stack: &TestStack, id: &str) -> Option<Value> {
    let messages = test_stack.peek("OrderRelayDeadLetterQueueUrl").await;
    let mut records = messages.iter().filter_map(|message| serde_json::from_str(message).ok());
    records.find(|record: &Value| record["dynamodb"]["Keys"]["id"]["S"] == id)
}

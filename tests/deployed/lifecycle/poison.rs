//! One bad message or record among good ones: it alone ends in a dead-letter queue, whole.

use aws_sdk_dynamodb::types::AttributeValue;
use orders_domain::OrderId;
use orders_tests::{
    bus::{Listener, kinds},
    buyers::{TestStack, eventually, new_buyer, ticket as new_version},
    stack::{redrive, stack},
};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn a_bad_payment_and_a_bad_expiry_end_in_their_dead_letter_queues() {
    let test_stack = TestStack::connect().await;
    let order = new_buyer().order(&test_stack.new_ticket().await).await.json();
    let id = order["id"].as_str().unwrap();
    let bad = format!("{{\"malformed\": \"{}\", ", Uuid::new_v4());
    for queue in ["PaymentEventsQueueUrl", "ExpiryQueueUrl"] {
        test_stack.send(queue, &bad).await;
    }
    test_stack.charge(&format!("payment-{}", Uuid::new_v4()), id).await;
    eventually(async || test_stack.order_row(id).await.unwrap()["status"] == "paid").await;
    for queue in ["PaymentEventsDeadLetterQueueUrl", "ExpiryDeadLetterQueueUrl"] {
        eventually(async || test_stack.take(queue, &bad).await).await;
        let others = test_stack.look_into(queue).await;
        assert!(!others.iter().any(|message| message.contains(id)), "{others:?}");
    }
}

#[tokio::test]
async fn what_is_moved_back_from_a_dead_letter_queue_is_applied() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let alice = new_buyer();
    let listener = Listener::start().await;
    let order = alice.order(&ticket).await.json();
    let id = order["id"].as_str().unwrap().to_owned();
    assert_eq!(alice.cancel(&id).await.status, 204);

    let next = json!({"detail-type": "TicketUpdated", "detail": new_version(&ticket, 1)});
    test_stack.send("TicketEventsDeadLetterQueueUrl", &next.to_string()).await;
    let expiry = json!({"orderId": id}).to_string();
    test_stack.send("ExpiryDeadLetterQueueUrl", &expiry).await;
    let record = test_stack.record_of_placing(&id).await.to_string();
    test_stack.send("OrderRelayDeadLetterQueueUrl", &record).await;

    for name in ["TicketEvents", "Expiry", "OrderRelay"] {
        redrive(name);
    }
    eventually(async || test_stack.ticket_row(&ticket).await.unwrap()["version"] == 1).await;
    // Once from the stream and once more from the record that was moved back.
    let heard = listener.stop(std::slice::from_ref(&id), |all| all[&id].len() >= 3).await;
    assert_eq!(kinds(&heard[&id]), ["OrderCreated", "OrderCancelled"]);
    assert_eq!(test_stack.order_row(&id).await.unwrap()["version"], 1);
    let left = test_stack.look_into("ExpiryDeadLetterQueueUrl").await;
    assert!(!left.contains(&expiry), "{left:?}");
}

#[tokio::test]
async fn a_payment_whose_order_does_not_come_is_a_dead_letter_until_it_is_moved_back() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let alice = new_buyer();
    let id = OrderId::for_key(&alice.sub.parse().unwrap(), &"later".parse().unwrap()).to_string();
    let payment = format!("payment-{}", Uuid::new_v4());
    let detail = json!({"id": payment, "orderId": id});
    let event = json!({"detail-type": "PaymentCreated", "detail": detail}).to_string();
    test_stack.send("PaymentEventsQueueUrl", &event).await;
    let dead_letters = "PaymentEventsDeadLetterQueueUrl";
    eventually(async || test_stack.look_into(dead_letters).await.contains(&event)).await;

    assert_eq!(alice.order_with_key(&ticket, "later").await.json()["id"], id);
    assert!(redrive("").contains("PaymentEvents: "), "they are listed");
    assert!(redrive("PaymentEvents").contains("moved back"));
    eventually(async || test_stack.order_row(&id).await.unwrap()["payment_id"] == payment).await;
}

#[tokio::test]
async fn a_bad_record_of_the_stream_is_buried_whole_and_the_others_are_told() {
    let test_stack = TestStack::connect().await;
    let ticket = test_stack.new_ticket().await;
    let listener = Listener::start().await;
    let bad = Uuid::new_v4().to_string();
    let row = [("id", bad.clone()), ("status", "lost".to_owned())];
    let put = test_stack.tables.put_item().table_name(stack().output("OrdersTableName"));
    let item = row.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
    put.set_item(Some(item.into())).send().await.unwrap();

    let order = new_buyer().order(&ticket).await.json();
    let id = order["id"].as_str().unwrap().to_owned();
    let heard = listener.stop(std::slice::from_ref(&id), |all| !all[&id].is_empty()).await;
    assert_eq!(kinds(&heard[&id])[0], "OrderCreated");

    let mut record = None;
    eventually(async || {
        record = record_of(&test_stack, &bad).await;
        record.is_some()
    })
    .await;
    let messages = test_stack.look_into("OrderRelayDeadLetterQueueUrl").await;
    assert!(!messages.iter().any(|message| message.contains(&id)), "{messages:?}");
    let image = &record.unwrap()["dynamodb"]["NewImage"];
    assert_eq!(*image, json!({"id": {"S": bad}, "status": {"S": "lost"}}));
    let delete = test_stack.tables.delete_item().table_name(stack().output("OrdersTableName"));
    delete.key("id", AttributeValue::S(bad)).send().await.unwrap();
}

/// The record of this row in the relay's dead-letter queue, if it is there.
async fn record_of(test_stack: &TestStack, id: &str) -> Option<Value> {
    let messages = test_stack.look_into("OrderRelayDeadLetterQueueUrl").await;
    let mut records = messages.iter().filter_map(|message| serde_json::from_str(message).ok());
    records.find(|record: &Value| record["dynamodb"]["Keys"]["id"]["S"] == id)
}

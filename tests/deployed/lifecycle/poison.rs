//! One bad message or record among good ones: it alone ends in a dead-letter queue, whole.

use aws_sdk_dynamodb::types::AttributeValue;
use orders_domain::OrderId;
use orders_tests::{
    bus::{Listener, kinds},
    buyers::{Backstage, eventually, new_buyer, ticket as new_version},
    stack::{redrive, stack},
};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn a_bad_payment_and_a_bad_expiry_end_in_their_dead_letter_queues() {
    let backstage = Backstage::enter().await;
    let order = new_buyer().order(&backstage.new_ticket().await).await.json();
    let id = order["id"].as_str().unwrap();
    let bad = format!("{{\"malformed\": \"{}\", ", Uuid::new_v4());
    for queue in ["PaymentEventsQueueUrl", "ExpiryQueueUrl"] {
        backstage.send(queue, &bad).await;
    }
    backstage.charge(&format!("payment-{}", Uuid::new_v4()), id).await;
    eventually(async || backstage.order_row(id).await.unwrap()["status"] == "paid").await;
    for queue in ["PaymentEventsDeadLetterQueueUrl", "ExpiryDeadLetterQueueUrl"] {
        eventually(async || backstage.take(queue, &bad).await).await;
        let others = backstage.look_into(queue).await;
        assert!(!others.iter().any(|message| message.contains(id)), "{others:?}");
    }
}

#[tokio::test]
async fn what_is_moved_back_from_a_dead_letter_queue_is_applied() {
    let backstage = Backstage::enter().await;
    let ticket = backstage.new_ticket().await;
    let alice = new_buyer();
    let listener = Listener::start().await;
    let order = alice.order(&ticket).await.json();
    let id = order["id"].as_str().unwrap().to_owned();
    assert_eq!(alice.cancel(&id).await.status, 204);

    let next = json!({"detail-type": "TicketUpdated", "detail": new_version(&ticket, 1)});
    backstage.send("TicketEventsDeadLetterQueueUrl", &next.to_string()).await;
    let expiry = json!({"orderId": id}).to_string();
    backstage.send("ExpiryDeadLetterQueueUrl", &expiry).await;
    let record = backstage.record_of_placing(&id).await.to_string();
    backstage.send("OrderRelayDeadLetterQueueUrl", &record).await;

    for name in ["TicketEvents", "Expiry", "OrderRelay"] {
        redrive(name);
    }
    eventually(async || backstage.ticket_row(&ticket).await.unwrap()["version"] == 1).await;
    // Once from the stream and once more from the record that was moved back.
    let heard = listener.stop(std::slice::from_ref(&id), |all| all[&id].len() >= 3).await;
    assert_eq!(kinds(&heard[&id]), ["OrderCreated", "OrderCancelled"]);
    assert_eq!(backstage.order_row(&id).await.unwrap()["version"], 1);
    let left = backstage.look_into("ExpiryDeadLetterQueueUrl").await;
    assert!(!left.contains(&expiry), "{left:?}");
}

#[tokio::test]
async fn a_payment_whose_order_does_not_come_is_a_dead_letter_until_it_is_moved_back() {
    let backstage = Backstage::enter().await;
    let ticket = backstage.new_ticket().await;
    let alice = new_buyer();
    let id = OrderId::for_key(&alice.sub.parse().unwrap(), &"later".parse().unwrap()).to_string();
    let payment = format!("payment-{}", Uuid::new_v4());
    let detail = json!({"id": payment, "orderId": id});
    let event = json!({"detail-type": "PaymentCreated", "detail": detail}).to_string();
    backstage.send("PaymentEventsQueueUrl", &event).await;
    let dead_letters = "PaymentEventsDeadLetterQueueUrl";
    eventually(async || backstage.look_into(dead_letters).await.contains(&event)).await;

    assert_eq!(alice.order_with_key(&ticket, "later").await.json()["id"], id);
    assert!(redrive("").contains("PaymentEvents: "), "they are listed");
    assert!(redrive("PaymentEvents").contains("moved back"));
    eventually(async || backstage.order_row(&id).await.unwrap()["payment_id"] == payment).await;
}

#[tokio::test]
async fn a_bad_record_of_the_stream_is_buried_whole_and_the_others_are_told() {
    let backstage = Backstage::enter().await;
    let ticket = backstage.new_ticket().await;
    let listener = Listener::start().await;
    let bad = Uuid::new_v4().to_string();
    let row = [("id", bad.clone()), ("status", "lost".to_owned())];
    let put = backstage.tables.put_item().table_name(stack().output("OrdersTableName"));
    let item = row.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
    put.set_item(Some(item.into())).send().await.unwrap();

    let order = new_buyer().order(&ticket).await.json();
    let id = order["id"].as_str().unwrap().to_owned();
    let heard = listener.stop(std::slice::from_ref(&id), |all| !all[&id].is_empty()).await;
    assert_eq!(kinds(&heard[&id])[0], "OrderCreated");

    let mut record = None;
    eventually(async || {
        record = record_of(&backstage, &bad).await;
        record.is_some()
    })
    .await;
    let messages = backstage.look_into("OrderRelayDeadLetterQueueUrl").await;
    assert!(!messages.iter().any(|message| message.contains(&id)), "{messages:?}");
    let image = &record.unwrap()["dynamodb"]["NewImage"];
    assert_eq!(*image, json!({"id": {"S": bad}, "status": {"S": "lost"}}));
    let delete = backstage.tables.delete_item().table_name(stack().output("OrdersTableName"));
    delete.key("id", AttributeValue::S(bad)).send().await.unwrap();
}

/// The record of this row in the relay's dead-letter queue, if it is there.
async fn record_of(backstage: &Backstage, id: &str) -> Option<Value> {
    let messages = backstage.look_into("OrderRelayDeadLetterQueueUrl").await;
    let mut records = messages.iter().filter_map(|message| serde_json::from_str(message).ok());
    records.find(|record: &Value| record["dynamodb"]["Keys"]["id"]["S"] == id)
}

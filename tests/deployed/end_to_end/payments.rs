//! Payments of holds that have not lapsed.

use orders_tests::buyers::{
    TestStack, eventually, new_buyer, new_payment, payment_message, utc_now,
};
use serde_json::{Value, json};

/// Places an order for a new ticket, whose price is 0.5. Returns the order's id and path.
async fn placed(test_stack: &TestStack) -> (orders_tests::buyers::Buyer, String) {
    let alice = new_buyer();
    let order = alice.order(&test_stack.new_ticket().await).await.json();
    (alice, order["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn payment_of_a_wrong_amount_buys_nothing_and_the_hold_continues() {
    let test_stack = TestStack::connect().await;
    let (alice, id) = placed(&test_stack).await;
    let (wrong, right) = (new_payment(), new_payment());
    let pay = async |payment: &str, amount: &str| {
        let detail = format!(r#"{{"id":"{payment}","orderId":"{id}","amount":{amount}}}"#);
        test_stack.publish("payments", "PaymentCreated", &detail).await;
    };
    pay(&wrong, "50").await;
    let path = format!("/api/orders/{id}");
    eventually(async || alice.get(&path).await.json()["refunds"].is_array()).await;
    let order = alice.get(&path).await.json();
    let refund = json!([{"paymentId": wrong, "reason": "wrong_amount", "state": "due"}]);
    assert_eq!((&order["status"], &order["refunds"]), (&json!("awaiting_payment"), &refund));
    pay(&right, "0.50").await;
    eventually(async || alice.get(&path).await.json()["status"] == "paid").await;
    let order = alice.get(&path).await.json();
    assert_eq!((&order["paidBy"], &order["refunds"]), (&json!(right), &refund));
    let booked = test_stack.payment_row(&right).await.unwrap();
    assert_eq!((&booked["order_id"], &booked["result"]), (&json!(id), &json!("bought")));
    let booked = test_stack.payment_row(&wrong).await.unwrap();
    assert_eq!((&booked["order_id"], &booked["result"]), (&json!(id), &json!("wrong_amount")));
}

#[tokio::test]
async fn payment_with_an_order_id_in_capitals_buys() {
    let test_stack = TestStack::connect().await;
    let (alice, id) = placed(&test_stack).await;
    test_stack.publish_payment(&new_payment(), &id.to_uppercase()).await;
    let path = format!("/api/orders/{id}");
    eventually(async || alice.get(&path).await.json()["status"] == "paid").await;
}

#[tokio::test]
async fn payment_that_names_a_second_order_is_dead_lettered() {
    let test_stack = TestStack::connect().await;
    let (_, first) = placed(&test_stack).await;
    let (_, second) = placed(&test_stack).await;
    let payment = new_payment();
    test_stack.publish_payment(&payment, &first).await;
    eventually(async || test_stack.order_row(&first).await.unwrap()["status"] == "paid").await;
    let body = payment_message(&payment, &second, utc_now(), &Value::Null);
    test_stack.send("PaymentEventsQueueUrl", &body).await;
    let dead_letters = "PaymentEventsDeadLetterQueueUrl";
    eventually(async || test_stack.delete_message(dead_letters, &body).await).await;
    let row = test_stack.order_row(&second).await.unwrap();
    assert!(row["payment_id"].is_null() && row["refunds_due"].is_null(), "{row}");
}

#[tokio::test]
async fn payment_of_another_source_is_dead_lettered() {
    let test_stack = TestStack::connect().await;
    let (_, id) = placed(&test_stack).await;
    let body = payment_message(&new_payment(), &id, utc_now(), &Value::Null)
        .replace(r#""source":"payments""#, r#""source":"tickets""#);
    test_stack.send("PaymentEventsQueueUrl", &body).await;
    let dead_letters = "PaymentEventsDeadLetterQueueUrl";
    eventually(async || test_stack.delete_message(dead_letters, &body).await).await;
    assert_eq!(test_stack.order_row(&id).await.unwrap()["version"], 0);
}

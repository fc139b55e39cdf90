//! Rows that disagree after a restore or a manual repair, and rows that this release cannot read.

use orders_tests::buyers::{Buyer, TestStack, eventually, new_buyer, new_buyers};
use serde_json::{Value, json};
use uuid::Uuid;

const ORDERS: &str = "OrdersTableName";
const TICKETS: &str = "TicketsTableName";

fn now_ms() -> u64 {
    orders_lambda::clock::now().epoch_ms()
}

/// Places an order for a new ticket. Returns the rows of both.
async fn placed(test_stack: &TestStack, buyer: &Buyer) -> (Value, Value) {
    let ticket = test_stack.new_ticket().await;
    let order = buyer.order(&ticket).await.json();
    let order = test_stack.order_row(order["id"].as_str().unwrap()).await.unwrap();
    (order, test_stack.ticket_row(&ticket).await.unwrap())
}

/// Ends the hold in the row of the ticket.
async fn lapse_lock(test_stack: &TestStack, ticket: &Value) {
    let mut lapsed = ticket.clone();
    lapsed["locked_until"] = json!(now_ms() - 1);
    test_stack.put_row(TICKETS, &lapsed).await;
}

#[tokio::test]
async fn lapsed_lock_of_an_order_that_is_gone_or_over_is_taken_over() {
    let test_stack = TestStack::connect().await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();
    for status in [None, Some("expired"), Some("cancelled")] {
        let (mut order, ticket) = placed(&test_stack, &alice).await;
        match status {
            None => test_stack.remove_row(ORDERS, order["id"].as_str().unwrap()).await,
            Some(status) => {
                (order["status"], order["version"]) = (json!(status), json!(1));
                test_stack.put_row(ORDERS, &order).await;
            }
        }
        lapse_lock(&test_stack, &ticket).await;
        let taken_over = bob.order(ticket["id"].as_str().unwrap()).await;
        assert_eq!(taken_over.status, 201, "{status:?}: {taken_over:?}");
        let row = test_stack.ticket_row(ticket["id"].as_str().unwrap()).await.unwrap();
        assert_eq!(row["locked_by"], taken_over.json()["id"]);
    }
}

#[tokio::test]
async fn lapsed_lock_of_a_paid_order_stays_sold() {
    let test_stack = TestStack::connect().await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();
    let (mut order, ticket) = placed(&test_stack, &alice).await;
    (order["status"], order["version"]) = (json!("paid"), json!(1));
    order["payment_id"] = json!("payment-1");
    test_stack.put_row(ORDERS, &order).await;
    lapse_lock(&test_stack, &ticket).await;
    let id = ticket["id"].as_str().unwrap();
    let refused = bob.order(id).await;
    assert_eq!(refused.checked_status(), 409);
    assert_eq!(refused.json()["type"], "urn:problem-type:orders:ticket-sold");
    let row = test_stack.ticket_row(id).await.unwrap();
    assert_eq!((&row["locked_by"], &row["locked_until"]), (&order["id"], &Value::Null));
}

#[tokio::test]
async fn order_without_its_lock_cancels_expires_and_pays() {
    let test_stack = TestStack::connect().await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();
    let unlocked = async || {
        let (order, mut ticket) = placed(&test_stack, &alice).await;
        let row = ticket.as_object_mut().unwrap();
        row.retain(|name, _| !name.starts_with("locked_"));
        test_stack.put_row(TICKETS, &ticket).await;
        let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
        (id(&order), id(&ticket))
    };
    let (cancelled, _) = unlocked().await;
    assert_eq!(alice.cancel(&cancelled).await.status, 204);
    assert_eq!(test_stack.order_row(&cancelled).await.unwrap()["status"], "cancelled");

    let (paid, ticket) = unlocked().await;
    test_stack.publish_payment(&format!("payment-{}", Uuid::new_v4()), &paid).await;
    eventually(async || test_stack.order_row(&paid).await.unwrap()["status"] == "paid").await;
    assert_eq!(test_stack.ticket_row(&ticket).await.unwrap()["locked_by"], paid);

    let (expired, ticket) = unlocked().await;
    let other = bob.order(&ticket).await.json();
    // Its timer fires at the end of the hold.
    eventually(async || test_stack.order_row(&expired).await.unwrap()["status"] == "expired").await;
    let row = test_stack.ticket_row(&ticket).await.unwrap();
    assert!(row["locked_by"].is_null() || row["locked_by"] == other["id"], "{row}");
}

#[tokio::test]
async fn unreadable_order_delays_no_other_order() {
    let test_stack = TestStack::connect().await;
    let [alice, bob] = new_buyers(2).try_into().ok().unwrap();
    let (mut unreadable, ticket) = placed(&test_stack, &alice).await;
    let (readable, _) = placed(&test_stack, &alice).await;
    (unreadable["schema"], unreadable["status"]) = (json!(2), json!("in_transfer"));
    unreadable["version"] = json!(1);
    test_stack.put_row(ORDERS, &unreadable).await;
    lapse_lock(&test_stack, &ticket).await;

    let path = format!("/api/orders/{}", unreadable["id"].as_str().unwrap());
    let shown = alice.get(&path).await;
    assert_eq!(shown.checked_status(), 503);
    assert!(shown.headers.contains_key("retry-after"));
    assert_eq!(alice.cancel(unreadable["id"].as_str().unwrap()).await.checked_status(), 503);
    assert_eq!(bob.order(ticket["id"].as_str().unwrap()).await.checked_status(), 503);
    let listed = alice.get("/api/orders").await;
    assert_eq!(listed.status, 200);
    let ids: Vec<_> =
        listed.json().as_array().unwrap().iter().map(|order| order["id"].clone()).collect();
    assert_eq!(ids, [readable["id"].clone()]);
    let row = test_stack.order_row(unreadable["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(row, unreadable, "the row is as it was");
    test_stack.remove_row(ORDERS, unreadable["id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn attribute_of_a_newer_release_survives_every_write() {
    let test_stack = TestStack::connect().await;
    let alice = new_buyer();
    let (mut order, mut ticket) = placed(&test_stack, &alice).await;
    order["seat"] = json!("A 1");
    ticket["hall"] = json!("North");
    test_stack.put_row(ORDERS, &order).await;
    test_stack.put_row(TICKETS, &ticket).await;
    assert_eq!(alice.cancel(order["id"].as_str().unwrap()).await.status, 204);
    let order = test_stack.order_row(order["id"].as_str().unwrap()).await.unwrap();
    let ticket = test_stack.ticket_row(ticket["id"].as_str().unwrap()).await.unwrap();
    assert_eq!((&order["status"], &order["seat"]), (&json!("cancelled"), &json!("A 1")));
    assert_eq!((&ticket["locked_by"], &ticket["hall"]), (&Value::Null, &json!("North")));
}

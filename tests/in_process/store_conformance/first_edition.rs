//! Items as earlier releases wrote them: of the first edition, without `locked_for`, payments and
//! `schema`; and without slots, extensions, traces, and states and amounts of refunds.

use orders_domain::{
    Availability, Command, CommitOutcome, Lock, Order, OrderStore, OrderVersion, PlaceOutcome,
    Placement, RefundDue, RefundReason, RefundState, Sale, Status, TicketReplica, TicketRule,
    Transition,
};
use orders_dynamo::DynamoStore;
use orders_testing::{at, order_at, order_id, pay, ticket, transition};
use orders_tests::stores;
use serde_json::{Value, json};

use crate::{
    suite::{
        apply, extension_of, held_by, late_payment_of, lock_of, sold_to, stored, takeover_of,
        withdrawal,
    },
    tables::Tables,
};

/// The order without the trace of its request.
fn order(byte: u8) -> Order {
    Order { traceparent: None, ..orders_testing::order(byte) }
}

/// Order 1 as the first edition stored it: the same attributes with this status and these others.
fn order_item(status: &str, version: u64, other: &Value) -> Value {
    let mut item = json!({
        "id": "01010101-0101-0101-0101-010101010101",
        "user_id": "alice",
        "ticket": {"id": "ticket-1", "title": "Concert", "price": 1990, "version": 0},
        "status": status,
        "version": version,
        "created_at": 1_700_000_000_000_u64,
        "expires_at": 1_700_000_030_000_u64,
        "correlation_id": "request-1",
    });
    item.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    item
}

/// Its ticket, with this lock.
fn ticket_item(lock: &Value) -> Value {
    let mut item = json!({"id": "ticket-1", "title": "Concert", "price": 1990, "version": 0});
    item.as_object_mut().unwrap().extend(lock.as_object().unwrap().clone());
    item
}

fn held() -> Value {
    json!({
        "locked_by": "01010101-0101-0101-0101-010101010101",
        "locked_until": 1_700_000_030_000_u64,
    })
}

fn sold() -> Value {
    json!({"locked_by": "01010101-0101-0101-0101-010101010101"})
}

/// A store with these items.
async fn store_with(order: &Value, ticket: &Value) -> (DynamoStore, Tables) {
    let (store, tables) = Tables::on(&stores::in_process_endpoint()).await;
    tables.put(&tables.names.orders, order).await;
    tables.put(&tables.names.tickets, ticket).await;
    (store, tables)
}

/// The held order that awaits payment.
async fn held_order() -> (DynamoStore, Order) {
    let items = (order_item("awaiting_payment", 0, &json!({})), ticket_item(&held()));
    (store_with(&items.0, &items.1).await.0, order(1))
}

async fn commit(store: &DynamoStore, transition: Transition) -> Order {
    assert_eq!(store.commit(&transition).await.unwrap(), CommitOutcome::Committed);
    assert_eq!(stored(store, transition.order()).await, *transition.order());
    transition.into_order()
}

#[tokio::test]
async fn orders_of_the_first_edition_are_read() {
    let refund = |payment: &str, reason| RefundDue {
        payment_id: payment.parse().unwrap(),
        reason,
        amount: None,
        state: RefundState::Due,
    };
    let refunds = [
        refund("p2", RefundReason::AlreadyPaid),
        refund("p3", RefundReason::OrderCancelled),
        refund("p4", RefundReason::TicketTaken),
    ];
    let refund_items: Vec<_> =
        [("p2", "already_paid"), ("p3", "order_cancelled"), ("p4", "ticket_taken")]
            .map(|(payment, reason)| json!({"payment_id": payment, "reason": reason}))
            .into();
    let paid = Status::Paid { payment_id: "p1".parse().unwrap() };
    for (status, payment) in [
        (Status::AwaitingPayment, json!({})),
        (paid, json!({"payment_id": "p1"})),
        (Status::Cancelled, json!({})),
        (Status::Expired, json!({})),
    ] {
        for refunds_due in [&refunds[..0], &refunds] {
            let mut other = payment.clone();
            if !refunds_due.is_empty() {
                other["refunds_due"] = json!(refund_items);
            }
            let item = order_item(status.name(), 4, &other);
            let (store, _) = store_with(&item, &ticket_item(&json!({}))).await;
            let expected = Order {
                status: status.clone(),
                version: OrderVersion::new(4),
                refunds_due: refunds_due.to_vec(),
                ..order(1)
            };
            assert_eq!(store.find(order_id(1)).await.unwrap(), Some(expected));
        }
    }
}

#[tokio::test]
async fn tickets_of_the_first_edition_are_read() {
    let order = order(1);
    for (item, lock) in
        [(json!({}), Lock::Free), (held(), held_by(&order)), (sold(), sold_to(&order))]
    {
        let item = ticket_item(&item);
        let (store, _) = store_with(&order_item("expired", 1, &json!({})), &item).await;
        let replica = store.find_ticket(&order.ticket.id).await.unwrap();
        let sale = Sale::Open(ticket("ticket-1", 0));
        assert_eq!(replica, Some(TicketReplica { sale, lock, locked_for: None }));
    }
}

#[tokio::test]
async fn order_of_the_first_edition_is_paid_and_gets_refunds() {
    let (store, order) = held_order().await;
    let paid = commit(&store, transition(&order, &pay("p1", &order, 1))).await;
    assert_eq!(lock_of(&store, &order).await, sold_to(&order));
    let owing = commit(&store, transition(&paid, &pay("p2", &order, 2))).await;
    let settled = commit(&store, transition(&owing, &refund("p2"))).await;
    commit(&store, transition(&settled, &refund("p1"))).await;
    assert_eq!(lock_of(&store, &order).await, Lock::Free);
}

fn refund(payment_id: &str) -> Command {
    Command::Refund { payment_id: payment_id.parse().unwrap(), amount: None }
}

#[tokio::test]
async fn hold_of_the_first_edition_is_extended() {
    let (store, order) = held_order().await;
    let extended = commit(&store, extension_of(&order)).await;
    assert_eq!(lock_of(&store, &order).await, held_by(&extended));
}

/// A refund without a state is due.
#[tokio::test]
async fn refund_of_the_first_edition_is_settled() {
    let refunds = json!([
        {"payment_id": "p1", "reason": "order_cancelled"},
        {"payment_id": "p2", "reason": "order_cancelled"},
    ]);
    let item = order_item("cancelled", 3, &json!({ "refunds_due": refunds }));
    let (store, tables) = store_with(&item, &ticket_item(&json!({}))).await;
    let cancelled = stored(&store, &order(1)).await;
    commit(&store, transition(&cancelled, &refund("p2"))).await;
    let mut expected = refunds;
    expected[1]["state"] = json!("settled");
    let item = tables.get(&tables.names.orders, &cancelled.id.to_string()).await;
    assert_eq!(item["refunds_due"], expected);
}

#[tokio::test]
async fn ticket_of_the_first_edition_is_withdrawn() {
    let (store, order) = held_order().await;
    apply(&store, &withdrawal(&order.ticket.id, 1), TicketRule::Next, Some(0)).await;
    assert_eq!(lock_of(&store, &order).await, held_by(&order));
}

#[tokio::test]
async fn order_of_the_first_edition_is_cancelled_or_expires() {
    for command in [Command::Cancel, Command::Expire { now: at(30) }] {
        let (store, order) = held_order().await;
        commit(&store, transition(&order, &command)).await;
        assert_eq!(lock_of(&store, &order).await, Lock::Free);
    }
}

#[tokio::test]
async fn order_of_the_first_edition_is_taken_over() {
    let (store, lapsed) = held_order().await;
    let takeover = Some(takeover_of(&lapsed));
    let next = Placement { order: order_at(2, 30), takeover };
    assert_eq!(store.place(&next).await.unwrap(), PlaceOutcome::Placed);
    assert_eq!(stored(&store, &lapsed).await.status, Status::Expired);
    assert_eq!(lock_of(&store, &lapsed).await, held_by(&next.order));
}

#[tokio::test]
async fn expired_order_of_the_first_edition_is_bought_back() {
    let items = (order_item("expired", 1, &json!({})), ticket_item(&json!({})));
    let (store, _) = store_with(&items.0, &items.1).await;
    let expired = stored(&store, &order(1)).await;
    commit(&store, late_payment_of(&expired, Availability::Free)).await;
    assert_eq!(lock_of(&store, &expired).await, sold_to(&expired));
}

/// A refund is appended to those of the first edition.
#[tokio::test]
async fn cancelled_order_of_the_first_edition_gets_another_refund() {
    let refunds = json!([{"payment_id": "p1", "reason": "order_cancelled"}]);
    let item = order_item("cancelled", 2, &json!({ "refunds_due": refunds }));
    let (store, _) = store_with(&item, &ticket_item(&json!({}))).await;
    let cancelled = stored(&store, &order(1)).await;
    let order = commit(&store, transition(&cancelled, &pay("p2", &cancelled, 2))).await;
    assert_eq!(order.refunds_due.len(), 2);
}

#[tokio::test]
async fn ticket_of_the_first_edition_gets_newer_versions() {
    let (store, order) = held_order().await;
    apply(&store, &Sale::Open(ticket("ticket-1", 1)), TicketRule::Next, Some(0)).await;
    assert_eq!(lock_of(&store, &order).await, held_by(&order));
}

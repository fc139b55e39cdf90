//! Messages of the queues, single and in batches.

use std::{str, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_http::Context;
use orders_contracts::{ExpiryMessage, PaymentEvent, TicketEvent};
use orders_domain::{
    BoxError, OrderId, OrderStore, Payment, PaymentId, Price, RefundState, Sale, Status, Timestamp,
    UpdateKind,
};
use orders_lambda::queue::{Failure, Message, Outcome, Queue, process};
use orders_testing::MemoryStore;
use serde_json::json;

use crate::fixture;

/// A queue without effect.
struct NoQueue;

impl Queue for NoQueue {
    async fn set_visibility_timeout(&self, _: &str, _: Duration) -> Result<(), BoxError> {
        Ok(())
    }

    async fn send(&self, body: &str, _: Duration) -> Result<(), BoxError> {
        ExpiryMessage::parse(body).expect("a valid message");
        Ok(())
    }

    /// A message that cannot be dead-lettered stays in the queue.
    async fn dead_letter(&self, _: &str) -> Result<(), BoxError> {
        Err("the queue is full".into())
    }
}

/// Any bytes as a batch for each queue function. An invalid message stays in the queue, and every
/// reported id is an id of the batch: an empty or unknown id would make Lambda retry the whole
/// batch.
pub fn sqs_batch(input: &[u8]) {
    let Ok(batch) = serde_json::from_slice::<SqsEvent>(input) else { return };
    let (context, now): (Context, _) = (fixture::context(), fixture::now());
    fixture::run(async {
        let store = fixture::store().await;
        let tickets = async |message: Message<'_>| ticket_events::handle(&store, message).await;
        let response = process(&batch, &context, now, &NoQueue, &tickets).await;
        check(&batch, response.ok(), |body| TicketEvent::parse(body).is_ok());

        let payments = async |message: Message<'_>| {
            payment_events::handle(&store, fixture::PAYMENT_LIMITS, now, message).await
        };
        let response = process(&batch, &context, now, &NoQueue, &payments).await;
        check(&batch, response.ok(), |body| PaymentEvent::parse(body).is_ok());

        let expiries =
            async |message: Message<'_>| expire_orders::handle(&store, now, message).await;
        let response = process(&batch, &context, now, &NoQueue, &expiries).await;
        check(&batch, response.ok(), |body| ExpiryMessage::parse(body).is_ok());
    });
}

fn check(batch: &SqsEvent, response: Option<SqsBatchResponse>, is_valid: fn(&str) -> bool) {
    let id = |message: &aws_lambda_events::sqs::SqsMessage| {
        message.message_id.clone().filter(|id| !id.is_empty())
    };
    let Some(ids) = batch.records.iter().map(id).collect::<Option<Vec<_>>>() else {
        assert!(response.is_none(), "a message without an id fails the batch");
        return;
    };
    let failures = response.expect("a result per message").batch_item_failures;
    let failed = |id: &String| failures.iter().any(|failure| failure.item_identifier == *id);
    assert!(failures.iter().all(|failure| ids.contains(&failure.item_identifier)));
    for (message, id) in batch.records.iter().zip(&ids) {
        assert!(failed(id) || is_valid(message.body.as_deref().unwrap_or_default()));
    }
}

/// Any text as a message for `ticket-events`. A valid event is equal after serialisation, and its
/// sale is stored on the third receive.
pub fn ticket_event(input: &[u8]) {
    let Ok(body) = str::from_utf8(input) else { return };
    fixture::run(async {
        let store = MemoryStore::default();
        let outcome = ticket_events::handle(&store, old(body)).await;
        let Ok(event) = TicketEvent::parse(body) else { return assert_poison(&outcome) };
        assert!(matches!(outcome, Ok(Outcome::Done)), "{outcome:?}");
        let stored = store.find_ticket(event.sale.id()).await.expect("a working store");
        assert_eq!(stored.map(|replica| replica.sale).as_ref(), Some(&event.sale));
        assert_eq!(TicketEvent::parse(&write_ticket_event(&event)).expect("an event"), event);
    });
}

/// A message on its third receive, 10 s after it was sent.
fn old(body: &str) -> Message<'_> {
    Message { body, receive_count: 3, age: Duration::from_secs(10) }
}

fn write_ticket_event(event: &TicketEvent) -> String {
    let TicketEvent { kind, sale } = event;
    let kind = match kind {
        UpdateKind::Created => "TicketCreated",
        UpdateKind::Updated => "TicketUpdated",
        UpdateKind::Withdrawn => "TicketWithdrawn",
    };
    let content = match sale {
        Sale::Open(ticket) => {
            format!(r#","title":{},"price":{}"#, json!(ticket.title.as_str()), ticket.price)
        }
        Sale::Withdrawn { .. } => String::new(),
    };
    format!(
        r#"{{"source":"tickets","detail-type":"{kind}","detail":{{"id":{},"version":{}{content}}}}}"#,
        json!(sale.id().as_str()),
        sale.version().number(),
    )
}

/// Any text as a message for `payment-events`. A valid event is equal after serialisation, and has
/// the effect of its type.
pub fn payment_event(input: &[u8]) {
    let Ok(body) = str::from_utf8(input) else { return };
    let event = PaymentEvent::parse(body);
    fixture::run(async {
        let store = store_for(&event).await;
        let message = Message::new(body);
        let (limits, now) = (fixture::PAYMENT_LIMITS, fixture::now());
        let outcome = payment_events::handle(&store, limits, now, message).await;
        let Ok(event) = event else { return assert_poison(&outcome) };
        match &event {
            PaymentEvent::Created(payment) => check_payment(&store, payment, &outcome).await,
            PaymentEvent::Started { order_id, .. } => {
                let order = store.find(*order_id).await.expect("a working store");
                assert_eq!(is_done(&outcome), order.is_some(), "{outcome:?}");
            }
            PaymentEvent::Refunded { payment_id, order_id, .. } => {
                check_refund(&store, payment_id, *order_id, &outcome).await;
            }
        }
        let written = write_payment_event(&event, fixture::now());
        assert_eq!(PaymentEvent::parse(&written).expect("an event"), event);
    });
}

/// Checks that the payment is booked, retried if its order does not exist, or rejected if it is
/// booked for another order.
async fn check_payment(store: &MemoryStore, payment: &Payment, outcome: &Handled) {
    let booked = store.find_payment(&payment.id).await.expect("a working store");
    match booked.map(|booked| booked.payment.order_id) {
        Some(order_id) if order_id == payment.order_id => assert!(is_done(outcome), "{outcome:?}"),
        Some(_) => assert_poison(outcome),
        None => {
            let order = store.find(payment.order_id).await.expect("a working store");
            assert_eq!(order, None);
            assert!(matches!(outcome, Ok(Outcome::Retry(_))), "{outcome:?}");
        }
    }
}

/// Checks that the refund is done if and only if the order has it, and rejected only for a payment
/// that is booked: a part of it was refunded, or it is booked for another order.
async fn check_refund(store: &MemoryStore, id: &PaymentId, order: OrderId, outcome: &Handled) {
    let booked = store.find_payment(id).await.expect("a working store");
    let order = store.find(order).await.expect("a working store");
    let has_refund = order.is_some_and(|order| {
        let refunds = order.refunds_due.into_iter();
        let mut settled = refunds.filter(|refund| refund.state == RefundState::Settled);
        order.status == Status::Refunded { payment_id: id.clone() }
            || settled.any(|refund| refund.payment_id == *id)
    });
    assert_eq!(is_done(outcome), has_refund, "{outcome:?}");
    assert!(booked.is_some() || matches!(outcome, Ok(Outcome::Retry(_))), "{outcome:?}");
}

/// The event as another service would write it. A refund has a time too, which nothing depends on.
fn write_payment_event(event: &PaymentEvent, refunded_at: Timestamp) -> String {
    let (kind, payment, amount, sent_at) = match event {
        PaymentEvent::Created(Payment { id, amount, sent_at, .. }) => {
            ("PaymentCreated", Some(id), *amount, *sent_at)
        }
        PaymentEvent::Started { sent_at, .. } => ("PaymentStarted", None, None, *sent_at),
        PaymentEvent::Refunded { payment_id, amount, .. } => {
            ("PaymentRefunded", Some(payment_id), *amount, refunded_at)
        }
    };
    let id = payment.map(|id| format!(r#","id":{}"#, json!(id.as_str()))).unwrap_or_default();
    let amount = amount.map(|amount: Price| format!(r#","amount":{amount}"#)).unwrap_or_default();
    let ms = i64::try_from(sent_at.epoch_ms()).expect("before the year 9999");
    let time = chrono::DateTime::from_timestamp_millis(ms).expect("before the year 9999");
    format!(
        r#"{{"source":"payments","detail-type":"{kind}","time":"{}","detail":{{"orderId":"{}"{id}{amount}}}}}"#,
        time.to_rfc3339(),
        event.order_id(),
    )
}

/// Any text as a message for `expire-orders`. A valid message is equal after serialisation, and is
/// done, or replaced by a message for the order's end.
pub fn expiry_message(input: &[u8]) {
    let Ok(body) = str::from_utf8(input) else { return };
    let message = ExpiryMessage::parse(body);
    fixture::run(async {
        let store = store_for(&message).await;
        let received = Message::new(body);
        let outcome = expire_orders::handle(&store, fixture::now(), received).await;
        let Ok(message) = message else { return assert_poison(&outcome) };
        assert!(matches!(outcome, Ok(Outcome::Done | Outcome::Replace { .. })), "{outcome:?}");
        let serialised = message.to_text().expect("a message is JSON");
        assert_eq!(ExpiryMessage::parse(&serialised).expect("a message"), message);
    });
}

/// The fixture's store; an empty store for an invalid message, because it is faster and unused.
async fn store_for<T, E>(parsed: &Result<T, E>) -> MemoryStore {
    if parsed.is_ok() { fixture::store().await } else { MemoryStore::default() }
}

/// Outcome of a message.
type Handled = Result<Outcome, Failure>;

fn is_done(outcome: &Handled) -> bool {
    matches!(outcome, Ok(Outcome::Done))
}

fn assert_poison(outcome: &Handled) {
    assert!(matches!(outcome, Err(Failure::Poison(_))), "{outcome:?}");
}

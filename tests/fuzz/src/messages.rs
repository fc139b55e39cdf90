//! Messages of the queues, single and in batches.

use std::{str, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_http::Context;
use orders_contracts::{ExpiryMessage, TicketEvent, parse_payment_event};
use orders_domain::{BoxError, OrderStore, Payment, UpdateKind};
use orders_lambda::queue::{Failure, Message, Outcome, Visibility, process};
use orders_testing::{LATE_LIMIT, MemoryStore};
use serde_json::json;

use crate::fixture;

/// Ignores visibility timeouts.
struct NoVisibility;

impl Visibility for NoVisibility {
    async fn set_visibility_timeout(&self, _: &str, _: Duration) -> Result<(), BoxError> {
        Ok(())
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
        let response = process(&batch, &context, now, &NoVisibility, &tickets).await;
        check(&batch, response.ok(), |body| TicketEvent::parse(body).is_ok());

        let payments = async |message: Message<'_>| {
            payment_events::handle(&store, LATE_LIMIT, now, message).await
        };
        let response = process(&batch, &context, now, &NoVisibility, &payments).await;
        check(&batch, response.ok(), |body| parse_payment_event(body).is_ok());

        let expiries =
            async |message: Message<'_>| expire_orders::handle(&store, now, message).await;
        let response = process(&batch, &context, now, &NoVisibility, &expiries).await;
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
/// ticket is stored on the third receive.
pub fn ticket_event(input: &[u8]) {
    let Ok(body) = str::from_utf8(input) else { return };
    fixture::run(async {
        let store = MemoryStore::default();
        let outcome = ticket_events::handle(&store, Message { body, receive_count: 3 }).await;
        let Ok(event) = TicketEvent::parse(body) else { return assert_poison(&outcome) };
        assert!(matches!(outcome, Ok(Outcome::Done)), "{outcome:?}");
        let stored = store.find_ticket(&event.ticket.id).await.expect("a working store");
        assert_eq!(stored.map(|replica| replica.ticket).as_ref(), Some(&event.ticket));
        assert_eq!(TicketEvent::parse(&write_ticket_event(&event)).expect("an event"), event);
    });
}

fn write_ticket_event(event: &TicketEvent) -> String {
    let TicketEvent { kind, ticket } = event;
    let kind = match kind {
        UpdateKind::Created => "TicketCreated",
        UpdateKind::Updated => "TicketUpdated",
    };
    format!(
        r#"{{"source":"tickets","detail-type":"{kind}","detail":{{"id":{},"title":{},"price":{},"version":{}}}}}"#,
        json!(ticket.id.as_str()),
        json!(ticket.title.as_str()),
        ticket.price,
        ticket.version.number(),
    )
}

/// Any text as a message for `payment-events`. A valid event is equal after serialisation, and is
/// booked, retried if its order does not exist, or rejected if it is booked for another order.
pub fn payment_event(input: &[u8]) {
    let Ok(body) = str::from_utf8(input) else { return };
    let event = parse_payment_event(body);
    fixture::run(async {
        let store = store_for(&event).await;
        let message = Message { body, receive_count: 1 };
        let outcome = payment_events::handle(&store, LATE_LIMIT, fixture::now(), message).await;
        let Ok(event) = event else { return assert_poison(&outcome) };
        let booked = store.find_payment(&event.id).await.expect("a working store");
        match booked.map(|booked| booked.payment.order_id) {
            Some(order_id) if order_id == event.order_id => {
                assert!(matches!(outcome, Ok(Outcome::Done)), "{outcome:?}");
            }
            Some(_) => assert_poison(&outcome),
            None => {
                let order = store.find(event.order_id).await.expect("a working store");
                assert_eq!(order, None);
                assert!(matches!(outcome, Ok(Outcome::RetryAfter(_))), "{outcome:?}");
            }
        }
        assert_eq!(parse_payment_event(&write_payment_event(&event)).expect("an event"), event);
    });
}

fn write_payment_event(payment: &Payment) -> String {
    let amount = payment.amount.map(|amount| format!(r#","amount":{amount}"#)).unwrap_or_default();
    let ms = i64::try_from(payment.sent_at.epoch_ms()).expect("before the year 9999");
    let time = chrono::DateTime::from_timestamp_millis(ms).expect("before the year 9999");
    format!(
        r#"{{"source":"payments","detail-type":"PaymentCreated","time":"{}","detail":{{"id":{},"orderId":"{}"{amount}}}}}"#,
        time.to_rfc3339(),
        json!(payment.id.as_str()),
        payment.order_id,
    )
}

/// Any text as a message for `expire-orders`. A valid message is equal after serialisation, and is
/// done, or retried until the order is due.
pub fn expiry_message(input: &[u8]) {
    let Ok(body) = str::from_utf8(input) else { return };
    let message = ExpiryMessage::parse(body);
    fixture::run(async {
        let store = store_for(&message).await;
        let received = Message { body, receive_count: 1 };
        let outcome = expire_orders::handle(&store, fixture::now(), received).await;
        let Ok(message) = message else { return assert_poison(&outcome) };
        assert!(outcome.is_ok(), "{outcome:?}");
        let serialised = message.to_text().expect("a message is JSON");
        assert_eq!(ExpiryMessage::parse(&serialised).expect("a message"), message);
    });
}

/// The fixture's store; an empty store for an invalid message, because it is faster and unused.
async fn store_for<T, E>(parsed: &Result<T, E>) -> MemoryStore {
    if parsed.is_ok() { fixture::store().await } else { MemoryStore::default() }
}

fn assert_poison(outcome: &Result<Outcome, Failure>) {
    assert!(matches!(outcome, Err(Failure::Poison(_))), "{outcome:?}");
}

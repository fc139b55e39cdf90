//! Messages of the queues, alone and in batches.

use std::{str, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_http::Context;
use orders_contracts::{ExpiryMessage, PaymentEvent, TicketEvent};
use orders_domain::{BoxError, OrderStore, UpdateKind};
use orders_lambda::queue::{Failure, Message, Outcome, Visibility, process};
use orders_testing::MemoryStore;
use serde_json::json;

use crate::shop;

/// Hides messages nowhere.
struct Nowhere;

impl Visibility for Nowhere {
    async fn set_visibility_timeout(&self, _: &str, _: Duration) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Any bytes as a batch, for each of the functions that read queues. What makes no sense stays in the
/// queue, and what stays is named by an id of the batch: of an empty or unknown one, Lambda would make
/// the whole batch come again.
pub fn sqs_batch(input: &[u8]) {
    let Ok(batch) = serde_json::from_slice::<SqsEvent>(input) else { return };
    let (context, now): (Context, _) = (shop::context(), shop::now());
    shop::run(async {
        let store = shop::open().await;
        let tickets = async |message: Message<'_>| ticket_events::handle(&store, message).await;
        let response = process(&batch, &context, now, &Nowhere, &tickets).await;
        check(&batch, response.ok(), |body| TicketEvent::parse(body).is_ok());

        let payments =
            async |message: Message<'_>| payment_events::handle(&store, now, message).await;
        let response = process(&batch, &context, now, &Nowhere, &payments).await;
        check(&batch, response.ok(), |body| PaymentEvent::parse(body).is_ok());

        let expiries =
            async |message: Message<'_>| expire_orders::handle(&store, now, message).await;
        let response = process(&batch, &context, now, &Nowhere, &expiries).await;
        check(&batch, response.ok(), |body| ExpiryMessage::parse(body).is_ok());
    });
}

fn check(batch: &SqsEvent, response: Option<SqsBatchResponse>, makes_sense: fn(&str) -> bool) {
    let id = |message: &aws_lambda_events::sqs::SqsMessage| {
        message.message_id.clone().filter(|id| !id.is_empty())
    };
    let Some(ids) = batch.records.iter().map(id).collect::<Option<Vec<_>>>() else {
        assert!(response.is_none(), "a message without an id brings the whole batch again");
        return;
    };
    let stay = response.expect("each message has an outcome of its own").batch_item_failures;
    let stays = |id: &String| stay.iter().any(|failure| failure.item_identifier == *id);
    assert!(stay.iter().all(|failure| ids.contains(&failure.item_identifier)));
    for (message, id) in batch.records.iter().zip(&ids) {
        assert!(stays(id) || makes_sense(message.body.as_deref().unwrap_or_default()));
    }
}

/// Any text as a message for `ticket-events`. It is poison, or an event that says the same when it is
/// written again, and on its third receive the ticket is stored as it says.
pub fn ticket_event(input: &[u8]) {
    let Ok(body) = str::from_utf8(input) else { return };
    shop::run(async {
        let store = MemoryStore::default();
        let handled = ticket_events::handle(&store, Message { body, receive_count: 3 }).await;
        let Ok(event) = TicketEvent::parse(body) else { return assert_poison(&handled) };
        assert!(matches!(handled, Ok(Outcome::Done)), "{handled:?}");
        let stored = store.find_ticket(&event.ticket.id).await.expect("it is in memory");
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
        r#"{{"detail-type":"{kind}","detail":{{"id":{},"title":{},"price":{},"version":{}}}}}"#,
        json!(ticket.id.as_str()),
        json!(ticket.title.as_str()),
        ticket.price,
        ticket.version.number(),
    )
}

/// Any text as a message for `payment-events`. It is poison, or a charge that says the same when it is
/// written again; it is booked, or waits for its order.
pub fn payment_event(input: &[u8]) {
    let Ok(body) = str::from_utf8(input) else { return };
    let event = PaymentEvent::parse(body);
    shop::run(async {
        let store = shop_for(&event).await;
        let message = Message { body, receive_count: 1 };
        let handled = payment_events::handle(&store, shop::now(), message).await;
        let Ok(event) = event else { return assert_poison(&handled) };
        let order = store.find(event.order_id).await.expect("it is in memory");
        let is_booked = order.is_some();
        assert!(matches!(handled, Ok(Outcome::Done)) == is_booked, "{handled:?}");
        assert!(matches!(handled, Ok(Outcome::RetryAfter(_))) != is_booked, "{handled:?}");
        let detail =
            json!({"id": event.payment_id.as_str(), "orderId": event.order_id.to_string()});
        let again = json!({"detail-type": "PaymentCreated", "detail": detail}).to_string();
        assert_eq!(PaymentEvent::parse(&again).expect("an event"), event);
    });
}

/// Any text as a message for `expire-orders`. It is poison, or a message that says the same when it is
/// written again; it is done, or waits until the order is due.
pub fn expiry_message(input: &[u8]) {
    let Ok(body) = str::from_utf8(input) else { return };
    let message = ExpiryMessage::parse(body);
    shop::run(async {
        let store = shop_for(&message).await;
        let received = Message { body, receive_count: 1 };
        let handled = expire_orders::handle(&store, shop::now(), received).await;
        let Ok(message) = message else { return assert_poison(&handled) };
        assert!(handled.is_ok(), "{handled:?}");
        let again = message.to_text().expect("a message is JSON");
        assert_eq!(ExpiryMessage::parse(&again).expect("a message"), message);
    });
}

/// The shop; an empty one for poison, which most inputs are, and which touches no store.
async fn shop_for<T, E>(parsed: &Result<T, E>) -> MemoryStore {
    if parsed.is_ok() { shop::open().await } else { MemoryStore::default() }
}

fn assert_poison(handled: &Result<Outcome, Failure>) {
    assert!(matches!(handled, Err(Failure::Poison(_))), "{handled:?}");
}

//! Recorder of a deployed run, with the times of this machine's clock.

use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    bus::{Listener, payment_result},
    buyers::{Buyer, TestStack, eventually},
    history::{Event, History, Offer, Operation, Outcome, Payment, PublishedTicket, Request},
};

/// The history of a run in progress.
#[derive(Debug, Default)]
pub struct Record(Mutex<History>);

/// `LatePaymentSeconds`, `PaymentSeconds` and `HoldsPerBuyer` of the template's defaults.
const LATE_LIMIT_MS: u64 = 600_000;
const TIME_TO_PAY_MS: u64 = 300_000;
const HOLDS_PER_BUYER: u64 = 10;

/// Timeout of the functions, in the template.
const WRITE_DEADLINE_MS: u64 = 10_000;

impl Record {
    fn add(&self, change: impl FnOnce(&mut History)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns a copy of the history.
    pub fn history(&self) -> History {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the history of an ended run, checked with this clock tolerance.
    pub fn complete(&self, clock_tolerance_ms: u64) -> History {
        History {
            clock_tolerance_ms,
            write_deadline_ms: WRITE_DEADLINE_MS,
            late_limit_ms: LATE_LIMIT_MS,
            time_to_pay_ms: TIME_TO_PAY_MS,
            holds_per_buyer: HOLDS_PER_BUYER,
            complete: true,
            ..self.history()
        }
    }

    /// Publishes new tickets and waits until all are stored.
    pub async fn new_tickets(&self, test_stack: &TestStack, count: usize) -> Vec<String> {
        let from_ms = now_ms();
        let tickets = test_stack.new_tickets(count).await;
        self.add_tickets(&tickets, 0, from_ms);
        tickets
    }

    /// Records the publication of a version built by [`ticket`](crate::buyers::ticket).
    pub fn ticket_published(&self, tickets: &[String], version: u64) {
        self.add_tickets(tickets, version, now_ms());
    }

    fn add_tickets(&self, tickets: &[String], version: u64, at_ms: u64) {
        let published = tickets.iter().map(|ticket| PublishedTicket {
            ticket: ticket.clone(),
            version,
            offer: Some(Offer {
                title: format!("Version {version}"),
                price_cents: version * 100 + 50,
            }),
            at_ms,
        });
        self.add(|history| history.tickets.extend(published));
    }

    /// Pays for an order and publishes the payment this many times.
    pub async fn pay(&self, test_stack: &TestStack, order: &str, times: u8) {
        let id = format!("payment-{}", Uuid::new_v4());
        let payment = Payment {
            id: id.clone(),
            order: order.to_owned(),
            amount_cents: None,
            at_ms: now_ms(),
        };
        self.add(|history| history.payments.push(payment));
        for _ in 0..times {
            test_stack.publish_payment(&id, order).await;
        }
    }

    /// Sends a request of a buyer and records the outcome.
    pub async fn call_api(&self, buyer: &Buyer, operation: Operation) -> Outcome {
        let from_ms = now_ms();
        let outcome = match request(buyer, &operation).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let body = response.text().await.unwrap_or_default();
                let outcome = Outcome::read(&operation, status, &body);
                outcome.unwrap_or_else(|| {
                    panic!("unexpected response {status} to {operation:?}: {body}")
                })
            }
            Err(_) => Outcome::Unknown,
        };
        let (buyer, to_ms) = (buyer.sub.clone(), now_ms());
        let request = Request { buyer, operation, from_ms, to_ms, outcome: outcome.clone() };
        self.add(|history| history.requests.push(request));
        outcome
    }
}

fn request(buyer: &Buyer, operation: &Operation) -> RequestBuilder {
    match operation {
        Operation::Place { ticket, key, version } => {
            let request = buyer.request(Method::POST, "/api/orders");
            // A version of `null` is none.
            let request = request.json(&json!({ "ticketId": ticket, "ticketVersion": version }));
            match key {
                Some(key) => request.header("Idempotency-Key", key),
                None => request,
            }
        }
        Operation::Show { order } => buyer.request(Method::GET, &format!("/api/orders/{order}")),
        Operation::List => buyer.request(Method::GET, "/api/orders?limit=100"),
        Operation::Cancel { order } => {
            buyer.request(Method::DELETE, &format!("/api/orders/{order}"))
        }
    }
}

/// Records the events of these tickets. Never returns.
pub async fn record_events(listener: &Listener, record: &Record, tickets: &[String]) -> Infallible {
    loop {
        for event in listener.receive_events().await {
            let kind = event["detail-type"].as_str().unwrap();
            let event = Event::read(kind, &event["detail"].to_string(), now_ms());
            if tickets.contains(&event.ticket) {
                record.add(|history| history.events.push(event));
            }
        }
    }
}

/// Waits until all orders are final, all payments booked, and all versions published.
pub async fn wait_until_published(test_stack: &TestStack, record: &Record, tickets: &[String]) {
    eventually(async || {
        let mut rows = Vec::new();
        for ticket in tickets {
            rows.extend(test_stack.orders_for(ticket).await);
        }
        let History { events, payments, .. } = record.history();
        let is_published = |row: &Value| {
            let (id, version) = (&row["id"], &row["version"]);
            events.iter().any(|event| *id == event.order && *version == event.version)
        };
        let is_booked = |payment: &Payment| {
            let row = rows.iter().find(|row| row["id"] == payment.order);
            row.is_some_and(|row| payment_result(row, &payment.id).is_some())
        };
        rows.iter().all(|row| row["status"] != "awaiting_payment" && is_published(row))
            && payments.iter().all(is_booked)
    })
    .await;
}

fn now_ms() -> u64 {
    orders_lambda::clock::now().epoch_ms()
}

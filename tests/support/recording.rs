//! Runs of the deployed service, written down as buyers and the bus see them, by this machine's clock.

use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    bus::{Listener, use_of_charge},
    buyers::{Buyer, TestStack, eventually},
    history::{Answer, Asked, Charge, Event, History, Request, TicketSaid},
};

/// What has been seen so far.
#[derive(Debug, Default)]
pub struct Record(Mutex<History>);

impl Record {
    fn add(&self, what: impl FnOnce(&mut History)) {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All that has been seen so far.
    pub fn history(&self) -> History {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that was seen of a run that has come to its end, by clocks that may be off from this one.
    pub fn complete(&self, clock_tolerance_ms: u64) -> History {
        History { clock_tolerance_ms, complete: true, ..self.history() }
    }

    /// Puts new tickets on sale.
    pub async fn new_tickets(&self, test_stack: &TestStack, count: usize) -> Vec<String> {
        let from_ms = now_ms();
        let tickets = test_stack.new_tickets(count).await;
        self.said(&tickets, 0, from_ms);
        tickets
    }

    /// Notes what [`ticket`](crate::buyers::ticket) makes of a version, and that it is said now.
    pub fn says(&self, tickets: &[String], version: u64) {
        self.said(tickets, version, now_ms());
    }

    fn said(&self, tickets: &[String], version: u64, at_ms: u64) {
        let said = tickets.iter().map(|ticket| TicketSaid {
            ticket: ticket.clone(),
            version,
            title: format!("Version {version}"),
            price_cents: version * 100 + 50,
            at_ms,
        });
        self.add(|history| history.tickets.extend(said));
    }

    /// Charges a buyer for an order, and says so that many times.
    pub async fn charge(&self, test_stack: &TestStack, order: &str, times: u8) {
        let payment = format!("payment-{}", Uuid::new_v4());
        let charge = Charge { payment: payment.clone(), order: order.to_owned(), at_ms: now_ms() };
        self.add(|history| history.charges.push(charge));
        for _ in 0..times {
            test_stack.charge(&payment, order).await;
        }
    }

    /// Has a buyer ask for something.
    pub async fn ask(&self, buyer: &Buyer, asked: Asked) -> Answer {
        let from_ms = now_ms();
        let answer = match request(buyer, &asked).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let body = response.text().await.unwrap_or_default();
                let answer = Answer::read(&asked, status, &body);
                answer.unwrap_or_else(|| panic!("{asked:?} is answered {status} {body}"))
            }
            Err(_) => Answer::Unknown,
        };
        let (buyer, to_ms) = (buyer.sub.clone(), now_ms());
        let request = Request { buyer, asked, from_ms, to_ms, answer: answer.clone() };
        self.add(|history| history.requests.push(request));
        answer
    }
}

fn request(buyer: &Buyer, asked: &Asked) -> RequestBuilder {
    match asked {
        Asked::Place { ticket, key } => {
            let request = buyer.request(Method::POST, "/api/orders");
            let request = request.json(&json!({ "ticketId": ticket }));
            match key {
                Some(key) => request.header("Idempotency-Key", key),
                None => request,
            }
        }
        Asked::Show { order } => buyer.request(Method::GET, &format!("/api/orders/{order}")),
        Asked::List => buyer.request(Method::GET, "/api/orders?limit=100"),
        Asked::Cancel { order } => buyer.request(Method::DELETE, &format!("/api/orders/{order}")),
    }
}

/// Writes down what comes over the bus about these tickets, as it comes.
pub async fn listen(listener: &Listener, record: &Record, tickets: &[String]) -> Infallible {
    loop {
        for event in listener.hear().await {
            let kind = event["detail-type"].as_str().unwrap();
            let event = Event::read(kind, &event["detail"].to_string(), now_ms());
            if tickets.contains(&event.ticket) {
                record.add(|history| history.events.push(event));
            }
        }
    }
}

/// Waits until every order is final, every charge is booked, and every version was on the bus.
pub async fn everything_is_told(test_stack: &TestStack, record: &Record, tickets: &[String]) {
    eventually(async || {
        let mut rows = Vec::new();
        for ticket in tickets {
            rows.extend(test_stack.orders_for(ticket).await);
        }
        let History { events, charges, .. } = record.history();
        let is_told = |row: &Value| {
            let (id, version) = (&row["id"], &row["version"]);
            events.iter().any(|event| *id == event.order && *version == event.version)
        };
        let is_booked = |charge: &Charge| {
            let row = rows.iter().find(|row| row["id"] == charge.order);
            row.is_some_and(|row| use_of_charge(row, &charge.payment).is_some())
        };
        rows.iter().all(|row| row["status"] != "awaiting_payment" && is_told(row))
            && charges.iter().all(is_booked)
    })
    .await;
}

fn now_ms() -> u64 {
    orders_lambda::clock::now().epoch_ms()
}

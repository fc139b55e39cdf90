mod extensions;
mod orders;
mod payments;
mod sales;

use super::*;
use crate::history::{
    Event, Offer, Operation, OrderView, Outcome, Payment, PaymentStart, PublishedTicket, Refund,
    Request,
};

const LATE_LIMIT_MS: u64 = 600_000;
const TIME_TO_PAY_MS: u64 = 300_000;
const WRITE_DEADLINE_MS: u64 = 10_000;

/// A history of one ticket at 20 dollars, then at 20.01. Orders are held from second 0 to second
/// 30.
fn history(requests: Vec<Request>, payments: Vec<Payment>, events: Vec<Event>) -> History {
    let published = |version: u64| PublishedTicket {
        ticket: "t".into(),
        version,
        offer: Some(Offer { title: format!("v{version}"), price_cents: 2_000 + version }),
        at_ms: 0,
    };
    let tickets = vec![published(0), published(1)];
    History {
        clock_tolerance_ms: 0,
        write_deadline_ms: WRITE_DEADLINE_MS,
        late_limit_ms: LATE_LIMIT_MS,
        time_to_pay_ms: TIME_TO_PAY_MS,
        holds_per_buyer: 0,
        complete: true,
        tickets,
        requests,
        payments,
        starts: vec![],
        refunds: vec![],
        events,
    }
}

fn order(order: &str, buyer: &str, status: &str, version: u64) -> OrderView {
    OrderView {
        order: order.into(),
        buyer: buyer.into(),
        ticket: "t".into(),
        title: "v0".into(),
        ticket_version: 0,
        price_cents: 2_000,
        status: status.into(),
        version,
        expires_at_ms: 30_000,
    }
}

fn request(
    buyer: &str,
    operation: Operation,
    (from_ms, to_ms): (u64, u64),
    outcome: Outcome,
) -> Request {
    Request { buyer: buyer.into(), operation, from_ms, to_ms, outcome }
}

fn place(buyer: &str, key: Option<&str>, time: (u64, u64), outcome: Outcome) -> Request {
    let operation =
        Operation::Place { ticket: "t".into(), key: key.map(Into::into), version: None };
    request(buyer, operation, time, outcome)
}

fn placed(id: &str, buyer: &str, time: (u64, u64)) -> Request {
    let outcome = Outcome::Placed(order(id, buyer, "awaiting_payment", 0));
    place(buyer, None, time, outcome)
}

fn cancel(id: &str, buyer: &str, time: (u64, u64), outcome: Outcome) -> Request {
    request(buyer, Operation::Cancel { order: id.into() }, time, outcome)
}

fn show(id: &str, buyer: &str, time: (u64, u64), status: &str, version: u64) -> Request {
    let outcome = Outcome::Order(order(id, buyer, status, version));
    request(buyer, Operation::Show { order: id.into() }, time, outcome)
}

fn event(kind: &str, id: &str, buyer: &str, version: u64, at_ms: u64) -> Event {
    let status = match kind {
        "OrderCreated" | "OrderExtended" => "awaiting_payment",
        "OrderRefunded" => "refunded",
        "OrderPaid" => "paid",
        "OrderCancelled" => "cancelled",
        _ => "expired",
    };
    Event {
        kind: kind.into(),
        order: id.into(),
        version,
        status: status.into(),
        buyer: buyer.into(),
        ticket: "t".into(),
        price_cents: 2_000,
        expires_at_ms: 30_000,
        payment: None,
        reason: None,
        at_ms,
    }
}

fn created(id: &str, buyer: &str, at_ms: u64) -> Event {
    event("OrderCreated", id, buyer, 0, at_ms)
}

fn paid(id: &str, buyer: &str, payment: &str, version: u64, at_ms: u64) -> Event {
    Event { payment: Some(payment.into()), ..event("OrderPaid", id, buyer, version, at_ms) }
}

fn refund(id: &str, payment: &str, reason: &str, version: u64, at_ms: u64) -> Event {
    let event = event("OrderRefundDue", id, "alice", version, at_ms);
    Event { payment: Some(payment.into()), reason: Some(reason.into()), ..event }
}

fn payment(id: &str, order: &str, at_ms: u64) -> Payment {
    Payment { id: id.into(), order: order.into(), amount_cents: Some(2_000), at_ms }
}

#[track_caller]
fn assert_valid(history: &History) {
    assert_eq!(check_history(history), Ok(()));
}

#[track_caller]
fn assert_contradiction(history: &History, message: &str) {
    let contradiction = check_history(history).expect_err("a contradiction").to_string();
    assert!(contradiction.contains(message), "{contradiction}");
}

use super::*;
use crate::history::{Event, Operation, OrderView, Outcome, Payment, PublishedTicket, Request};

/// A history of one ticket at 20 dollars. Orders are held from second 0 to second 30.
fn history(requests: Vec<Request>, payments: Vec<Payment>, events: Vec<Event>) -> History {
    let published = |version: u64| PublishedTicket {
        ticket: "t".into(),
        version,
        title: format!("v{version}"),
        price_cents: 2_000 + version,
        at_ms: 0,
    };
    let tickets = vec![published(0), published(1)];
    History { clock_tolerance_ms: 0, complete: true, tickets, requests, payments, events }
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
    let operation = Operation::Place { ticket: "t".into(), key: key.map(Into::into) };
    request(buyer, operation, time, outcome)
}

fn placed(id: &str, buyer: &str, time: (u64, u64)) -> Request {
    let outcome = Outcome::Order(order(id, buyer, "awaiting_payment", 0));
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
        "OrderCreated" => "awaiting_payment",
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
    Payment { id: id.into(), order: order.into(), at_ms }
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

#[test]
fn empty_history_is_valid() {
    assert_valid(&history(vec![], vec![], vec![]));
}

#[test]
fn concurrent_requests_may_commit_in_either_order() {
    for (alice, bob) in [((0, 90), (10, 50)), ((10, 50), (0, 90))] {
        let requests =
            vec![placed("a", "alice", alice), place("bob", None, bob, Outcome::Reserved)];
        assert_valid(&history(requests, vec![], vec![created("a", "alice", 100)]));
    }
}

#[test]
fn two_orders_for_one_ticket_are_detected() {
    let requests = vec![placed("a", "alice", (0, 10)), placed("b", "bob", (5, 20))];
    let events = vec![created("a", "alice", 30), created("b", "bob", 40)];
    assert_contradiction(&history(requests, vec![], events), "between 5 and 20");
}

#[test]
fn cancellation_explains_a_second_order() {
    let requests = vec![
        placed("a", "alice", (0, 10)),
        cancel("a", "alice", (20, 40), Outcome::Cancelled),
        placed("b", "bob", (30, 50)),
    ];
    let cancelled = event("OrderCancelled", "a", "alice", 1, 60);
    let events = vec![created("a", "alice", 15), cancelled, created("b", "bob", 60)];
    assert_valid(&history(requests.clone(), vec![], events.clone()));

    let mut too_early = requests;
    (too_early[2].from_ms, too_early[2].to_ms) = (12, 19);
    assert_contradiction(&history(too_early, vec![], events), "bob");
}

#[test]
fn reserved_without_a_hold_is_detected() {
    let requests = vec![place("bob", None, (0, 10), Outcome::Reserved)];
    assert_contradiction(&history(requests, vec![], vec![]), "bob got Reserved");
}

#[test]
fn reserved_after_the_hold_is_detected() {
    let refused = |from_ms| place("bob", None, (from_ms, 40_000), Outcome::Reserved);
    let expired = event("OrderExpired", "a", "alice", 1, 50_000);
    let events = vec![created("a", "alice", 20), expired];
    let requests = |from_ms| vec![placed("a", "alice", (0, 10)), refused(from_ms)];
    assert_valid(&history(requests(29_999), vec![], events.clone()));
    assert_contradiction(&history(requests(30_000), vec![], events.clone()), "bob got Reserved");
    let tolerant = history(requests(30_000), vec![], events);
    assert_valid(&History { clock_tolerance_ms: 1, ..tolerant });
}

#[test]
fn sold_before_the_payment_is_detected() {
    let requests =
        |time| vec![placed("a", "alice", (0, 10)), place("bob", None, time, Outcome::Sold)];
    let events = vec![created("a", "alice", 20), paid("a", "alice", "p", 1, 200)];
    let payments = vec![payment("p", "a", 100)];
    assert_valid(&history(requests((50, 150)), payments.clone(), events.clone()));
    assert_contradiction(&history(requests((50, 90)), payments, events), "bob got Sold");
}

#[test]
fn early_expiry_is_detected() {
    let expired = |at_ms| event("OrderExpired", "a", "alice", 1, at_ms);
    let events = |at_ms| vec![created("a", "alice", 20), expired(at_ms)];
    let requests = || vec![placed("a", "alice", (0, 10))];
    assert_valid(&history(requests(), vec![], events(30_000)));
    assert_contradiction(&history(requests(), vec![], events(29_999)), "OrderExpired of a");
}

#[test]
fn stale_read_is_detected() {
    let requests = |first, second: (&str, u64)| {
        vec![
            placed("a", "alice", (0, 10)),
            cancel("a", "alice", (20, 30), Outcome::Cancelled),
            show("a", "alice", first, "cancelled", 1),
            show("a", "alice", (60, 70), second.0, second.1),
        ]
    };
    let cancelled = event("OrderCancelled", "a", "alice", 1, 90);
    let events = vec![created("a", "alice", 15), cancelled];
    assert_valid(&history(requests((40, 50), ("cancelled", 1)), vec![], events.clone()));
    let stale = history(requests((40, 50), ("awaiting_payment", 0)), vec![], events);
    assert_contradiction(&stale, "awaiting_payment");
}

#[test]
fn due_order_shown_as_awaiting_is_detected() {
    let requests = |status| {
        vec![placed("a", "alice", (0, 10)), show("a", "alice", (30_000, 30_010), status, 0)]
    };
    let expired = event("OrderExpired", "a", "alice", 1, 60_000);
    let events = vec![created("a", "alice", 20), expired];
    assert_valid(&history(requests("expired"), vec![], events.clone()));
    assert_contradiction(&history(requests("awaiting_payment"), vec![], events), "was due");
}

#[test]
fn order_without_a_request_is_detected() {
    let unknown = place("alice", None, (0, 10), Outcome::Unknown);
    assert_valid(&history(vec![unknown], vec![], vec![created("a", "alice", 20)]));
    let refused = place("alice", None, (0, 10), Outcome::NoSuchTicket);
    let rejected = history(vec![refused], vec![], vec![created("a", "alice", 20)]);
    assert_contradiction(&rejected, "no request for");
}

#[test]
fn cancellation_without_a_request_is_detected() {
    let requests =
        vec![placed("a", "alice", (0, 10)), cancel("a", "bob", (20, 30), Outcome::NoSuchOrder)];
    let cancelled = event("OrderCancelled", "a", "alice", 1, 90);
    let events = vec![created("a", "alice", 15), cancelled];
    assert_contradiction(&history(requests, vec![], events), "no request for");
}

#[test]
fn key_with_two_orders_is_detected() {
    let outcome = |id| Outcome::Order(order(id, "alice", "awaiting_payment", 0));
    let requests = |second| {
        vec![
            place("alice", Some("k"), (0, 10), outcome("a")),
            place("alice", Some("k"), (20, 30), outcome(second)),
        ]
    };
    let events = vec![created("a", "alice", 15)];
    assert_valid(&history(requests("a"), vec![], events.clone()));
    assert_contradiction(&history(requests("b"), vec![], events), "key k of alice");
}

#[test]
fn rejected_new_key_is_detected() {
    let requests = vec![place("alice", Some("k"), (0, 10), Outcome::KeyReused)];
    assert_contradiction(&history(requests, vec![], vec![]), "new key k");
}

#[test]
fn foreign_order_is_detected() {
    let foreign = request("bob", Operation::List, (20, 30), {
        Outcome::Orders(vec![order("a", "alice", "awaiting_payment", 0)])
    });
    let requests = vec![placed("a", "alice", (0, 10)), foreign];
    assert_contradiction(
        &history(requests, vec![], vec![created("a", "alice", 15)]),
        "the order of another buyer",
    );
    let requests =
        vec![placed("a", "alice", (0, 10)), cancel("a", "bob", (20, 30), Outcome::Cancelled)];
    assert_contradiction(&history(requests, vec![], vec![created("a", "alice", 15)]), "bob got");
}

#[test]
fn unpublished_price_is_detected() {
    let unpublished = OrderView { price_cents: 1, ..order("a", "alice", "awaiting_payment", 0) };
    let requests = vec![place("alice", None, (0, 10), Outcome::Order(unpublished))];
    assert_contradiction(
        &history(requests, vec![], vec![created("a", "alice", 15)]),
        "unpublished ticket fields",
    );
}

#[test]
fn changed_price_is_detected() {
    let requests = vec![placed("a", "alice", (0, 10)), {
        let changed = OrderView {
            ticket_version: 1,
            title: "v1".into(),
            price_cents: 2_001,
            ..order("a", "alice", "awaiting_payment", 0)
        };
        request("alice", Operation::Show { order: "a".into() }, (20, 30), Outcome::Order(changed))
    }];
    assert_contradiction(
        &history(requests, vec![], vec![created("a", "alice", 15)]),
        "the earlier",
    );
}

#[test]
fn event_versions_out_of_order_are_detected() {
    let requests =
        || vec![placed("a", "alice", (0, 10)), cancel("a", "alice", (20, 30), Outcome::Cancelled)];
    let first = created("a", "alice", 15);
    let second = event("OrderCancelled", "a", "alice", 1, 90);
    let again = Event { at_ms: 99, ..first.clone() };
    assert_valid(&history(requests(), vec![], vec![first.clone(), second.clone(), again]));
    assert_contradiction(&history(requests(), vec![], vec![second, first]), "before version 0");
}

#[test]
fn payment_booked_twice_is_detected() {
    let requests = || vec![placed("a", "alice", (0, 10))];
    let payments = || vec![payment("p", "a", 20), payment("q", "a", 21)];
    let first = created("a", "alice", 15);
    let first_payment = paid("a", "alice", "p", 1, 40);
    let refunded = Event { status: "paid".into(), ..refund("a", "q", "already_paid", 2, 50) };
    let events = vec![first.clone(), first_payment.clone(), refunded];
    assert_valid(&history(requests(), payments(), events));
    let dropped = history(requests(), payments(), vec![first.clone(), first_payment.clone()]);
    assert_contradiction(&dropped, "booked 0 times");
    let twice = Event { status: "paid".into(), ..refund("a", "p", "already_paid", 2, 50) };
    let counted_twice = history(requests(), payments(), vec![first, first_payment, twice]);
    assert_contradiction(&counted_twice, "times");
}

#[test]
fn event_without_a_payment_is_detected() {
    let events = vec![created("a", "alice", 15), paid("a", "alice", "p", 1, 40)];
    assert_contradiction(
        &history(vec![placed("a", "alice", (0, 10))], vec![], events),
        "no payment for",
    );
}

#[test]
fn refund_of_a_late_payment_needs_a_taken_ticket() {
    let bob = Outcome::Order(OrderView {
        expires_at_ms: 70_000,
        ..order("b", "bob", "awaiting_payment", 0)
    });
    let bobs_order = || place("bob", None, (40_000, 40_010), bob.clone());
    let of_bob = |event: Event| Event { expires_at_ms: 70_000, ..event };
    let events = || {
        vec![
            created("a", "alice", 15),
            event("OrderExpired", "a", "alice", 1, 30_010),
            refund("a", "p", "ticket_taken", 2, 50_000),
        ]
    };
    let payments = || vec![payment("p", "a", 35_000)];
    let free = history(vec![placed("a", "alice", (0, 10))], payments(), events());
    assert_contradiction(&free, "with its ticket taken");

    let requests = || vec![placed("a", "alice", (0, 10)), bobs_order()];
    let mut with_bob = events();
    with_bob.push(of_bob(created("b", "bob", 40_020)));
    with_bob.push(of_bob(event("OrderExpired", "b", "bob", 1, 90_010)));
    assert_valid(&history(requests(), payments(), with_bob.clone()));

    // Paid after the end of bob's hold, with bob's order not expired yet.
    with_bob[2].at_ms = 80_010;
    let payments = vec![payment("p", "a", 80_000)];
    assert_contradiction(&history(requests(), payments, with_bob), "with its ticket taken");
}

#[test]
fn incomplete_history_skips_the_search() {
    let requests = vec![placed("a", "alice", (0, 10))];
    let incomplete = history(requests, vec![payment("p", "a", 20)], vec![]);
    assert_contradiction(&incomplete, "alice got");
    assert_valid(&History { complete: false, ..incomplete });
}

#[test]
fn history_survives_a_json_round_trip() {
    let requests = vec![placed("a", "alice", (0, 10)), place("b", None, (0, 1), Outcome::Unknown)];
    let history = history(requests, vec![payment("p", "a", 1)], vec![created("a", "alice", 15)]);
    let json = serde_json::to_string(&history).unwrap();
    assert_eq!(serde_json::from_str::<History>(&json).unwrap(), history);
}

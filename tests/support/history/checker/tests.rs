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
        let placed = Outcome::Placed(order("a", "alice", "awaiting_payment", 0));
        vec![
            place("alice", Some("k"), (0, 10), placed),
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
    let requests = vec![place("alice", None, (0, 10), Outcome::Placed(unpublished))];
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
    let bob = Outcome::Placed(OrderView {
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
fn sale_after_an_acknowledged_cancellation_is_detected() {
    let requests = || {
        vec![
            placed("a", "alice", (0, 10)),
            cancel("a", "alice", (40_000, 40_010), Outcome::Cancelled),
        ]
    };
    let payments = || vec![payment("p", "a", 20_000)];
    let expired =
        || vec![created("a", "alice", 15), event("OrderExpired", "a", "alice", 1, 31_000)];
    let mut refunded = expired();
    refunded.push(event("OrderCancelled", "a", "alice", 2, 40_020));
    let refund = refund("a", "p", "order_cancelled", 3, 50_000);
    refunded.push(Event { status: "cancelled".into(), ..refund });
    assert_valid(&history(requests(), payments(), refunded));

    let mut sold = expired();
    sold.push(paid("a", "alice", "p", 2, 50_000));
    assert_contradiction(&history(requests(), payments(), sold), "alice got Cancelled");
}

/// Bob's order, placed at second 40 and cancelled at second 41, shows the ticket at this version.
fn bobs_order(version: u64) -> (Vec<Request>, Vec<Event>) {
    let price_cents = 2_000 + version;
    let view = OrderView {
        title: format!("v{version}"),
        ticket_version: version,
        price_cents,
        expires_at_ms: 70_000,
        ..order("b", "bob", "awaiting_payment", 0)
    };
    let requests = vec![
        place("bob", None, (40_000, 40_010), Outcome::Placed(view)),
        cancel("b", "bob", (41_000, 41_010), Outcome::Cancelled),
    ];
    let of_bob = |event: Event| Event { expires_at_ms: 70_000, price_cents, ..event };
    let cancelled = of_bob(event("OrderCancelled", "b", "bob", 1, 41_020));
    (requests, vec![of_bob(created("b", "bob", 40_020)), cancelled])
}

#[test]
fn late_sale_at_an_old_price_is_detected() {
    let late_sale = |version, sold_ms| {
        let (mut requests, mut events) = bobs_order(version);
        requests.push(placed("a", "alice", (0, 10)));
        events.extend([
            created("a", "alice", 15),
            event("OrderExpired", "a", "alice", 1, 31_000),
            paid("a", "alice", "p", 2, sold_ms),
        ]);
        history(requests, vec![payment("p", "a", sold_ms - 1_000)], events)
    };
    assert_valid(&late_sale(0, 50_000));
    assert_contradiction(&late_sale(1, 50_000), "OrderPaid of a");
}

#[test]
fn payment_that_bought_two_orders_is_detected() {
    let (mut requests, mut events) = bobs_order(0);
    requests.push(placed("a", "alice", (0, 10)));
    events.extend([created("a", "alice", 15), event("OrderExpired", "a", "alice", 1, 31_000)]);
    let payments = || vec![payment("p", "a", 35_000), payment("p", "b", 45_000)];
    let of_bob = Event {
        status: "cancelled".into(),
        buyer: "bob".into(),
        expires_at_ms: 70_000,
        ..refund("b", "p", "order_cancelled", 2, 46_000)
    };
    let sold = paid("a", "alice", "p", 2, 50_000);
    let once = [events.clone(), vec![sold.clone()]].concat();
    assert_valid(&history(requests.clone(), payments(), once));
    let twice = [events, vec![of_bob, sold]].concat();
    assert_contradiction(&history(requests, payments(), twice), "booked 2 times");
}

#[test]
fn wrong_refund_reason_is_detected() {
    let refunded = |reason: &str, amount_cents, paid_ms| {
        let events = vec![
            created("a", "alice", 15),
            event("OrderExpired", "a", "alice", 1, 31_000),
            refund("a", "p", reason, 2, 700_000),
        ];
        let payment = Payment { amount_cents, ..payment("p", "a", paid_ms) };
        history(vec![placed("a", "alice", (0, 10))], vec![payment], events)
    };
    let last_ms = 30_000 + LATE_LIMIT_MS;
    for (reason, amount_cents, paid_ms) in [
        ("wrong_amount", Some(1), 35_000),
        ("wrong_amount", Some(1), last_ms + 1_000),
        ("too_late", None, last_ms + 1_000),
        ("ticket_changed", None, last_ms + 999),
    ] {
        assert_valid(&refunded(reason, amount_cents, paid_ms));
    }
    for (reason, amount_cents, paid_ms) in [
        ("wrong_amount", Some(2_000), 35_000),
        ("wrong_amount", None, 35_000),
        ("too_late", None, last_ms + 999),
        ("too_late", Some(1), last_ms + 1_000),
        ("ticket_changed", None, last_ms + 1_000),
        ("ticket_changed", Some(1), 35_000),
        ("ticket_taken", Some(1), 35_000),
        ("already_paid", None, 35_000),
        ("order_cancelled", None, 35_000),
        ("no_reason", None, 35_000),
    ] {
        assert_contradiction(&refunded(reason, amount_cents, paid_ms), "the wrong reason");
    }
}

#[test]
fn refund_of_a_changed_ticket_needs_another_price() {
    let mut unchanged = history(
        vec![placed("a", "alice", (0, 10))],
        vec![payment("p", "a", 35_000)],
        vec![
            created("a", "alice", 15),
            event("OrderExpired", "a", "alice", 1, 31_000),
            refund("a", "p", "ticket_changed", 2, 50_000),
        ],
    );
    assert_valid(&unchanged);
    unchanged.tickets.truncate(1);
    assert_contradiction(&unchanged, "had another price");
}

#[test]
fn wrong_amount_in_time_keeps_the_hold() {
    let events = |reason| {
        let refund = refund("a", "p", reason, 1, 25_000);
        vec![
            created("a", "alice", 15),
            Event { status: "awaiting_payment".into(), ..refund },
            paid("a", "alice", "q", 2, 26_000),
        ]
    };
    let wrong = Payment { amount_cents: Some(1), ..payment("p", "a", 20_000) };
    let payments = || vec![wrong.clone(), payment("q", "a", 21_000)];
    let requests = || vec![placed("a", "alice", (0, 10))];
    assert_valid(&history(requests(), payments(), events("wrong_amount")));
    let sold = vec![created("a", "alice", 15), paid("a", "alice", "p", 1, 25_000)];
    assert_contradiction(&history(requests(), vec![wrong.clone()], sold), "another amount");
}

#[test]
fn sale_by_a_payment_that_is_too_late_is_detected() {
    let sale = |paid_ms| {
        let events = vec![created("a", "alice", 15), paid("a", "alice", "p", 1, 700_000)];
        history(vec![placed("a", "alice", (0, 10))], vec![payment("p", "a", paid_ms)], events)
    };
    let last_ms = 30_000 + LATE_LIMIT_MS;
    assert_valid(&sale(last_ms + 999));
    assert_contradiction(&sale(last_ms + 1_000), "by a payment sent after");
}

#[test]
fn late_sale_takes_a_lapsed_hold_over() {
    let (mut requests, mut events) = bobs_order(0);
    requests.pop();
    events.pop();
    requests.push(placed("a", "alice", (0, 10)));
    let of_bob = event("OrderExpired", "b", "bob", 1, 80_000);
    events.extend([
        created("a", "alice", 15),
        event("OrderExpired", "a", "alice", 1, 31_000),
        Event { expires_at_ms: 70_000, ..of_bob },
        paid("a", "alice", "p", 2, 80_000),
    ]);
    let sale = history(requests, vec![payment("p", "a", 35_000)], events);
    assert_valid(&sale);
    let mut too_early = sale;
    too_early.events.last_mut().unwrap().at_ms = 69_000;
    assert_contradiction(&too_early, "OrderPaid of a");
}

#[test]
fn existing_order_shown_as_new_is_detected() {
    let view = || order("a", "alice", "awaiting_payment", 0);
    let requests = |second: Outcome| {
        vec![placed("a", "alice", (0, 10)), place("alice", None, (20, 30), second)]
    };
    let events = vec![created("a", "alice", 15)];
    assert_valid(&history(requests(Outcome::Order(view())), vec![], events.clone()));
    let second = requests(Outcome::Placed(view()));
    assert_contradiction(&history(second, vec![], events.clone()), "as a new order");

    // The first reply was lost.
    let lost = place("alice", None, (0, 10), Outcome::Unknown);
    let again = |outcome| vec![lost.clone(), place("alice", None, (20, 30), outcome)];
    assert_valid(&history(again(Outcome::Order(view())), vec![], events.clone()));
    let new = history(again(Outcome::Placed(view())), vec![], events);
    assert_contradiction(&new, "OrderCreated of a");
}

#[test]
fn new_order_shown_as_existing_is_detected() {
    let existing = Outcome::Order(order("a", "alice", "awaiting_payment", 0));
    let requests = vec![place("alice", None, (0, 10), existing)];
    assert_contradiction(
        &history(requests, vec![], vec![created("a", "alice", 15)]),
        "no request for",
    );
}

#[test]
fn order_that_has_ended_is_no_answer_to_an_order_without_a_key() {
    let requests = |status: &str, version, from_ms| {
        let shown = Outcome::Order(order("a", "alice", status, version));
        vec![
            placed("a", "alice", (0, 10)),
            cancel("a", "alice", (20, 30), Outcome::Cancelled),
            place("alice", None, (from_ms, from_ms + 10), shown),
        ]
    };
    let cancelled = event("OrderCancelled", "a", "alice", 1, 90);
    let events = vec![created("a", "alice", 15), cancelled];
    assert_valid(&history(requests("awaiting_payment", 0, 15), vec![], events.clone()));
    let ended = history(requests("cancelled", 1, 40), vec![], events);
    assert_contradiction(&ended, "is no live order");
}

#[test]
fn buyer_is_not_refused_by_the_own_order() {
    let refused = |buyer, outcome| {
        let requests = vec![placed("a", "alice", (0, 10)), place(buyer, None, (60, 70), outcome)];
        let events = vec![created("a", "alice", 15), paid("a", "alice", "p", 1, 50)];
        history(requests, vec![payment("p", "a", 20)], events)
    };
    assert_valid(&refused("bob", Outcome::Sold));
    assert_contradiction(&refused("alice", Outcome::Sold), "alice got Sold");

    let reserved = |buyer| {
        let refused = place(buyer, None, (20, 30), Outcome::Reserved);
        history(
            vec![placed("a", "alice", (0, 10)), refused],
            vec![],
            vec![created("a", "alice", 15)],
        )
    };
    assert_valid(&reserved("bob"));
    assert_contradiction(&reserved("alice"), "alice got Reserved");
}

/// A start of the payment at this time extends the hold of alice's order to second 310.
fn extended(start_ms: u64, at_ms: u64) -> History {
    let later = |event: Event| Event { expires_at_ms: 310_000, ..event };
    let events = vec![
        created("a", "alice", 15),
        later(event("OrderExtended", "a", "alice", 1, at_ms)),
        later(event("OrderExpired", "a", "alice", 2, 310_010)),
    ];
    let start = PaymentStart { order: "a".into(), at_ms: start_ms };
    let history = history(vec![placed("a", "alice", (0, 10))], vec![], events);
    History { starts: vec![start], ..history }
}

#[test]
fn extension_needs_the_start_of_a_payment_before_the_end_of_the_hold() {
    assert_valid(&extended(10_900, 12_000));
    assert_contradiction(&extended(11_000, 12_000), "no start of a payment");
    let behind = History { clock_tolerance_ms: 1_000, ..extended(11_000, 12_000) };
    assert_valid(&behind);
    assert_contradiction(&History { clock_tolerance_ms: 999, ..behind }, "no start of a payment");
    let off = History { time_to_pay_ms: 0, ..extended(10_900, 12_000) };
    assert_contradiction(&off, "no start of a payment");
    let mut due = extended(10_900, 12_000);
    due.starts[0].at_ms = 30_000;
    due.events[1].expires_at_ms = 330_000;
    due.events[2].expires_at_ms = 330_000;
    due.events[2].at_ms = 330_010;
    assert_contradiction(&due, "no start of a payment");
}

#[test]
fn second_extension_is_detected() {
    let mut twice = extended(10_900, 12_000);
    twice.starts.push(PaymentStart { order: "a".into(), at_ms: 20_000 });
    let later = |event: Event| Event { expires_at_ms: 320_000, ..event };
    twice.events.truncate(2);
    twice.events.extend([
        later(event("OrderExtended", "a", "alice", 2, 21_000)),
        later(event("OrderExpired", "a", "alice", 3, 320_010)),
    ]);
    assert_contradiction(&twice, "a second change of its kind");
}

#[test]
fn end_of_the_hold_changes_only_by_an_extension() {
    let mut changed = extended(10_900, 12_000);
    changed.events.remove(1);
    changed.events[1].version = 1;
    assert_contradiction(&changed, "differs from");
    let mut shorter = extended(10_900, 12_000);
    for event in &mut shorter.events[1..] {
        event.expires_at_ms = 20_000;
    }
    assert_contradiction(&shorter, "differs from");
}

#[test]
fn expiry_at_the_old_end_of_an_extended_hold_is_detected() {
    let mut early = extended(10_900, 12_000);
    early.events[2].at_ms = 30_010;
    assert_contradiction(&early, "OrderExpired of a");
}

#[test]
fn extended_hold_reserves_its_ticket_until_its_new_end() {
    let refused = |from_ms| {
        let mut history = extended(10_900, 12_000);
        history.requests.push(place("bob", None, (from_ms, from_ms + 10), Outcome::Reserved));
        history
    };
    assert_valid(&refused(309_999));
    assert_contradiction(&refused(310_000), "bob got Reserved");
    let mut taken = extended(10_900, 12_000);
    let bobs = OrderView { expires_at_ms: 80_000, ..order("b", "bob", "awaiting_payment", 0) };
    taken.requests.push(place("bob", None, (50_000, 50_010), Outcome::Placed(bobs)));
    let of_bob = |event: Event| Event { expires_at_ms: 80_000, ..event };
    taken.events.push(of_bob(created("b", "bob", 50_020)));
    taken.events.push(of_bob(event("OrderExpired", "b", "bob", 1, 80_010)));
    assert_contradiction(&taken, "between 50000 and 50010");
}

#[test]
fn order_can_be_shown_as_expired_before_its_extension_within_the_write_deadline() {
    let shown = |status: &str, version, expires_at_ms, from_ms| {
        let view = OrderView { expires_at_ms, ..order("a", "alice", status, version) };
        let operation = Operation::Show { order: "a".into() };
        request("alice", operation, (from_ms, from_ms + 10), Outcome::Order(view))
    };
    let history = |expired_ms| {
        let mut history = extended(10_900, 50_000);
        history.requests.extend([
            shown("expired", 0, 30_000, expired_ms),
            shown("awaiting_payment", 1, 310_000, 50_000),
        ]);
        history
    };
    assert_valid(&history(30_000 + WRITE_DEADLINE_MS));
    assert_contradiction(&history(30_001 + WRITE_DEADLINE_MS), "alice got Order");
    let mut wrong_end = history(31_000);
    wrong_end.requests.push(shown("awaiting_payment", 1, 30_000, 50_000));
    assert_contradiction(&wrong_end, "differs from");
}

/// Alice's order is paid at second 20 and refunded; the refund is made at second 30.
fn refunded(amount_cents: Option<u64>) -> History {
    let refund = Refund { payment: "p".into(), order: "a".into(), amount_cents, at_ms: 30_000 };
    let given_back =
        Event { payment: Some("p".into()), ..event("OrderRefunded", "a", "alice", 2, 31_000) };
    let events = vec![created("a", "alice", 15), paid("a", "alice", "p", 1, 20_010), given_back];
    let requests = vec![placed("a", "alice", (0, 10))];
    let history = history(requests, vec![payment("p", "a", 20_000)], events);
    History { refunds: vec![refund], ..history }
}

#[test]
fn refund_of_the_buying_payment_frees_the_ticket() {
    for amount_cents in [None, Some(2_000), Some(2_001)] {
        let mut resold = refunded(amount_cents);
        let (requests, events) = bobs_order(0);
        resold.requests.extend(requests);
        resold.events.extend(events);
        assert_valid(&resold);
    }
    assert_contradiction(&refunded(Some(1_999)), "no refund for");
    let mut unknown = refunded(None);
    unknown.refunds.clear();
    assert_contradiction(&unknown, "no refund for");
}

#[test]
fn sale_of_a_paid_ticket_before_its_refund_is_detected() {
    let mut resold = refunded(None);
    let (requests, events) = bobs_order(0);
    resold.requests.extend(requests);
    resold.events.extend(events);
    resold.refunds[0].at_ms = 40_011;
    resold.events[2].at_ms = 41_000;
    assert_contradiction(&resold, "between 40000 and 40010");
}

#[test]
fn refund_without_an_effect_is_detected() {
    let mut forgotten = refunded(None);
    forgotten.events.truncate(2);
    assert_contradiction(&forgotten, "is not published");
    let mut partial = refunded(Some(1_999));
    partial.events.truncate(2);
    assert_valid(&partial);
}

#[test]
fn payment_counted_again_after_its_refund_is_detected() {
    let mut again = refunded(None);
    let due = refund("a", "p", "order_refunded", 3, 40_000);
    again.events.push(Event { status: "refunded".into(), ..due });
    assert_contradiction(&again, "booked 2 times");
}

#[test]
fn refund_due_is_settled_once() {
    let due = refund("a", "q", "already_paid", 2, 26_000);
    let due = Event { status: "paid".into(), ..due };
    let settled = |version| Event {
        kind: "OrderRefundSettled".into(),
        version,
        at_ms: 40_000,
        ..due.clone()
    };
    let settle = |events: Vec<Event>| {
        let mut all = vec![created("a", "alice", 15), paid("a", "alice", "p", 1, 20_010)];
        all.push(due.clone());
        all.extend(events);
        let payments = vec![payment("p", "a", 20_000), payment("q", "a", 25_000)];
        let history = history(vec![placed("a", "alice", (0, 10))], payments, all);
        let refund =
            Refund { payment: "q".into(), order: "a".into(), amount_cents: None, at_ms: 39_000 };
        History { refunds: vec![refund], ..history }
    };
    assert_valid(&settle(vec![settled(3)]));
    assert_contradiction(&settle(vec![settled(3), settled(4)]), "a second change of its kind");
    assert_contradiction(&settle(vec![]), "is not published");
    let unmade = History { refunds: vec![], ..settle(vec![settled(3)]) };
    assert_contradiction(&unmade, "no refund for");
}

/// The ticket, withdrawn at version 1.
fn withdrawn(requests: Vec<Request>, events: Vec<Event>) -> History {
    let mut history = history(requests, vec![], events);
    history.tickets[1].offer = None;
    history
}

#[test]
fn sale_of_a_withdrawn_ticket_is_detected() {
    let refused = |time| place("bob", None, time, Outcome::Withdrawn);
    let expired = event("OrderExpired", "a", "alice", 1, 50_000);
    let events = || vec![created("a", "alice", 15), expired.clone()];
    let before = vec![refused((0, 90)), placed("a", "alice", (0, 10))];
    assert_valid(&withdrawn(before, events()));
    let after = vec![refused((0, 5)), placed("a", "alice", (6, 10))];
    assert_contradiction(&withdrawn(after, events()), "alice got Placed");
    let view = OrderView {
        ticket_version: 1,
        title: "v1".into(),
        ..order("a", "alice", "awaiting_payment", 0)
    };
    let withdrawn_version = vec![place("alice", None, (0, 10), Outcome::Placed(view))];
    assert_contradiction(&withdrawn(withdrawn_version, events()), "unpublished ticket fields");
}

#[test]
fn withdrawn_ticket_on_sale_is_detected() {
    let refused = vec![place("bob", None, (0, 10), Outcome::Withdrawn)];
    assert_valid(&withdrawn(refused.clone(), vec![]));
    assert_contradiction(&history(refused, vec![], vec![]), "bob got Withdrawn");
}

#[test]
fn buyer_with_the_ticket_is_not_refused_because_of_its_sale() {
    let requests =
        |buyer, outcome| vec![placed("a", "alice", (0, 10)), place(buyer, None, (20, 30), outcome)];
    let events = || vec![created("a", "alice", 15)];
    assert_valid(&withdrawn(requests("bob", Outcome::Withdrawn), events()));
    let own = withdrawn(requests("alice", Outcome::Withdrawn), events());
    assert_contradiction(&own, "alice got Withdrawn");
}

#[test]
fn late_sale_of_a_withdrawn_ticket_is_detected() {
    let mut late = withdrawn(
        vec![
            placed("a", "alice", (0, 10)),
            place("bob", None, (32_000, 32_010), Outcome::Withdrawn),
        ],
        vec![
            created("a", "alice", 15),
            event("OrderExpired", "a", "alice", 1, 31_000),
            paid("a", "alice", "p", 2, 50_000),
        ],
    );
    late.payments.push(payment("p", "a", 35_000));
    assert_contradiction(&late, "OrderPaid of a");
    late.requests.pop();
    assert_valid(&late);
}

/// A request for this version of the ticket.
fn place_version(version: Option<u64>, outcome: Outcome) -> Request {
    let operation = Operation::Place { ticket: "t".into(), key: None, version };
    request("alice", operation, (0, 10), outcome)
}

#[test]
fn order_at_another_version_than_asked_for_is_detected() {
    let events = || vec![created("a", "alice", 15)];
    let placed = |version| {
        let view = order("a", "alice", "awaiting_payment", 0);
        history(vec![place_version(version, Outcome::Placed(view))], vec![], events())
    };
    assert_valid(&placed(Some(0)));
    assert_contradiction(&placed(Some(1)), "version: Some(1) } got");
}

#[test]
fn changed_ticket_is_at_another_published_version() {
    let refused = |wanted, version| {
        let outcome = Outcome::TicketChanged { version };
        history(vec![place_version(wanted, outcome)], vec![], vec![])
    };
    assert_valid(&refused(Some(0), 1));
    assert_valid(&refused(Some(2), 1));
    assert_contradiction(&refused(Some(1), 1), "got TicketChanged");
    assert_contradiction(&refused(None, 1), "got TicketChanged");
    assert_contradiction(&refused(Some(0), 7), "got TicketChanged");
}

/// Orders of alice for tickets `t0`, `t1` ..., all held from second 0 to second 30, with a limit of
/// holds.
fn holds(count: usize, limit: u64, extra: Vec<Request>) -> History {
    let (mut requests, mut events) = (vec![], vec![]);
    for number in 0..count {
        let (id, ticket) = (format!("a{number}"), format!("t{number}"));
        let view =
            OrderView { ticket: ticket.clone(), ..order(&id, "alice", "awaiting_payment", 0) };
        let operation = Operation::Place { ticket: ticket.clone(), key: None, version: None };
        requests.push(request("alice", operation, (0, 10), Outcome::Placed(view)));
        events.push(Event { ticket, ..created(&id, "alice", 20) });
    }
    requests.extend(extra);
    let history = history(requests, vec![], events);
    let ticket = |number| PublishedTicket { ticket: format!("t{number}"), ..published_ticket() };
    let tickets = (0..=count).map(ticket).chain([published_ticket()]).collect();
    History { holds_per_buyer: limit, tickets, ..history }
}

fn published_ticket() -> PublishedTicket {
    let offer = Some(Offer { title: "v0".into(), price_cents: 2_000 });
    PublishedTicket { ticket: "t".into(), version: 0, offer, at_ms: 0 }
}

#[test]
fn more_holds_than_allowed_are_detected() {
    assert_valid(&holds(2, 2, vec![]));
    assert_valid(&holds(3, 0, vec![]));
    assert_contradiction(&holds(3, 2, vec![]), "holds more tickets than 2");
}

#[test]
fn cancelled_hold_makes_room_for_another() {
    let cancelled = |from_ms| {
        let mut history = holds(3, 2, vec![]);
        let third = &mut history.requests[2];
        (third.from_ms, third.to_ms) = (from_ms, from_ms + 10);
        history.events[2].at_ms = from_ms + 20;
        history.requests.push(cancel("a0", "alice", (1_000, 1_010), Outcome::Cancelled));
        let of_ticket = event("OrderCancelled", "a0", "alice", 1, 1_020);
        history.events.push(Event { ticket: "t0".into(), ..of_ticket });
        history
    };
    assert_valid(&cancelled(2_000));
    assert_contradiction(&cancelled(900), "holds more tickets than 2");
}

#[test]
fn refusal_below_the_limit_of_holds_is_detected() {
    let refused =
        |from_ms| vec![place("alice", None, (from_ms, from_ms + 5), Outcome::TooManyHolds)];
    assert_valid(&holds(2, 2, refused(40)));
    assert_contradiction(&holds(1, 2, refused(40)), "with at most 1 holds");
    assert_contradiction(&holds(2, 2, refused(30_001)), "with at most 0 holds");
    assert_contradiction(&holds(2, 0, refused(40)), "without a limit");
}

#[test]
fn free_ticket_is_paid_at_once_and_can_be_given_back() {
    let free = |kind: &str| {
        let mut view = OrderView { price_cents: 0, ..order("a", "alice", "paid", 0) };
        view.title = "v0".into();
        let requests = vec![
            place("alice", None, (0, 10), Outcome::Placed(view)),
            cancel("a", "alice", (20, 30), Outcome::Cancelled),
        ];
        let event = |kind, version, at_ms| Event {
            price_cents: 0,
            ..event(kind, "a", "alice", version, at_ms)
        };
        let events = vec![event(kind, 0, 15), event("OrderCancelled", 1, 40)];
        let mut history = history(requests, vec![], events);
        history.tickets[0].offer = Some(Offer { title: "v0".into(), price_cents: 0 });
        history
    };
    assert_valid(&free("OrderPaid"));
    assert_contradiction(&free("OrderCreated"), "the wrong type");
    let mut kept = free("OrderPaid");
    kept.requests[1].outcome = Outcome::OrderPaid;
    assert_contradiction(&kept, "cannot give the free ticket");
    // A payment of nothing needs no result, any other is refunded.
    let mut paid = free("OrderPaid");
    paid.payments.push(Payment { amount_cents: Some(0), ..payment("p", "a", 16) });
    assert_valid(&paid);
    paid.payments[0].amount_cents = None;
    assert_contradiction(&paid, "booked 0 times");
}

#[test]
fn paid_order_that_was_cancelled_is_detected() {
    let events = vec![
        created("a", "alice", 15),
        paid("a", "alice", "p", 1, 21),
        event("OrderCancelled", "a", "alice", 2, 40),
    ];
    let requests =
        vec![placed("a", "alice", (0, 10)), cancel("a", "alice", (30, 35), Outcome::Cancelled)];
    let cancelled = history(requests, vec![payment("p", "a", 20)], events);
    assert_contradiction(&cancelled, "alice got Cancelled");
}

#[test]
fn key_with_an_order_that_was_refused_is_detected() {
    let placed = Outcome::Placed(order("a", "alice", "awaiting_payment", 0));
    let refused = |from_ms| {
        let requests = vec![
            place("alice", Some("k"), (0, 10), placed.clone()),
            place("alice", Some("k"), (from_ms, 40), Outcome::Withdrawn),
        ];
        withdrawn(requests, vec![created("a", "alice", 15)])
    };
    assert_contradiction(&refused(20), "got Withdrawn");
    assert_valid(&refused(5));
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

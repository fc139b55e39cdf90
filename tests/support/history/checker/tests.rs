use super::*;
use crate::history::{Answer, Asked, Charge, Event, OrderSeen, Request, TicketSaid};

/// A history of one ticket, at 20 dollars, and of orders held from second 0 to second 30.
fn history(requests: Vec<Request>, charges: Vec<Charge>, events: Vec<Event>) -> History {
    let said = |version: u64| TicketSaid {
        ticket: "t".into(),
        version,
        title: format!("v{version}"),
        price_cents: 2_000 + version,
        at_ms: 0,
    };
    let tickets = vec![said(0), said(1)];
    History { clock_tolerance_ms: 0, complete: true, tickets, requests, charges, events }
}

fn order(order: &str, buyer: &str, status: &str, version: u64) -> OrderSeen {
    OrderSeen {
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

fn request(buyer: &str, asked: Asked, (from_ms, to_ms): (u64, u64), answer: Answer) -> Request {
    Request { buyer: buyer.into(), asked, from_ms, to_ms, answer }
}

fn place(buyer: &str, key: Option<&str>, time: (u64, u64), answer: Answer) -> Request {
    let asked = Asked::Place { ticket: "t".into(), key: key.map(Into::into) };
    request(buyer, asked, time, answer)
}

fn placed(id: &str, buyer: &str, time: (u64, u64)) -> Request {
    let answer = Answer::Order(order(id, buyer, "awaiting_payment", 0));
    place(buyer, None, time, answer)
}

fn cancel(id: &str, buyer: &str, time: (u64, u64), answer: Answer) -> Request {
    request(buyer, Asked::Cancel { order: id.into() }, time, answer)
}

fn show(id: &str, buyer: &str, time: (u64, u64), status: &str, version: u64) -> Request {
    let answer = Answer::Order(order(id, buyer, status, version));
    request(buyer, Asked::Show { order: id.into() }, time, answer)
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

fn charge(payment: &str, order: &str, at_ms: u64) -> Charge {
    Charge { payment: payment.into(), order: order.into(), at_ms }
}

#[track_caller]
fn makes_sense(history: &History) {
    assert_eq!(explain(history), Ok(()));
}

#[track_caller]
fn makes_no_sense(history: &History, because: &str) {
    let contradiction = explain(history).expect_err("it makes no sense").to_string();
    assert!(contradiction.contains(because), "{contradiction}");
}

#[test]
fn nothing_at_all_makes_sense() {
    makes_sense(&history(vec![], vec![], vec![]));
}

#[test]
fn two_at_once_and_one_gets_it_makes_sense_whoever_it_is() {
    for (alice, bob) in [((0, 90), (10, 50)), ((10, 50), (0, 90))] {
        let requests = vec![placed("a", "alice", alice), place("bob", None, bob, Answer::Reserved)];
        makes_sense(&history(requests, vec![], vec![created("a", "alice", 100)]));
    }
}

#[test]
fn two_who_both_get_it_make_no_sense() {
    let requests = vec![placed("a", "alice", (0, 10)), placed("b", "bob", (5, 20))];
    let events = vec![created("a", "alice", 30), created("b", "bob", 40)];
    makes_no_sense(&history(requests, vec![], events), "t: between 5 and 20");
}

#[test]
fn a_ticket_let_go_in_between_makes_sense() {
    let requests = vec![
        placed("a", "alice", (0, 10)),
        cancel("a", "alice", (20, 40), Answer::Cancelled),
        placed("b", "bob", (30, 50)),
    ];
    let cancelled = event("OrderCancelled", "a", "alice", 1, 60);
    let events = vec![created("a", "alice", 15), cancelled, created("b", "bob", 60)];
    makes_sense(&history(requests.clone(), vec![], events.clone()));

    let mut too_early = requests;
    (too_early[2].from_ms, too_early[2].to_ms) = (12, 19);
    makes_no_sense(&history(too_early, vec![], events), "bob");
}

#[test]
fn reserved_by_nobody_makes_no_sense() {
    let requests = vec![place("bob", None, (0, 10), Answer::Reserved)];
    makes_no_sense(&history(requests, vec![], vec![]), "bob got Reserved");
}

#[test]
fn reserved_after_the_hold_has_lapsed_makes_no_sense() {
    let refused = |from_ms| place("bob", None, (from_ms, 40_000), Answer::Reserved);
    let expired = event("OrderExpired", "a", "alice", 1, 50_000);
    let events = vec![created("a", "alice", 20), expired];
    let requests = |from_ms| vec![placed("a", "alice", (0, 10)), refused(from_ms)];
    makes_sense(&history(requests(29_999), vec![], events.clone()));
    makes_no_sense(&history(requests(30_000), vec![], events.clone()), "bob got Reserved");
    let tolerant = history(requests(30_000), vec![], events);
    makes_sense(&History { clock_tolerance_ms: 1, ..tolerant });
}

#[test]
fn sold_makes_sense_only_once_it_is_paid() {
    let requests =
        |time| vec![placed("a", "alice", (0, 10)), place("bob", None, time, Answer::Sold)];
    let events = vec![created("a", "alice", 20), paid("a", "alice", "p", 1, 200)];
    let charges = vec![charge("p", "a", 100)];
    makes_sense(&history(requests((50, 150)), charges.clone(), events.clone()));
    makes_no_sense(&history(requests((50, 90)), charges, events), "bob got Sold");
}

#[test]
fn an_expiry_before_its_time_makes_no_sense() {
    let expired = |at_ms| event("OrderExpired", "a", "alice", 1, at_ms);
    let events = |at_ms| vec![created("a", "alice", 20), expired(at_ms)];
    let requests = || vec![placed("a", "alice", (0, 10))];
    makes_sense(&history(requests(), vec![], events(30_000)));
    makes_no_sense(&history(requests(), vec![], events(29_999)), "OrderExpired of a");
}

#[test]
fn an_order_that_is_shown_as_it_was_before_makes_no_sense() {
    let requests = |first, second: (&str, u64)| {
        vec![
            placed("a", "alice", (0, 10)),
            cancel("a", "alice", (20, 30), Answer::Cancelled),
            show("a", "alice", first, "cancelled", 1),
            show("a", "alice", (60, 70), second.0, second.1),
        ]
    };
    let cancelled = event("OrderCancelled", "a", "alice", 1, 90);
    let events = vec![created("a", "alice", 15), cancelled];
    makes_sense(&history(requests((40, 50), ("cancelled", 1)), vec![], events.clone()));
    let back = history(requests((40, 50), ("awaiting_payment", 0)), vec![], events);
    makes_no_sense(&back, "awaiting_payment");
}

#[test]
fn a_due_order_is_shown_as_expired_and_never_as_awaiting() {
    let requests = |status| {
        vec![placed("a", "alice", (0, 10)), show("a", "alice", (30_000, 30_010), status, 0)]
    };
    let expired = event("OrderExpired", "a", "alice", 1, 60_000);
    let events = vec![created("a", "alice", 20), expired];
    makes_sense(&history(requests("expired"), vec![], events.clone()));
    makes_no_sense(&history(requests("awaiting_payment"), vec![], events), "was due");
}

#[test]
fn an_order_nobody_asked_for_makes_no_sense() {
    let unknown = place("alice", None, (0, 10), Answer::Unknown);
    makes_sense(&history(vec![unknown], vec![], vec![created("a", "alice", 20)]));
    let refused = place("alice", None, (0, 10), Answer::NoSuchTicket);
    let nobody = history(vec![refused], vec![], vec![created("a", "alice", 20)]);
    makes_no_sense(&nobody, "nobody asked for");
}

#[test]
fn a_cancellation_nobody_asked_for_makes_no_sense() {
    let requests =
        vec![placed("a", "alice", (0, 10)), cancel("a", "bob", (20, 30), Answer::NoSuchOrder)];
    let cancelled = event("OrderCancelled", "a", "alice", 1, 90);
    let events = vec![created("a", "alice", 15), cancelled];
    makes_no_sense(&history(requests, vec![], events), "nobody asked for");
}

#[test]
fn a_key_with_two_orders_makes_no_sense() {
    let answer = |id| Answer::Order(order(id, "alice", "awaiting_payment", 0));
    let requests = |second| {
        vec![
            place("alice", Some("k"), (0, 10), answer("a")),
            place("alice", Some("k"), (20, 30), answer(second)),
        ]
    };
    let events = vec![created("a", "alice", 15)];
    makes_sense(&history(requests("a"), vec![], events.clone()));
    makes_no_sense(&history(requests("b"), vec![], events), "key k of alice");
}

#[test]
fn a_key_refused_when_it_was_new_makes_no_sense() {
    let requests = vec![place("alice", Some("k"), (0, 10), Answer::KeyReused)];
    makes_no_sense(&history(requests, vec![], vec![]), "when it was new");
}

#[test]
fn another_buyers_order_makes_no_sense() {
    let leak = request("bob", Asked::List, (20, 30), {
        Answer::Orders(vec![order("a", "alice", "awaiting_payment", 0)])
    });
    let requests = vec![placed("a", "alice", (0, 10)), leak];
    makes_no_sense(&history(requests, vec![], vec![created("a", "alice", 15)]), "bob is shown");
    let requests =
        vec![placed("a", "alice", (0, 10)), cancel("a", "bob", (20, 30), Answer::Cancelled)];
    makes_no_sense(&history(requests, vec![], vec![created("a", "alice", 15)]), "bob got");
}

#[test]
fn a_price_nobody_said_makes_no_sense() {
    let dear = OrderSeen { price_cents: 1, ..order("a", "alice", "awaiting_payment", 0) };
    let requests = vec![place("alice", None, (0, 10), Answer::Order(dear))];
    makes_no_sense(&history(requests, vec![], vec![created("a", "alice", 15)]), "nobody said");
}

#[test]
fn a_price_that_changes_makes_no_sense() {
    let requests = vec![placed("a", "alice", (0, 10)), {
        let changed = OrderSeen {
            ticket_version: 1,
            title: "v1".into(),
            price_cents: 2_001,
            ..order("a", "alice", "awaiting_payment", 0)
        };
        request("alice", Asked::Show { order: "a".into() }, (20, 30), Answer::Order(changed))
    }];
    makes_no_sense(&history(requests, vec![], vec![created("a", "alice", 15)]), "before");
}

#[test]
fn versions_out_of_order_make_no_sense_and_repeats_do() {
    let requests =
        || vec![placed("a", "alice", (0, 10)), cancel("a", "alice", (20, 30), Answer::Cancelled)];
    let first = created("a", "alice", 15);
    let second = event("OrderCancelled", "a", "alice", 1, 90);
    let again = Event { at_ms: 99, ..first.clone() };
    makes_sense(&history(requests(), vec![], vec![first.clone(), second.clone(), again]));
    makes_no_sense(&history(requests(), vec![], vec![second, first]), "before version 0");
}

#[test]
fn a_charge_is_booked_once() {
    let requests = || vec![placed("a", "alice", (0, 10))];
    let charges = || vec![charge("p", "a", 20), charge("q", "a", 21)];
    let first = created("a", "alice", 15);
    let bought = paid("a", "alice", "p", 1, 40);
    let back = Event { status: "paid".into(), ..refund("a", "q", "already_paid", 2, 50) };
    let events = vec![first.clone(), bought.clone(), back];
    makes_sense(&history(requests(), charges(), events));
    let dropped = history(requests(), charges(), vec![first.clone(), bought.clone()]);
    makes_no_sense(&dropped, "booked 0 times");
    let twice = Event { status: "paid".into(), ..refund("a", "p", "already_paid", 2, 50) };
    let counted_twice = history(requests(), charges(), vec![first, bought, twice]);
    makes_no_sense(&counted_twice, "times");
}

#[test]
fn a_payment_without_a_charge_makes_no_sense() {
    let events = vec![created("a", "alice", 15), paid("a", "alice", "p", 1, 40)];
    makes_no_sense(&history(vec![placed("a", "alice", (0, 10))], vec![], events), "no charge");
}

#[test]
fn a_late_payment_is_given_back_only_if_somebody_took_the_ticket() {
    let bob = Answer::Order(OrderSeen {
        expires_at_ms: 70_000,
        ..order("b", "bob", "awaiting_payment", 0)
    });
    let taken = || place("bob", None, (40_000, 40_010), bob.clone());
    let of_bob = |event: Event| Event { expires_at_ms: 70_000, ..event };
    let events = || {
        vec![
            created("a", "alice", 15),
            event("OrderExpired", "a", "alice", 1, 30_010),
            refund("a", "p", "ticket_taken", 2, 50_000),
        ]
    };
    let charges = || vec![charge("p", "a", 35_000)];
    let free = history(vec![placed("a", "alice", (0, 10))], charges(), events());
    makes_no_sense(&free, "its ticket was taken");

    let requests = || vec![placed("a", "alice", (0, 10)), taken()];
    let mut with_bob = events();
    with_bob.push(of_bob(created("b", "bob", 40_020)));
    with_bob.push(of_bob(event("OrderExpired", "b", "bob", 1, 90_010)));
    makes_sense(&history(requests(), charges(), with_bob.clone()));

    // Charged when bob's hold had lapsed, though nothing had expired his order yet.
    with_bob[2].at_ms = 80_010;
    let charges = vec![charge("p", "a", 80_000)];
    makes_no_sense(&history(requests(), charges, with_bob), "its ticket was taken");
}

#[test]
fn a_history_that_is_not_complete_is_held_to_less() {
    let requests = vec![placed("a", "alice", (0, 10))];
    let untold = history(requests, vec![charge("p", "a", 20)], vec![]);
    makes_no_sense(&untold, "alice got");
    makes_sense(&History { complete: false, ..untold });
}

#[test]
fn a_history_is_the_same_after_a_trip_through_json() {
    let requests = vec![placed("a", "alice", (0, 10)), place("b", None, (0, 1), Answer::Unknown)];
    let history = history(requests, vec![charge("p", "a", 1)], vec![created("a", "alice", 15)]);
    let json = serde_json::to_string(&history).unwrap();
    assert_eq!(serde_json::from_str::<History>(&json).unwrap(), history);
}

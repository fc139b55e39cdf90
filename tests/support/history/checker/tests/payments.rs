//! Payments and refunds.

use super::*;

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

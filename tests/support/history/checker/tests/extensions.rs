//! Extended holds.

use super::*;

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

//! Orders and their requests.

use super::*;

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

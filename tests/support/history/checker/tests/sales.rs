//! Withdrawn and changed tickets, free tickets, and the limit of holds.

use super::*;

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

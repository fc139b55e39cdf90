use proptest::prelude::*;

use super::*;
use crate::{OrderEvent, Price, TicketVersion};

const EXPIRES_AT_MS: u64 = 30_000;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_epoch_ms(ms).unwrap()
}

fn payment(text: &str) -> PaymentId {
    text.parse().unwrap()
}

fn order(status: Status) -> Order {
    let request = NewOrder {
        id: OrderId::from_bytes([7; 16]),
        user_id: "alice".parse().unwrap(),
        now: at(0),
        hold: Duration::from_millis(EXPIRES_AT_MS),
        correlation_id: "request-1".parse().unwrap(),
    };
    let ticket = Ticket {
        id: "ticket-1".parse().unwrap(),
        title: "Concert".parse().unwrap(),
        price: Price::from_minor(2_000).unwrap(),
        version: TicketVersion::new(3),
    };
    Order { status, ..Order::new(request, ticket) }
}

fn paid_by(id: &str) -> Status {
    Status::Paid { payment_id: payment(id) }
}

fn expire_at(ms: u64) -> Command {
    Command::Expire { now: at(ms) }
}

fn pay(id: &str, ticket_is_free: bool) -> Command {
    Command::Pay { payment_id: payment(id), ticket_is_free }
}

fn applies(before: &Order, command: &Command, status: Status, lock: LockChange) {
    let after = Order { status, version: before.version.next(), ..before.clone() };
    let expected = Transition { expected_version: before.version, order: after, lock };
    assert_eq!(decide(before, command), Decision::Apply(expected));
}

fn refunds(before: &Order, id: &str, reason: RefundReason) {
    for ticket_is_free in [false, true] {
        if before.status == Status::Expired && ticket_is_free {
            continue;
        }
        let mut after = Order { version: before.version.next(), ..before.clone() };
        after.refunds_due.push(RefundDue { payment_id: payment(id), reason });
        let expected = Transition {
            expected_version: before.version,
            order: after,
            lock: LockChange::Unchanged,
        };
        assert_eq!(decide(before, &pay(id, ticket_is_free)), Decision::Apply(expected));
    }
}

#[test]
fn new_order_awaits_payment_for_its_hold() {
    let order = order(Status::AwaitingPayment);
    assert_eq!(order.version, OrderVersion::FIRST);
    assert_eq!(order.expires_at, at(EXPIRES_AT_MS));
    assert!(order.refunds_due.is_empty());
}

#[test]
fn awaiting_order_cancels_due_or_not() {
    applies(
        &order(Status::AwaitingPayment),
        &Command::Cancel,
        Status::Cancelled,
        LockChange::Release,
    );
}

#[test]
fn awaiting_order_does_not_expire_before_it_is_due() {
    let refused = Decision::Refuse(Refusal::NotDue { until: at(EXPIRES_AT_MS) });
    assert_eq!(decide(&order(Status::AwaitingPayment), &expire_at(EXPIRES_AT_MS - 1)), refused);
}

#[test]
fn awaiting_order_expires_once_due() {
    for ms in [EXPIRES_AT_MS, EXPIRES_AT_MS + 1] {
        applies(
            &order(Status::AwaitingPayment),
            &expire_at(ms),
            Status::Expired,
            LockChange::Release,
        );
    }
}

#[test]
fn awaiting_order_is_paid_due_or_not() {
    for ticket_is_free in [false, true] {
        applies(
            &order(Status::AwaitingPayment),
            &pay("p1", ticket_is_free),
            paid_by("p1"),
            LockChange::Sell,
        );
    }
}

#[test]
fn paid_order_refuses_a_cancellation() {
    assert_eq!(decide(&order(paid_by("p1")), &Command::Cancel), Decision::Refuse(Refusal::Paid));
}

#[test]
fn paid_order_never_expires() {
    for ms in [0, EXPIRES_AT_MS, EXPIRES_AT_MS * 2] {
        assert_eq!(decide(&order(paid_by("p1")), &expire_at(ms)), Decision::AlreadyDone);
    }
}

#[test]
fn paid_order_ignores_its_own_payment() {
    assert_eq!(decide(&order(paid_by("p1")), &pay("p1", false)), Decision::AlreadyDone);
}

#[test]
fn paid_order_makes_another_payment_a_refund_due() {
    refunds(&order(paid_by("p1")), "p2", RefundReason::AlreadyPaid);
}

#[test]
fn cancelled_order_ignores_a_cancellation() {
    assert_eq!(decide(&order(Status::Cancelled), &Command::Cancel), Decision::AlreadyDone);
}

#[test]
fn cancelled_order_never_expires() {
    for ms in [0, EXPIRES_AT_MS] {
        assert_eq!(decide(&order(Status::Cancelled), &expire_at(ms)), Decision::AlreadyDone);
    }
}

#[test]
fn cancelled_order_makes_a_payment_a_refund_due() {
    refunds(&order(Status::Cancelled), "p1", RefundReason::OrderCancelled);
}

#[test]
fn expired_order_ignores_a_cancellation() {
    assert_eq!(decide(&order(Status::Expired), &Command::Cancel), Decision::AlreadyDone);
}

#[test]
fn expired_order_ignores_an_expiry() {
    for ms in [0, EXPIRES_AT_MS] {
        assert_eq!(decide(&order(Status::Expired), &expire_at(ms)), Decision::AlreadyDone);
    }
}

#[test]
fn expired_order_buys_a_free_ticket_with_a_late_payment() {
    applies(&order(Status::Expired), &pay("p1", true), paid_by("p1"), LockChange::Relock);
}

#[test]
fn expired_order_makes_a_payment_a_refund_due_if_the_ticket_is_taken() {
    refunds(&order(Status::Expired), "p1", RefundReason::TicketTaken);
}

#[test]
fn payment_with_a_refund_due_never_buys() {
    for status in [paid_by("p1"), Status::Cancelled, Status::Expired] {
        let before = order(status);
        let Decision::Apply(transition) = decide(&before, &pay("p2", false)) else {
            panic!("a refund is due");
        };
        for ticket_is_free in [false, true] {
            assert_eq!(
                decide(transition.order(), &pay("p2", ticket_is_free)),
                Decision::AlreadyDone
            );
        }
    }
}

#[test]
fn every_transition_has_its_event() {
    let awaiting = order(Status::AwaitingPayment);
    assert_eq!(OrderEvent::between(None, &awaiting), Some(OrderEvent::Created));
    for (before, command, event) in [
        (Status::AwaitingPayment, Command::Cancel, OrderEvent::Cancelled),
        (Status::AwaitingPayment, expire_at(EXPIRES_AT_MS), OrderEvent::Expired),
        (Status::AwaitingPayment, pay("p1", false), OrderEvent::Paid { payment_id: payment("p1") }),
        (Status::Expired, pay("p1", true), OrderEvent::Paid { payment_id: payment("p1") }),
        (
            Status::Cancelled,
            pay("p1", true),
            OrderEvent::RefundDue(RefundDue {
                payment_id: payment("p1"),
                reason: RefundReason::OrderCancelled,
            }),
        ),
    ] {
        let before = order(before);
        let Decision::Apply(transition) = decide(&before, &command) else { panic!("{command:?}") };
        assert_eq!(OrderEvent::between(Some(&before), transition.order()), Some(event));
    }
}

#[test]
fn final_events_settle_the_expiry() {
    for event in
        [OrderEvent::Paid { payment_id: payment("p1") }, OrderEvent::Cancelled, OrderEvent::Expired]
    {
        assert!(event.settles_expiry(), "{event:?}");
    }
    let refund = RefundDue { payment_id: payment("p2"), reason: RefundReason::AlreadyPaid };
    for event in [OrderEvent::Created, OrderEvent::RefundDue(refund)] {
        assert!(!event.settles_expiry(), "{event:?}");
    }
}

#[test]
fn refund_reasons_have_stable_names() {
    let reasons =
        [RefundReason::AlreadyPaid, RefundReason::OrderCancelled, RefundReason::TicketTaken];
    let names = ["already_paid", "order_cancelled", "ticket_taken"];
    assert_eq!(reasons.map(RefundReason::name), names);
}

#[test]
fn order_version_counts_from_zero() {
    assert_eq!(OrderVersion::FIRST.number(), 0);
    assert_eq!(OrderVersion::new(7).next().number(), 8);
}

#[test]
fn due_order_is_effectively_expired() {
    let awaiting = order(Status::AwaitingPayment);
    assert_eq!(awaiting.effective_status(at(EXPIRES_AT_MS - 1)).name(), "awaiting_payment");
    assert_eq!(awaiting.effective_status(at(EXPIRES_AT_MS)).name(), "expired");
    for status in [paid_by("p1"), Status::Cancelled, Status::Expired] {
        let name = status.name();
        assert_eq!(order(status).effective_status(at(EXPIRES_AT_MS)).name(), name);
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Cancel),
        (0..2 * EXPIRES_AT_MS).prop_map(expire_at),
        ("p[1-4]", any::<bool>()).prop_map(|(id, free)| pay(&id, free)),
    ]
}

/// Results of a payment: (it bought the order, number of refunds due).
fn uses_of(order: &Order, id: &PaymentId) -> (usize, usize) {
    let paid = matches!(&order.status, Status::Paid { payment_id } if payment_id == id);
    let owed = order.refunds_due.iter().filter(|refund| refund.payment_id == *id).count();
    (usize::from(paid), owed)
}

proptest! {
    #[test]
    fn promises_hold_under_any_sequence_of_commands(
        commands in proptest::collection::vec(any_command(), 0..20),
    ) {
        let mut order = order(Status::AwaitingPayment);
        let first = order.clone();
        for command in &commands {
            let Decision::Apply(transition) = decide(&order, command) else { continue };
            let after = transition.order();

            prop_assert_eq!(transition.expected_version(), order.version);
            prop_assert_eq!(after.version, order.version.next());
            prop_assert_eq!(
                (after.id, &after.user_id, &after.ticket, after.created_at, after.expires_at),
                (first.id, &first.user_id, &first.ticket, first.created_at, first.expires_at)
            );
            // The lock follows the order: released when a live order ends, taken when an ended order
            // becomes live.
            let event = OrderEvent::between(Some(&order), after);
            prop_assert!(event.is_some(), "every change has an event");
            prop_assert_eq!(OrderEvent::between(Some(after), after), None);
            let expected_lock = match (order.status.is_live(), after.status.is_live()) {
                (true, false) => LockChange::Release,
                (false, true) => LockChange::Relock,
                (true, true) if order.status != after.status => LockChange::Sell,
                (true, true) | (false, false) => LockChange::Unchanged,
            };
            prop_assert_eq!(transition.lock(), expected_lock);
            if matches!(order.status, Status::Paid { .. }) {
                prop_assert_eq!(&after.status, &order.status, "paid is permanent");
            }
            order = after.clone();
        }
        for command in &commands {
            if let Command::Pay { payment_id, .. } = command {
                let (paid, owed) = uses_of(&order, payment_id);
                prop_assert_eq!(paid + owed, 1, "each payment buys or is refunded, once");
            }
        }
    }

    #[test]
    fn repeated_command_changes_nothing(
        commands in proptest::collection::vec(any_command(), 1..10),
    ) {
        let mut order = order(Status::AwaitingPayment);
        for command in &commands {
            if let Decision::Apply(transition) = decide(&order, command) {
                order = transition.order().clone();
                prop_assert!(!matches!(decide(&order, command), Decision::Apply(_)));
            }
        }
    }
}

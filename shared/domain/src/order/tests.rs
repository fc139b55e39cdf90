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
fn a_new_order_awaits_payment_until_the_hold_lapses() {
    let order = order(Status::AwaitingPayment);
    assert_eq!(order.version, OrderVersion::FIRST);
    assert_eq!(order.expires_at, at(EXPIRES_AT_MS));
    assert!(order.refunds_due.is_empty());
}

#[test]
fn awaiting_and_cancelled_by_its_owner_is_cancelled_due_or_not() {
    applies(
        &order(Status::AwaitingPayment),
        &Command::Cancel,
        Status::Cancelled,
        LockChange::Release,
    );
}

#[test]
fn awaiting_and_not_due_does_not_expire() {
    let refused = Decision::Refuse(Refusal::NotDue { until: at(EXPIRES_AT_MS) });
    assert_eq!(decide(&order(Status::AwaitingPayment), &expire_at(EXPIRES_AT_MS - 1)), refused);
}

#[test]
fn awaiting_and_due_expires() {
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
fn awaiting_and_charged_is_paid_for_good_due_or_not() {
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
fn paid_cannot_be_cancelled() {
    assert_eq!(decide(&order(paid_by("p1")), &Command::Cancel), Decision::Refuse(Refusal::Paid));
}

#[test]
fn paid_never_expires() {
    for ms in [0, EXPIRES_AT_MS, EXPIRES_AT_MS * 2] {
        assert_eq!(decide(&order(paid_by("p1")), &expire_at(ms)), Decision::AlreadyDone);
    }
}

#[test]
fn paid_and_charged_the_same_again_is_done() {
    assert_eq!(decide(&order(paid_by("p1")), &pay("p1", false)), Decision::AlreadyDone);
}

#[test]
fn paid_and_charged_another_time_owes_that_back() {
    refunds(&order(paid_by("p1")), "p2", RefundReason::AlreadyPaid);
}

#[test]
fn cancelled_and_cancelled_again_is_done() {
    assert_eq!(decide(&order(Status::Cancelled), &Command::Cancel), Decision::AlreadyDone);
}

#[test]
fn cancelled_never_expires() {
    for ms in [0, EXPIRES_AT_MS] {
        assert_eq!(decide(&order(Status::Cancelled), &expire_at(ms)), Decision::AlreadyDone);
    }
}

#[test]
fn cancelled_and_charged_owes_that_back() {
    refunds(&order(Status::Cancelled), "p1", RefundReason::OrderCancelled);
}

#[test]
fn expired_and_cancelled_is_done() {
    assert_eq!(decide(&order(Status::Expired), &Command::Cancel), Decision::AlreadyDone);
}

#[test]
fn expired_and_expired_again_is_done() {
    for ms in [0, EXPIRES_AT_MS] {
        assert_eq!(decide(&order(Status::Expired), &expire_at(ms)), Decision::AlreadyDone);
    }
}

#[test]
fn expired_and_charged_late_takes_a_free_ticket_again() {
    applies(&order(Status::Expired), &pay("p1", true), paid_by("p1"), LockChange::Relock);
}

#[test]
fn expired_and_charged_late_owes_that_back_if_the_ticket_is_gone() {
    refunds(&order(Status::Expired), "p1", RefundReason::TicketTaken);
}

#[test]
fn a_charge_whose_refund_is_due_buys_nothing_any_more() {
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
fn every_change_is_told_by_its_event() {
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
fn nothing_is_left_to_expire_once_an_order_is_paid_or_over() {
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
fn the_reasons_for_refunds_have_names_that_never_change() {
    let reasons =
        [RefundReason::AlreadyPaid, RefundReason::OrderCancelled, RefundReason::TicketTaken];
    let names = ["already_paid", "order_cancelled", "ticket_taken"];
    assert_eq!(reasons.map(RefundReason::name), names);
}

#[test]
fn the_changes_of_an_order_are_counted_from_zero() {
    assert_eq!(OrderVersion::FIRST.number(), 0);
    assert_eq!(OrderVersion::new(7).next().number(), 8);
}

#[test]
fn an_order_that_is_due_is_shown_as_expired() {
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

/// Where each charge that came in has ended up: (paid the order, owed back).
fn uses_of(order: &Order, id: &PaymentId) -> (usize, usize) {
    let paid = matches!(&order.status, Status::Paid { payment_id } if payment_id == id);
    let owed = order.refunds_due.iter().filter(|refund| refund.payment_id == *id).count();
    (usize::from(paid), owed)
}

proptest! {
    #[test]
    fn any_commands_in_any_order_keep_the_promises(
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
            // The lock follows the order: it is given up, kept or taken exactly as the order
            // dies, lives on or lives again.
            let event = OrderEvent::between(Some(&order), after);
            prop_assert!(event.is_some(), "every change is told");
            prop_assert_eq!(OrderEvent::between(Some(after), after), None);
            let expected_lock = match (order.status.is_live(), after.status.is_live()) {
                (true, false) => LockChange::Release,
                (false, true) => LockChange::Relock,
                (true, true) if order.status != after.status => LockChange::Sell,
                (true, true) | (false, false) => LockChange::Unchanged,
            };
            prop_assert_eq!(transition.lock(), expected_lock);
            if matches!(order.status, Status::Paid { .. }) {
                prop_assert_eq!(&after.status, &order.status, "paid is for good");
            }
            order = after.clone();
        }
        for command in &commands {
            if let Command::Pay { payment_id, .. } = command {
                let (paid, owed) = uses_of(&order, payment_id);
                prop_assert_eq!(paid + owed, 1, "each charge buys or is owed back, once");
            }
        }
    }

    #[test]
    fn a_command_repeated_changes_nothing_more(
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

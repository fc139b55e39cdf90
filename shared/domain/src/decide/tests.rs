use proptest::prelude::*;

use super::*;
use crate::{
    Lock, NewOrder, OrderEvent, OrderId, PaymentId, Price, Sale, Ticket, TicketReplica,
    TicketVersion,
};

const EXPIRES_AT_MS: u64 = 30_000;
const LATE_LIMIT_MS: u64 = 600_000;
const PRICE: u64 = 2_000;
const UNREAD: TicketState = TicketState::Unread;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_epoch_ms(ms).unwrap()
}

fn payment_id(text: &str) -> PaymentId {
    text.parse().unwrap()
}

fn price(minor: u64) -> Price {
    Price::from_minor(minor).unwrap()
}

fn order_for(byte: u8, ticket_id: &str) -> Order {
    let request = NewOrder {
        id: OrderId::from_bytes([byte; 16]),
        user_id: "alice".parse().unwrap(),
        now: at(0),
        hold: Duration::from_millis(EXPIRES_AT_MS),
        correlation_id: "request-1".parse().unwrap(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok(),
    };
    let ticket = Ticket {
        id: ticket_id.parse().unwrap(),
        title: "Concert".parse().unwrap(),
        price: price(PRICE),
        version: TicketVersion::new(3),
    };
    Order::new(request, ticket)
}

fn order(status: Status) -> Order {
    Order { status, ..order_for(7, "ticket-1") }
}

fn paid_by(id: &str) -> Status {
    Status::Paid { payment_id: payment_id(id) }
}

fn expire_at(ms: u64) -> Command {
    Command::Expire { now: at(ms) }
}

/// A payment sent and handled at this time.
fn pay_at(id: &str, amount: Option<u64>, ms: u64) -> Command {
    Command::Pay {
        payment: Payment {
            id: payment_id(id),
            order_id: OrderId::from_bytes([7; 16]),
            amount: amount.map(price),
            sent_at: at(ms),
        },
        late_limit: Duration::from_millis(LATE_LIMIT_MS),
        now: at(ms),
    }
}

fn pay(id: &str) -> Command {
    pay_at(id, Some(PRICE), 1_000)
}

fn pay_late(id: &str) -> Command {
    pay_at(id, Some(PRICE), EXPIRES_AT_MS)
}

fn found(availability: Availability, minor: u64) -> TicketState {
    let ticket = Ticket { price: price(minor), ..order_for(7, "ticket-1").ticket };
    let replica = TicketReplica { sale: Sale::Open(ticket), lock: Lock::Free, locked_for: None };
    TicketState::Found(Box::new(FoundTicket { replica, availability }))
}

fn lapsed() -> Availability {
    Availability::Lapsed(Takeover::Ended(OrderId::from_bytes([8; 16])))
}

fn reserved() -> Availability {
    Availability::Reserved { until: at(99_000) }
}

fn applied(before: &Order, command: &Command, ticket: &TicketState) -> Transition {
    let Decision::Apply(transition) = decide(before, command, ticket) else {
        panic!("{command:?} does not apply to {before:?}");
    };
    transition
}

#[expect(clippy::needless_pass_by_value, reason = "calls are easier to read")]
fn applies(
    before: &Order,
    command: &Command,
    ticket: &TicketState,
    status: Status,
    lock: LockChange,
) {
    let after = Order { status, version: before.version.next(), ..before.clone() };
    let transition = applied(before, command, ticket);
    assert_eq!((transition.order(), transition.lock()), (&after, &lock));
    assert_eq!(transition.expected_version(), before.version);
    assert_eq!(transition.refund(), None);
}

fn refunds(before: &Order, command: &Command, ticket: &TicketState, reason: RefundReason) {
    let Command::Pay { payment, .. } = command else { panic!("{command:?} is not a payment") };
    let mut after = Order { version: before.version.next(), ..before.clone() };
    after.refunds_due.push(RefundDue::new(payment, reason));
    let transition = applied(before, command, ticket);
    assert_eq!((transition.order(), transition.lock()), (&after, &LockChange::Unchanged));
    let result = PaymentResult::RefundDue(reason);
    assert_eq!(transition.booked(), Some(&BookedPayment { payment: payment.clone(), result }));
    assert_eq!(transition.refund(), after.refunds_due.last());
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
    let awaiting = order(Status::AwaitingPayment);
    applies(&awaiting, &Command::Cancel, &UNREAD, Status::Cancelled, LockChange::Release);
}

#[test]
fn awaiting_order_does_not_expire_before_it_is_due() {
    let refused = Decision::Refuse(Refusal::NotDue { until: at(EXPIRES_AT_MS) });
    let early = expire_at(EXPIRES_AT_MS - 1);
    assert_eq!(decide(&order(Status::AwaitingPayment), &early, &UNREAD), refused);
}

#[test]
fn awaiting_order_expires_once_due() {
    let awaiting = order(Status::AwaitingPayment);
    for ms in [EXPIRES_AT_MS, EXPIRES_AT_MS + 1] {
        applies(&awaiting, &expire_at(ms), &UNREAD, Status::Expired, LockChange::Release);
    }
}

#[test]
fn ending_order_releases_its_own_lock_only() {
    let awaiting = order(Status::AwaitingPayment);
    for (command, status) in
        [(Command::Cancel, Status::Cancelled), (expire_at(EXPIRES_AT_MS), Status::Expired)]
    {
        let own = found(Availability::Own, PRICE);
        applies(&awaiting, &command, &own, status.clone(), LockChange::Release);
        for other in [Availability::Free, lapsed(), reserved(), Availability::Sold] {
            let other = found(other, PRICE);
            applies(&awaiting, &command, &other, status.clone(), LockChange::NotOwn);
        }
        applies(&awaiting, &command, &TicketState::Missing, status, LockChange::NotOwn);
    }
}

#[test]
fn payment_in_time_buys_without_a_read_of_the_ticket() {
    let awaiting = order(Status::AwaitingPayment);
    for amount in [None, Some(PRICE)] {
        let pay = pay_at("p1", amount, EXPIRES_AT_MS - 1);
        applies(&awaiting, &pay, &UNREAD, paid_by("p1"), LockChange::Sell);
        // A hold keeps its price.
        let dearer = found(Availability::Own, PRICE + 1);
        applies(&awaiting, &pay, &dearer, paid_by("p1"), LockChange::Sell);
    }
}

#[test]
fn payment_of_a_wrong_amount_is_a_refund_due_and_the_hold_continues() {
    for amount in [0, PRICE - 1, PRICE + 1, PRICE * 100] {
        let pay = pay_at("p1", Some(amount), 1_000);
        refunds(&order(Status::AwaitingPayment), &pay, &UNREAD, RefundReason::WrongAmount);
    }
}

#[test]
fn payment_in_time_follows_the_buy_back_rule_if_the_lock_is_not_its_own() {
    let awaiting = order(Status::AwaitingPayment);
    // Whatever the clock of the payment service says: the hold has not lapsed.
    let Command::Pay { mut payment, late_limit, .. } = pay("p1") else { panic!("a payment") };
    payment.sent_at = at(EXPIRES_AT_MS + LATE_LIMIT_MS + 1);
    let pay = Command::Pay { payment, late_limit, now: at(EXPIRES_AT_MS - 1) };
    let free = found(Availability::Free, PRICE);
    let lock = LockChange::BuyBack { takeover: None, now: at(EXPIRES_AT_MS - 1) };
    applies(&awaiting, &pay, &free, paid_by("p1"), lock);
    for (ticket, reason) in [
        (TicketState::Missing, RefundReason::TicketChanged),
        (found(Availability::Free, PRICE + 1), RefundReason::TicketChanged),
        (found(reserved(), PRICE), RefundReason::TicketTaken),
        (found(Availability::Sold, PRICE), RefundReason::TicketTaken),
    ] {
        refunds(&awaiting, &pay, &ticket, reason);
    }
}

#[test]
fn late_payment_reads_the_ticket_and_buys_if_it_can() {
    for status in [Status::AwaitingPayment, Status::Expired] {
        let due = order(status);
        for ms in [EXPIRES_AT_MS, EXPIRES_AT_MS + LATE_LIMIT_MS] {
            for amount in [None, Some(PRICE)] {
                let pay = pay_at("p1", amount, ms);
                assert_eq!(decide(&due, &pay, &UNREAD), Decision::ReadTicket);
                for (availability, takeover) in [
                    (Availability::Own, None),
                    (Availability::Free, None),
                    (lapsed(), Some(Takeover::Ended(OrderId::from_bytes([8; 16])))),
                ] {
                    let lock = LockChange::BuyBack { takeover, now: at(ms) };
                    applies(&due, &pay, &found(availability, PRICE), paid_by("p1"), lock);
                }
            }
        }
    }
}

/// Late payments that cannot buy, with the reason: the first condition that fails.
fn impossible_payments() -> Vec<(Command, TicketState, RefundReason)> {
    let late = pay_late("p1");
    let too_late = EXPIRES_AT_MS + LATE_LIMIT_MS + 1;
    let taken = || found(reserved(), PRICE + 1);
    vec![
        (pay_at("p1", Some(PRICE - 1), too_late), taken(), RefundReason::WrongAmount),
        (pay_at("p1", Some(PRICE - 1), too_late), UNREAD, RefundReason::WrongAmount),
        (pay_at("p1", None, too_late), taken(), RefundReason::TooLate),
        (pay_at("p1", None, too_late), UNREAD, RefundReason::TooLate),
        (late.clone(), taken(), RefundReason::TicketChanged),
        (late.clone(), TicketState::Missing, RefundReason::TicketChanged),
        (late.clone(), found(Availability::Own, PRICE - 1), RefundReason::TicketChanged),
        (late.clone(), found(reserved(), PRICE), RefundReason::TicketTaken),
        (late, found(Availability::Sold, PRICE), RefundReason::TicketTaken),
    ]
}

#[test]
fn late_payment_that_cannot_buy_expires_a_due_order_first() {
    let due = order(Status::AwaitingPayment);
    for (pay, ticket, reason) in impossible_payments() {
        let Decision::ApplyFirst(expiry) = decide(&due, &pay, &ticket) else {
            panic!("{pay:?} {ticket:?}");
        };
        let own = matches!(&ticket, TicketState::Unread)
            || matches!(&ticket, TicketState::Found(found) if found.availability == Availability::Own);
        let lock = if own { LockChange::Release } else { LockChange::NotOwn };
        assert_eq!((&expiry.order().status, expiry.lock()), (&Status::Expired, &lock));
        assert_eq!(expiry.booked(), None);
        refunds(expiry.order(), &pay, &ticket, reason);
    }
}

#[test]
fn late_payment_of_an_expired_order_has_the_first_reason_that_applies() {
    for (pay, ticket, reason) in impossible_payments() {
        refunds(&order(Status::Expired), &pay, &ticket, reason);
    }
}

#[test]
fn payment_sent_in_time_buys_however_late_it_arrives() {
    let arrives_at = at(EXPIRES_AT_MS + 10 * LATE_LIMIT_MS);
    let Command::Pay { payment, late_limit, .. } = pay("p1") else { panic!("a payment") };
    let pay = Command::Pay { payment, late_limit, now: arrives_at };
    for status in [Status::AwaitingPayment, Status::Expired] {
        let lock = LockChange::BuyBack { takeover: None, now: arrives_at };
        applies(&order(status), &pay, &found(Availability::Free, PRICE), paid_by("p1"), lock);
    }
}

#[test]
fn paid_order_refuses_a_cancellation() {
    let refused = Decision::Refuse(Refusal::Paid);
    assert_eq!(decide(&order(paid_by("p1")), &Command::Cancel, &UNREAD), refused);
}

#[test]
fn paid_order_never_expires() {
    for ms in [0, EXPIRES_AT_MS, EXPIRES_AT_MS * 2] {
        assert_eq!(decide(&order(paid_by("p1")), &expire_at(ms), &UNREAD), Decision::AlreadyDone);
    }
}

#[test]
fn paid_order_ignores_its_own_payment() {
    for pay in [pay("p1"), pay_late("p1"), pay_at("p1", Some(1), 1_000)] {
        assert_eq!(decide(&order(paid_by("p1")), &pay, &UNREAD), Decision::AlreadyDone);
    }
}

#[test]
fn paid_order_makes_another_payment_a_refund_due() {
    for pay in [pay("p2"), pay_late("p2"), pay_at("p2", Some(1), 1_000)] {
        refunds(&order(paid_by("p1")), &pay, &UNREAD, RefundReason::AlreadyPaid);
    }
}

#[test]
fn cancelled_order_ignores_a_cancellation() {
    let cancelled = order(Status::Cancelled);
    assert_eq!(decide(&cancelled, &Command::Cancel, &UNREAD), Decision::AlreadyDone);
}

#[test]
fn ended_order_ignores_an_expiry() {
    for status in [Status::Cancelled, Status::Expired] {
        for ms in [0, EXPIRES_AT_MS] {
            let ended = order(status.clone());
            assert_eq!(decide(&ended, &expire_at(ms), &UNREAD), Decision::AlreadyDone);
        }
    }
}

#[test]
fn cancelled_order_makes_a_payment_a_refund_due() {
    for pay in [pay("p1"), pay_late("p1"), pay_at("p1", Some(1), 1_000)] {
        refunds(&order(Status::Cancelled), &pay, &UNREAD, RefundReason::OrderCancelled);
    }
}

#[test]
fn expired_order_cancels_and_no_payment_can_buy_it_afterwards() {
    let expired = order(Status::Expired);
    applies(&expired, &Command::Cancel, &UNREAD, Status::Cancelled, LockChange::Unchanged);
    let cancelled = applied(&expired, &Command::Cancel, &UNREAD).into_order();
    let free = found(Availability::Free, PRICE);
    refunds(&cancelled, &pay("p1"), &free, RefundReason::OrderCancelled);
}

#[test]
fn payment_with_a_refund_due_never_buys() {
    let wrong = pay_at("p2", Some(1), 1_000);
    for status in [Status::AwaitingPayment, paid_by("p1"), Status::Cancelled] {
        let after = applied(&order(status), &wrong, &UNREAD).into_order();
        assert_eq!(decide(&after, &pay("p2"), &UNREAD), Decision::AlreadyDone);
    }
    let taken = found(Availability::Sold, PRICE);
    let after = applied(&order(Status::Expired), &pay_late("p2"), &taken).into_order();
    let free = found(Availability::Free, PRICE);
    assert_eq!(decide(&after, &pay_late("p2"), &free), Decision::AlreadyDone);
}

#[test]
fn order_has_room_for_20_refunds() {
    let mut order = order(Status::Cancelled);
    for number in 0..Order::MAX_REFUNDS {
        order = applied(&order, &pay(&format!("p{number}")), &UNREAD).into_order();
    }
    assert_eq!(order.refunds_due.len(), 20);
    let refused = Decision::Refuse(Refusal::TooManyRefunds);
    assert_eq!(decide(&order, &pay("one-more"), &UNREAD), refused);
    assert_eq!(decide(&order, &pay("p19"), &UNREAD), Decision::AlreadyDone);
}

#[test]
fn every_transition_has_its_event() {
    let awaiting = order(Status::AwaitingPayment);
    assert_eq!(OrderEvent::between(None, &awaiting), Some(OrderEvent::Created));
    let refund = |command: &Command, reason| {
        let Command::Pay { payment, .. } = command else { panic!("{command:?} is no payment") };
        OrderEvent::RefundDue(RefundDue::new(payment, reason))
    };
    let wrong = pay_at("p1", Some(1), 1_000);
    let free = found(Availability::Free, PRICE);
    for (before, command, event) in [
        (Status::AwaitingPayment, Command::Cancel, OrderEvent::Cancelled),
        (Status::Expired, Command::Cancel, OrderEvent::Cancelled),
        (Status::AwaitingPayment, expire_at(EXPIRES_AT_MS), OrderEvent::Expired),
        (
            Status::AwaitingPayment,
            pay("p1"),
            OrderEvent::Paid { payment_id: Some(payment_id("p1")) },
        ),
        (Status::AwaitingPayment, wrong.clone(), refund(&wrong, RefundReason::WrongAmount)),
        (Status::Expired, pay_late("p1"), OrderEvent::Paid { payment_id: Some(payment_id("p1")) }),
        (Status::Cancelled, pay("p1"), refund(&pay("p1"), RefundReason::OrderCancelled)),
    ] {
        let before = order(before);
        let after = applied(&before, &command, &free).into_order();
        assert_eq!(OrderEvent::between(Some(&before), &after), Some(event));
    }
}

#[test]
fn final_events_settle_the_expiry() {
    for event in [
        OrderEvent::Paid { payment_id: Some(payment_id("p1")) },
        OrderEvent::Cancelled,
        OrderEvent::Expired,
    ] {
        assert!(event.settles_expiry() && !event.sets_timer(), "{event:?}");
    }
    for event in [OrderEvent::Created, OrderEvent::Extended] {
        assert!(event.sets_timer(), "{event:?}");
    }
    let Command::Pay { payment, .. } = pay("p2") else { panic!("a payment") };
    let refund = RefundDue::new(&payment, RefundReason::AlreadyPaid);
    let without_timer = OrderEvent::Paid { payment_id: None };
    for event in
        [OrderEvent::Created, OrderEvent::Extended, OrderEvent::RefundDue(refund), without_timer]
    {
        assert!(!event.settles_expiry(), "{event:?}");
    }
}

fn start_at(sent_ms: u64, now_ms: u64) -> Command {
    Command::StartPayment {
        sent_at: at(sent_ms),
        time_to_pay: Duration::from_mins(5),
        now: at(now_ms),
    }
}

fn refunded(id: &str, amount: Option<u64>) -> Command {
    Command::Refund { payment_id: payment_id(id), amount: amount.map(price) }
}

#[test]
fn start_of_a_payment_extends_a_hold_once() {
    let awaiting = order(Status::AwaitingPayment);
    let extended = applied(&awaiting, &start_at(10_000, 12_000), &UNREAD);
    assert_eq!(extended.lock(), &LockChange::Extend);
    let order = extended.into_order();
    assert_eq!((order.expires_at, order.extended, order.version.number()), (at(310_000), true, 1));
    for before in [Some(&awaiting), None] {
        assert_eq!(OrderEvent::between(before, &order), Some(OrderEvent::Extended));
    }
    assert_eq!(decide(&order, &start_at(20_000, 20_000), &UNREAD), Decision::AlreadyDone);
    // The buyer pays in the longer hold.
    let pay = pay_at("p1", None, 309_999);
    assert_eq!(applied(&order, &pay, &UNREAD).lock(), &LockChange::Sell);
}

#[test]
fn start_of_a_payment_from_the_future_counts_from_now() {
    let awaiting = order(Status::AwaitingPayment);
    let order = applied(&awaiting, &start_at(9_000_000, 12_000), &UNREAD).into_order();
    assert_eq!(order.expires_at, at(312_000));
}

#[test]
fn start_of_a_payment_has_no_effect_on_a_hold_that_is_due_or_longer() {
    let awaiting = order(Status::AwaitingPayment);
    let done = |command: &Command, ticket: &TicketState| {
        assert_eq!(decide(&awaiting, command, ticket), Decision::AlreadyDone, "{command:?}");
    };
    done(&start_at(10_000, EXPIRES_AT_MS), &UNREAD);
    let no_time =
        Command::StartPayment { sent_at: at(10_000), time_to_pay: Duration::ZERO, now: at(10_000) };
    done(&no_time, &UNREAD);
    let shorter = Command::StartPayment {
        sent_at: at(0),
        time_to_pay: Duration::from_millis(EXPIRES_AT_MS),
        now: at(1),
    };
    done(&shorter, &UNREAD);
    // The lock does not name the order.
    done(&start_at(10_000, 10_000), &found(Availability::Free, PRICE));
    done(&start_at(10_000, 10_000), &TicketState::Missing);
    for status in [paid_by("p1"), Status::Free, Status::Cancelled, Status::Expired, gone_back("p1")]
    {
        let ended = order(status);
        assert_eq!(decide(&ended, &start_at(10_000, 10_000), &UNREAD), Decision::AlreadyDone);
    }
}

fn gone_back(id: &str) -> Status {
    Status::Refunded { payment_id: payment_id(id) }
}

#[test]
fn free_ticket_needs_no_payment_and_can_be_given_back() {
    let free = order(Status::Free);
    applies(&free, &Command::Cancel, &UNREAD, Status::Cancelled, LockChange::Release);
    assert_eq!(decide(&free, &expire_at(EXPIRES_AT_MS), &UNREAD), Decision::AlreadyDone);
    assert_eq!(decide(&free, &pay_at("p1", Some(0), 1_000), &UNREAD), Decision::AlreadyDone);
    for amount in [None, Some(1)] {
        refunds(&free, &pay_at("p1", amount, 1_000), &UNREAD, RefundReason::AlreadyPaid);
    }
}

#[test]
fn refund_of_the_payment_that_bought_the_order_voids_the_ticket() {
    let paid = order(paid_by("p1"));
    for amount in [None, Some(PRICE), Some(PRICE + 1)] {
        applies(&paid, &refunded("p1", amount), &UNREAD, gone_back("p1"), LockChange::Release);
    }
    let other = found(reserved(), PRICE);
    applies(&paid, &refunded("p1", None), &other, gone_back("p1"), LockChange::NotOwn);
    let partial = Decision::Refuse(Refusal::PartialRefund);
    assert_eq!(decide(&paid, &refunded("p1", Some(PRICE - 1)), &UNREAD), partial);

    let gone = order(gone_back("p1"));
    assert_eq!(decide(&gone, &refunded("p1", None), &UNREAD), Decision::AlreadyDone);
    // Events repeat: the payment arrives again after its refund.
    assert_eq!(decide(&gone, &pay("p1"), &UNREAD), Decision::AlreadyDone);
    refunds(&gone, &pay("p2"), &UNREAD, RefundReason::OrderRefunded);
    assert_eq!(decide(&gone, &Command::Cancel, &UNREAD), Decision::AlreadyDone);
    assert_eq!(decide(&gone, &expire_at(EXPIRES_AT_MS), &UNREAD), Decision::AlreadyDone);
}

#[test]
fn refund_that_is_due_is_settled_once() {
    let wrong = pay_at("p1", Some(500), 1_000);
    for status in [Status::AwaitingPayment, paid_by("p0"), Status::Free, Status::Cancelled] {
        let due = applied(&order(status), &wrong, &UNREAD).into_order();
        let partial = Decision::Refuse(Refusal::PartialRefund);
        assert_eq!(decide(&due, &refunded("p1", Some(499)), &UNREAD), partial);
        let settled = applied(&due, &refunded("p1", Some(500)), &UNREAD);
        assert_eq!(
            (settled.change(), settled.lock()),
            (&Change::Settled(0), &LockChange::Unchanged)
        );
        let after = settled.into_order();
        assert_eq!(
            (after.refunds_due[0].state, &after.status),
            (RefundState::Settled, &due.status)
        );
        let event = OrderEvent::between(Some(&due), &after);
        assert_eq!(event, Some(OrderEvent::RefundSettled(after.refunds_due[0].clone())));
        assert_eq!(decide(&after, &refunded("p1", None), &UNREAD), Decision::AlreadyDone);
        assert_eq!(decide(&after, &wrong, &UNREAD), Decision::AlreadyDone);
    }
}

#[test]
fn refund_of_an_unknown_payment_waits() {
    let unknown = Decision::Refuse(Refusal::UnknownPayment);
    for status in [
        Status::AwaitingPayment,
        paid_by("p0"),
        Status::Free,
        Status::Cancelled,
        Status::Expired,
        gone_back("p0"),
    ] {
        assert_eq!(decide(&order(status), &refunded("p1", None), &UNREAD), unknown);
    }
}

#[test]
fn slot_follows_the_hold() {
    let slot = Slot::new(3).unwrap();
    let held = |status| Order { slot: Some(slot), ..order(status) };
    let expected = at(EXPIRES_AT_MS);
    let freed = Some(SlotChange { slot, expected, until: None });
    let moved = Some(SlotChange { slot, expected, until: Some(at(310_000)) });
    let changes = |before: &Order, command: &Command, ticket: &TicketState| {
        applied(before, command, ticket).slot()
    };
    let awaiting = held(Status::AwaitingPayment);
    assert_eq!(changes(&awaiting, &Command::Cancel, &UNREAD), freed);
    assert_eq!(changes(&awaiting, &pay("p1"), &UNREAD), freed);
    assert_eq!(changes(&awaiting, &start_at(10_000, 10_000), &UNREAD), moved);
    assert_eq!(changes(&awaiting, &pay_at("p1", Some(1), 1_000), &UNREAD), None);
    // A lapsed hold has freed its slot already.
    assert_eq!(changes(&awaiting, &expire_at(EXPIRES_AT_MS), &UNREAD), None);
    let own = found(Availability::Own, PRICE);
    assert_eq!(changes(&awaiting, &pay_late("p1"), &own), None);
    assert_eq!(changes(&held(Status::Free), &Command::Cancel, &UNREAD), freed);
    for (status, command) in
        [(paid_by("p1"), refunded("p1", None)), (Status::Expired, Command::Cancel)]
    {
        assert_eq!(changes(&held(status), &command, &UNREAD), None);
    }
    assert_eq!(changes(&order(Status::AwaitingPayment), &Command::Cancel, &UNREAD), None);
}

#[test]
fn lapsed_lock_follows_the_order_that_it_names() {
    let awaiting = order(Status::AwaitingPayment);
    let find = |named: Option<&Order>, ms: u64| {
        Takeover::availability(&awaiting.ticket.id, awaiting.id, named, at(ms))
    };
    let ended = Availability::Lapsed(Takeover::Ended(awaiting.id));
    assert_eq!(find(None, EXPIRES_AT_MS), ended);
    assert_eq!(find(Some(&order_for(7, "ticket-2")), EXPIRES_AT_MS), ended);
    for status in [Status::Cancelled, Status::Expired, gone_back("p1")] {
        assert_eq!(find(Some(&order(status)), EXPIRES_AT_MS), ended);
    }
    for status in [paid_by("p1"), Status::Free] {
        assert_eq!(find(Some(&order(status)), EXPIRES_AT_MS), Availability::Sold);
    }
    let until = at(EXPIRES_AT_MS);
    assert_eq!(find(Some(&awaiting), EXPIRES_AT_MS - 1), Availability::Reserved { until });
    let expiry = applied(&awaiting, &expire_at(EXPIRES_AT_MS), &UNREAD);
    let lapsed = Availability::Lapsed(Takeover::Expire(expiry.into()));
    assert_eq!(find(Some(&awaiting), EXPIRES_AT_MS), lapsed);
}

#[test]
fn only_a_hold_lapses() {
    let (by, until) = (OrderId::from_bytes([7; 16]), at(EXPIRES_AT_MS));
    for (lock, ms, has_lapsed) in [
        (Lock::Held { by, until }, EXPIRES_AT_MS - 1, false),
        (Lock::Held { by, until }, EXPIRES_AT_MS, true),
        (Lock::Sold { to: by }, EXPIRES_AT_MS, false),
        (Lock::Free, EXPIRES_AT_MS, false),
    ] {
        assert_eq!(lock.has_lapsed(at(ms)), has_lapsed, "{lock:?}");
    }
}

#[test]
fn refund_states_have_stable_names() {
    assert_eq!([RefundState::Due, RefundState::Settled].map(RefundState::name), ["due", "settled"]);
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
    let amount = prop_oneof![Just(None), Just(Some(PRICE)), Just(Some(1))];
    prop_oneof![
        Just(Command::Cancel),
        (0..2 * EXPIRES_AT_MS).prop_map(expire_at),
        ("p[1-4]", amount, 0..2 * LATE_LIMIT_MS)
            .prop_map(|(id, amount, ms)| pay_at(&id, amount, ms)),
    ]
}

fn any_ticket() -> impl Strategy<Value = TicketState> {
    let availability = prop_oneof![
        Just(Availability::Own),
        Just(Availability::Free),
        Just(lapsed()),
        Just(reserved()),
        Just(Availability::Sold),
    ];
    prop_oneof![
        Just(TicketState::Missing),
        (availability, PRICE..PRICE + 2)
            .prop_map(|(availability, minor)| found(availability, minor)),
    ]
}

/// Results of a payment: (it bought the order, number of refunds due).
fn uses_of(order: &Order, id: &PaymentId) -> (usize, usize) {
    let paid = matches!(&order.status, Status::Paid { payment_id } if payment_id == id);
    let owed = order.refunds_due.iter().filter(|refund| refund.payment_id == *id).count();
    (usize::from(paid), owed)
}

/// The order after a command, with every transition of the command.
fn run(order: &Order, command: &Command, ticket: &TicketState) -> Vec<Order> {
    match decide(order, command, ticket) {
        Decision::Apply(transition) => vec![transition.into_order()],
        Decision::ApplyFirst(transition) => {
            let first = transition.into_order();
            let second = run(&first, command, ticket);
            [vec![first], second].concat()
        }
        Decision::AlreadyDone | Decision::Refuse(_) => Vec::new(),
        Decision::ReadTicket => panic!("the ticket has been read"),
    }
}

proptest! {
    #[test]
    fn promises_hold_under_any_sequence_of_commands(
        commands in proptest::collection::vec((any_command(), any_ticket()), 0..20),
    ) {
        let mut order = order(Status::AwaitingPayment);
        let first = order.clone();
        let mut cancelled = false;
        for (command, ticket) in &commands {
            for after in run(&order, command, ticket) {
                prop_assert_eq!(after.version, order.version.next());
                prop_assert_eq!(
                    (after.id, &after.user_id, &after.ticket, after.created_at, after.expires_at),
                    (first.id, &first.user_id, &first.ticket, first.created_at, first.expires_at)
                );
                let event = OrderEvent::between(Some(&order), &after);
                prop_assert!(event.is_some(), "every change has an event");
                prop_assert_eq!(OrderEvent::between(Some(&after), &after), None);
                if matches!(order.status, Status::Paid { .. }) {
                    prop_assert_eq!(&after.status, &order.status, "paid is permanent");
                }
                cancelled |= after.status == Status::Cancelled;
                prop_assert!(!cancelled || after.status == Status::Cancelled, "cancelled is final");
                order = after;
            }
        }
        for (command, _) in &commands {
            if let Command::Pay { payment, .. } = command {
                let (paid, owed) = uses_of(&order, &payment.id);
                prop_assert_eq!(paid + owed, 1, "each payment buys or is refunded, once");
            }
        }
    }

    #[test]
    fn lock_follows_the_order(
        command in any_command(),
        ticket in any_ticket(),
        status in prop_oneof![
            Just(Status::AwaitingPayment), Just(paid_by("p1")), Just(Status::Cancelled), Just(Status::Expired)
        ],
    ) {
        let before = order(status);
        let (Decision::Apply(transition) | Decision::ApplyFirst(transition)) =
            decide(&before, &command, &ticket) else { return Ok(()) };
        let (lock, was_live, is_live) =
            (transition.lock(), before.status.is_live(), transition.order().status.is_live());
        let buys = before.status != transition.order().status && is_live;
        let expected = match lock {
            LockChange::Unchanged => was_live == is_live && !buys,
            LockChange::Release | LockChange::NotOwn => was_live && !is_live,
            LockChange::Sell | LockChange::BuyBack { .. } => buys,
            LockChange::Extend => was_live && is_live && !buys,
        };
        // The owner cancels an expired order, whose lock is gone.
        let cancels = before.status == Status::Expired && *lock == LockChange::Unchanged;
        prop_assert!(expected || cancels, "{:?} for {:?} -> {:?}", lock, before.status, transition.order().status);
        prop_assert_eq!(transition.booked().is_some(), matches!(command, Command::Pay { .. })
            && matches!(decide(&before, &command, &ticket), Decision::Apply(_)));
    }

    #[test]
    fn repeated_command_changes_nothing(
        commands in proptest::collection::vec((any_command(), any_ticket()), 1..10),
    ) {
        let mut order = order(Status::AwaitingPayment);
        for (command, ticket) in &commands {
            if let Some(after) = run(&order, command, ticket).pop() {
                order = after;
                prop_assert_eq!(run(&order, command, ticket), Vec::<Order>::new());
            }
        }
    }
}

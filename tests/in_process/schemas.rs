//! Agreement of the event schemas in docs/ with the code.

use jsonschema::Validator;
use orders_contracts::{OutgoingEvent, PaymentEvent, SOURCE, TicketEvent};
use orders_domain::{
    Availability, Command, Decision, FoundTicket, Lock, Order, OrderEvent, OrderId, Payment, Price,
    RefundReason, Sale, Ticket, TicketReplica, TicketState, TicketVersion, decide,
};
use orders_testing::{LATE_LIMIT, at, new_order, order, order_id, pay, payment};
use orders_tests::{
    events::TIME_TO_PAY,
    schemas::{ORDER_EVENTS, PAYMENT_EVENTS, TICKET_EVENTS, examples, validator},
};
use serde_json::{Value, json};

/// Returns the order after a command that finds its ticket available like this, and its event.
fn after(order: &Order, command: &Command, availability: Availability) -> (Order, Value) {
    after_on(order, command, Sale::Open(order.ticket.clone()), availability)
}

/// The same with this sale of the ticket.
fn after_on(
    order: &Order,
    command: &Command,
    sale: Sale,
    availability: Availability,
) -> (Order, Value) {
    let replica = TicketReplica { sale, lock: Lock::Free, locked_for: None };
    let found = FoundTicket { replica, availability };
    let Decision::Apply(transition) = decide(order, command, &TicketState::Found(Box::new(found)))
    else {
        panic!("{command:?} does not apply to {order:?}");
    };
    let changed = transition.into_order();
    let event = OrderEvent::between(Some(order), &changed).unwrap();
    let event = published(&event, &changed);
    (changed, event)
}

/// The event in the form of a rule target.
fn published(event: &OrderEvent, order: &Order) -> Value {
    let event = OutgoingEvent::new(event, order, order.expires_at).unwrap();
    let detail: Value = serde_json::from_str(&event.detail).unwrap();
    json!({"source": SOURCE, "detail-type": event.detail_type, "detail": detail})
}

#[test]
fn published_events_match_the_schema() {
    use Availability::{Free, Own, Sold};

    let schema = validator(ORDER_EVENTS);
    let order = order(7);
    let created = published(&OrderEvent::Created, &order);
    let (paid, order_paid) = after(&order, &pay("p1", &order, 1), Own);
    let (_, already_paid) = after(&paid, &pay("p2", &order, 1), Own);
    let (cancelled, order_cancelled_event) = after(&order, &Command::Cancel, Own);
    let (_, order_cancelled) = after(&cancelled, &pay("p1", &order, 1), Free);
    let (expired, expiry) = after(&order, &Command::Expire { now: order.expires_at }, Own);
    let (_, cancelled_later) = after(&expired, &Command::Cancel, Free);
    let (_, paid_late) = after(&expired, &pay("p1", &order, 40), Free);
    let (_, ticket_taken) = after(&expired, &pay("p1", &order, 40), Sold);
    let (_, too_late) = after(&expired, &pay("p1", &order, 40 + LATE_LIMIT.as_secs()), Free);
    let payment = Payment { amount: Some(Price::MAX), ..payment("p1", &order, 1) };
    let wrong_amount = Command::Pay { payment, late_limit: LATE_LIMIT, now: at(1) };
    let (owing, wrong_amount) = after(&order, &wrong_amount, Own);
    let (_, paid_after_all) = after(&owing, &pay("p2", &order, 2), Own);
    for (event, reason) in [
        (&already_paid, "already_paid"),
        (&order_cancelled, "order_cancelled"),
        (&ticket_taken, "ticket_taken"),
        (&too_late, "too_late"),
        (&wrong_amount, "wrong_amount"),
    ] {
        assert_eq!(event["detail"]["reason"], reason);
    }
    for event in [
        &created,
        &order_paid,
        &already_paid,
        &order_cancelled_event,
        &order_cancelled,
        &expiry,
        &cancelled_later,
        &paid_late,
        &ticket_taken,
        &too_late,
        &wrong_amount,
        &paid_after_all,
    ] {
        assert!(schema.is_valid(event), "{event:#}");
    }
    // The schema depends on the type.
    for (kind, event) in [
        ("OrderExtended", &order_paid),
        ("OrderPaid", &created),
        ("OrderCreated", &order_paid),
        ("OrderLost", &order_cancelled_event),
    ] {
        let mut event = event.clone();
        event["detail-type"] = json!(kind);
        assert!(!schema.is_valid(&event), "{event:#}");
    }
}

#[test]
fn published_events_of_longer_holds_and_refunds_match_the_schema() {
    use Availability::{Free, Own, Sold};

    let schema = validator(ORDER_EVENTS);
    let order = order(7);
    let start = Command::StartPayment { sent_at: at(10), time_to_pay: TIME_TO_PAY, now: at(10) };
    let refund =
        |payment: &str| Command::Refund { payment_id: payment.parse().unwrap(), amount: None };
    let (extended, order_extended) = after(&order, &start, Own);
    let (paid, order_paid) = after(&extended, &pay("p1", &order, 300), Own);
    let (owing, already_paid) = after(&paid, &pay("p2", &order, 301), Own);
    let (_, settled_while_paid) = after(&owing, &refund("p2"), Own);
    let (refunded, order_refunded) = after(&owing, &refund("p1"), Own);
    let (again, payment_after_it) = after(&refunded, &pay("p3", &order, 302), Free);
    let (_, settled_afterwards) = after(&again, &refund("p3"), Sold);
    let (_, refunded_beside_its_lock) = after(&paid, &refund("p1"), Sold);
    let (expired, _) = after(&order, &Command::Expire { now: order.expires_at }, Own);
    let (id, version) = (order.ticket.id.clone(), TicketVersion::new(1));
    let withdrawn = Sale::Withdrawn { id, version };
    let (_, ticket_changed) = after_on(&expired, &pay("p1", &order, 40), withdrawn, Free);
    assert_eq!(ticket_changed["detail"]["reason"], "ticket_changed");
    assert_eq!(payment_after_it["detail"]["reason"], "order_refunded");
    for (kind, event) in [
        ("OrderExtended", &order_extended),
        ("OrderPaid", &order_paid),
        ("OrderRefundDue", &already_paid),
        ("OrderRefundDue", &payment_after_it),
        ("OrderRefundDue", &ticket_changed),
        ("OrderRefundSettled", &settled_while_paid),
        ("OrderRefundSettled", &settled_afterwards),
        ("OrderRefunded", &order_refunded),
        ("OrderRefunded", &refunded_beside_its_lock),
    ] {
        assert_eq!(event["detail-type"], kind);
        assert!(schema.is_valid(event), "{event:#}");
        for other in ["OrderCreated", "OrderCancelled", "OrderExpired"] {
            let mut event = event.clone();
            event["detail-type"] = json!(other);
            assert!(!schema.is_valid(&event), "{event:#}");
        }
    }
}

#[test]
fn published_events_of_free_orders_match_the_schema() {
    let schema = validator(ORDER_EVENTS);
    let gift = Ticket { price: Price::from_minor(0).unwrap(), ..order(7).ticket };
    let order = Order::new(new_order(order_id(7), at(0)), gift);
    let created = OrderEvent::between(None, &order).unwrap();
    let order_paid = published(&created, &order);
    let payment = Payment { amount: None, ..payment("p1", &order, 1) };
    let payment = Command::Pay { payment, late_limit: LATE_LIMIT, now: at(1) };
    let (owing, already_paid) = after(&order, &payment, Availability::Own);
    let (_, cancelled) = after(&owing, &Command::Cancel, Availability::Own);
    for event in [&order_paid, &already_paid, &cancelled] {
        assert!(schema.is_valid(event), "{event:#}");
    }
    // Only a ticket that costs nothing is paid without a payment, and only at once.
    for (pointer, value) in [
        ("/detail/ticket/price", json!(0.01)),
        ("/detail/version", json!(1)),
        ("/detail/status", json!("awaiting_payment")),
    ] {
        let mut event = order_paid.clone();
        *event.pointer_mut(pointer).unwrap() = value;
        assert!(!schema.is_valid(&event), "{event:#}");
    }
}

#[test]
fn schema_lists_the_reasons_of_the_domain() {
    let schema: Value = serde_json::from_str(ORDER_EVENTS).unwrap();
    let reasons = [
        RefundReason::AlreadyPaid,
        RefundReason::OrderCancelled,
        RefundReason::TicketTaken,
        RefundReason::TicketChanged,
        RefundReason::TooLate,
        RefundReason::WrongAmount,
        RefundReason::OrderRefunded,
    ];
    assert_eq!(schema["$defs"]["reason"]["enum"], json!(reasons.map(RefundReason::name)));
}

#[test]
fn schema_examples_are_valid_and_parse() {
    for (schema, parses) in [
        (ORDER_EVENTS, (|_| true) as fn(&str) -> bool),
        (TICKET_EVENTS, |event| TicketEvent::parse(event).is_ok()),
        (PAYMENT_EVENTS, |event| PaymentEvent::parse(event).is_ok()),
    ] {
        let validator = validator(schema);
        let examples = examples(schema);
        assert!(!examples.is_empty());
        for (name, example) in examples {
            assert_eq!(example["detail-type"], name);
            assert!(validator.is_valid(&example), "{example:#}");
            assert!(parses(&example.to_string()), "{example:#}");
        }
    }
    for (schema, fixture) in [
        (TICKET_EVENTS, include_str!("../support/fixtures/ticket_created.json")),
        (TICKET_EVENTS, include_str!("../support/fixtures/ticket_withdrawn.json")),
        (PAYMENT_EVENTS, include_str!("../support/fixtures/payment_created.json")),
    ] {
        let fixture = serde_json::from_str(fixture).unwrap();
        assert!(validator(schema).is_valid(&fixture), "{fixture:#}");
    }
}

/// An event with changed fields of its `detail`; null removes a field.
fn with(kind: &str, source: &str, detail: &Value, other: &Value) -> Value {
    let mut detail = detail.clone();
    for (name, value) in other.as_object().unwrap() {
        match value {
            Value::Null => drop(detail.as_object_mut().unwrap().remove(name)),
            value => detail[name] = value.clone(),
        }
    }
    json!({"source": source, "detail-type": kind, "detail": detail})
}

#[test]
fn ticket_schema_and_parser_agree() {
    let schema = validator(TICKET_EVENTS);
    let detail = json!({"id": "t1", "title": "Concert", "price": 20, "version": 0});
    let check = |kind: &str, other: Value, is_valid: bool| {
        let event = with(kind, "tickets", &detail, &other);
        assert_eq!(schema.is_valid(&event), is_valid, "schema: {event}");
        assert_eq!(TicketEvent::parse(&event.to_string()).is_ok(), is_valid, "parser: {event}");
    };
    for kind in ["TicketCreated", "TicketUpdated"] {
        check(kind, json!({}), true);
    }
    for kind in ["TicketDeleted", "ticketcreated", "PaymentCreated", ""] {
        check(kind, json!({}), false);
    }
    for (field, valid, invalid) in [
        (
            "id",
            vec![json!("t1"), json!("!~"), json!("x".repeat(128))],
            vec![
                json!(""),
                json!("a b"),
                json!("é"),
                json!("a\n"),
                json!("x".repeat(129)),
                json!(7),
            ],
        ),
        (
            "title",
            vec![json!("x"), json!(" x"), json!("é\n"), json!("é".repeat(1_000))],
            vec![json!(""), json!(" "), json!("\u{a0}\t"), json!("é".repeat(1_001)), json!(["x"])],
        ),
        (
            "price",
            vec![
                json!(0),
                json!(0.01),
                json!(0.1),
                json!(1.5),
                json!(19.99),
                json!(4.35),
                json!(1e3),
                json!(9_999_999_999.99),
                json!(59.970_000_000_000_006),
                json!(-0.000_000_001),
            ],
            vec![json!(-1), json!(-0.01), json!(1e10), json!("20"), json!([])],
        ),
        (
            "version",
            vec![json!(0), json!(1), json!(9_007_199_254_740_991_u64)],
            vec![json!(-1), json!(1.5), json!(9_007_199_254_740_992_u64), json!("1"), json!(true)],
        ),
        ("userId", vec![json!(7), json!({}), json!(null)], vec![]),
    ] {
        let values = valid.into_iter().map(|value| (value, true));
        for (value, is_valid) in values.chain(invalid.into_iter().map(|value| (value, false))) {
            check("TicketCreated", json!({ field: value }), is_valid);
        }
        check("TicketCreated", json!({ field: null }), field == "userId");
    }
    // JSON Schema cannot express the rule for decimals.
    for price in [json!(0.001), json!(19.999)] {
        let event = with("TicketCreated", "tickets", &detail, &json!({ "price": price }));
        assert!(TicketEvent::parse(&event.to_string()).is_err(), "parser: {event}");
    }
    for source in ["payments", "Tickets", ""] {
        let event = with("TicketCreated", source, &detail, &json!({}));
        assert!(!schema.is_valid(&event), "schema: {event}");
        assert!(TicketEvent::parse(&event.to_string()).is_err(), "parser: {event}");
    }
}

#[test]
fn withdrawal_schema_and_parser_agree() {
    let schema = validator(TICKET_EVENTS);
    let detail = json!({"id": "t1", "version": 3});
    let check = |source: &str, other: Value, is_valid: bool| {
        let event = with("TicketWithdrawn", source, &detail, &other);
        assert_eq!(schema.is_valid(&event), is_valid, "schema: {event}");
        assert_eq!(TicketEvent::parse(&event.to_string()).is_ok(), is_valid, "parser: {event}");
    };
    check("payments", json!({}), false);
    for valid in [
        json!({}),
        json!({"version": 0}),
        json!({"version": 9_007_199_254_740_991_u64}),
        // Ignored.
        json!({"title": "", "price": "free", "userId": 7}),
    ] {
        check("tickets", valid, true);
    }
    for id in [json!(null), json!(""), json!("a b"), json!("x".repeat(129)), json!(7)] {
        check("tickets", json!({ "id": id }), false);
    }
    for version in
        [json!(null), json!(-1), json!(1.5), json!("1"), json!(9_007_199_254_740_992_u64)]
    {
        check("tickets", json!({ "version": version }), false);
    }
}

#[test]
fn ticket_schema_accepts_every_price() {
    let schema = validator(TICKET_EVENTS);
    let detail = json!({"id": "t1", "title": "Concert", "price": 0, "version": 0});
    let mut random = fastrand::Rng::with_seed(1);
    let small = (0..100_000_u64).step_by(7);
    let large = (0..10_000).map(|_| random.u64(0..=999_999_999_999));
    for cents in small.chain(large) {
        let written: Value =
            serde_json::from_str(&format!("{}.{:02}", cents / 100, cents % 100)).unwrap();
        let event = with("TicketCreated", "tickets", &detail, &json!({ "price": written }));
        assert!(schema.is_valid(&event), "{event}");
    }
}

/// Checks that the payment schema and the parser take the event for valid or invalid.
#[track_caller]
fn assert_payment_event(schema: &Validator, event: &Value, is_valid: bool) {
    assert_eq!(schema.is_valid(event), is_valid, "schema: {event}");
    assert_eq!(PaymentEvent::parse(&event.to_string()).is_ok(), is_valid, "parser: {event}");
}

#[test]
fn payment_schema_and_parser_agree_on_each_field() {
    let schema = validator(PAYMENT_EVENTS);
    let order = OrderId::from_bytes([0xab; 16]).to_string();
    let detail = json!({"id": "p1", "orderId": order});
    let ids = [String::new(), "x".to_owned(), order.replace('-', ""), format!("{{{order}}}")];
    for kind in ["PaymentCreated", "PaymentStarted", "PaymentRefunded"] {
        let has_payment = kind != "PaymentStarted";
        let check = |other: Value, is_valid: bool| {
            let mut event = with(kind, "payments", &detail, &other);
            event["time"] = json!("2026-11-23T09:25:07Z");
            assert_payment_event(&schema, &event, is_valid);
        };
        check(json!({}), true);
        check(json!({"stripeId": "ch_1"}), true);
        check(json!({"orderId": order.to_uppercase()}), true);
        for id in ids.iter().map(|id| json!(id)).chain([json!(null), json!(7)]) {
            check(json!({ "orderId": id }), false);
        }
        // A start has neither payment nor amount: other fields are ignored.
        check(json!({"id": "x".repeat(255)}), true);
        let payments =
            [json!(null), json!(""), json!("a b"), json!("é"), json!("x".repeat(256)), json!(7)];
        for id in payments {
            check(json!({ "id": id }), !has_payment);
        }
        for amount in
            [json!(0), json!(19.9), json!(59.970_000_000_000_006), json!(9_999_999_999.99)]
        {
            check(json!({ "amount": amount }), true);
        }
        for amount in [json!("19.90"), json!(-0.01), json!(1e10), json!([]), json!(true)] {
            check(json!({ "amount": amount }), !has_payment);
        }
    }
}

#[test]
fn payment_schema_and_parser_agree_on_the_envelope() {
    let schema = validator(PAYMENT_EVENTS);
    let order = OrderId::from_bytes([0xab; 16]).to_string();
    let detail = json!({"id": "p1", "orderId": order});
    for kind in ["PaymentCreated", "PaymentStarted", "PaymentRefunded"] {
        let mut event = with(kind, "payments", &detail, &json!({}));
        assert_payment_event(&schema, &event, false);
        for time in [json!(""), json!("2026-11-23"), json!("yesterday"), json!(7), json!(null)] {
            event["time"] = time;
            assert_payment_event(&schema, &event, false);
        }
        event["time"] = json!("2026-11-23T09:25:07Z");
        event["detail"]["amount"] = Value::Null;
        assert_payment_event(&schema, &event, true);
        for (field, value) in [
            ("source", json!("tickets")),
            ("detail-type", json!("PaymentFailed")),
            ("detail-type", json!(kind.to_lowercase())),
            ("detail", json!(null)),
            ("detail", json!("p1")),
        ] {
            let mut event = event.clone();
            event[field] = value;
            assert_payment_event(&schema, &event, false);
        }
    }
}

//! Agreement of the event schemas in docs/ with the code.

use orders_contracts::{OutgoingEvent, PaymentEvent, SOURCE, TicketEvent};
use orders_domain::{Command, Order, OrderEvent, OrderId, PaymentId};
use orders_testing::order_with_hold;
use orders_tests::schemas::{ORDER_EVENTS, PAYMENT_EVENTS, TICKET_EVENTS, examples, validator};
use serde_json::{Value, json};

/// Returns the order after a command, and its event.
fn after(order: &Order, command: &Command) -> (Order, Value) {
    let changed = orders_testing::after(order, command);
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

fn pay(payment: &str, ticket_is_free: bool) -> Command {
    let payment_id: PaymentId = payment.parse().unwrap();
    Command::Pay { payment_id, ticket_is_free }
}

#[test]
fn published_events_match_the_schema() {
    let schema = validator(ORDER_EVENTS);
    let order = order_with_hold(7, 30);
    let created = published(&OrderEvent::Created, &order);
    let (paid, order_paid) = after(&order, &pay("p1", false));
    let (_, already_paid) = after(&paid, &pay("p2", false));
    let (cancelled, order_cancelled_event) = after(&order, &Command::Cancel);
    let (_, order_cancelled) = after(&cancelled, &pay("p1", false));
    let (expired, expiry) = after(&order, &Command::Expire { now: order.expires_at });
    let (_, paid_late) = after(&expired, &pay("p1", true));
    let (_, ticket_taken) = after(&expired, &pay("p1", false));
    for event in [
        &created,
        &order_paid,
        &already_paid,
        &order_cancelled_event,
        &order_cancelled,
        &expiry,
        &paid_late,
        &ticket_taken,
    ] {
        assert!(schema.is_valid(event), "{event:#}");
    }
    // The schema depends on the type.
    for (kind, event) in [
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
    let real: Value =
        serde_json::from_str(include_str!("../support/fixtures/ticket_created.json")).unwrap();
    assert!(validator(TICKET_EVENTS).is_valid(&real));
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

#[test]
fn payment_schema_and_parser_agree() {
    let schema = validator(PAYMENT_EVENTS);
    let order = OrderId::from_bytes([0xab; 16]).to_string();
    let detail = json!({"id": "p1", "orderId": order});
    let check = |kind: &str, other: Value, is_valid: bool| {
        let event = with(kind, "payments", &detail, &other);
        assert_eq!(schema.is_valid(&event), is_valid, "schema: {event}");
        assert_eq!(PaymentEvent::parse(&event.to_string()).is_ok(), is_valid, "parser: {event}");
    };
    check("PaymentCreated", json!({}), true);
    check("PaymentCreated", json!({"stripeId": "ch_1", "amount": null}), true);
    check("PaymentCreated", json!({"id": "x".repeat(255)}), true);
    check("PaymentFailed", json!({}), false);
    for id in [json!(null), json!(""), json!("a b"), json!("é"), json!("x".repeat(256)), json!(7)]
    {
        check("PaymentCreated", json!({ "id": id }), false);
    }
    check("PaymentCreated", json!({ "orderId": order.to_uppercase() }), true);
    let invalid_ids = ["", "x", &order.replace('-', ""), &format!("{{{order}}}")];
    for id in invalid_ids {
        check("PaymentCreated", json!({ "orderId": id }), false);
    }
    for id in [json!(null), json!(7)] {
        check("PaymentCreated", json!({ "orderId": id }), false);
    }
}

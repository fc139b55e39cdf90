//! Events of the other services, as a queue delivers them.

use std::time::Duration;

use chrono::DateTime;
use orders_domain::Timestamp;
use orders_testing::LATE_LIMIT;
use serde_json::{Value, json};

/// Time to pay from the start of a payment on.
pub const TIME_TO_PAY: Duration = Duration::from_mins(5);

/// Time limits of payments.
pub const PAYMENT_LIMITS: payment_events::Limits =
    payment_events::Limits { late_payment: LATE_LIMIT, time_to_pay: TIME_TO_PAY };

/// Returns a payment of 19.90 for the order, sent at this time.
pub fn payment(id: &str, order: &str, sent_at: Timestamp) -> Value {
    let event = include_str!("fixtures/payment_created.json");
    let mut event: Value = serde_json::from_str(event).expect("a JSON fixture");
    let ms = i64::try_from(sent_at.epoch_ms()).expect("before the year 9999");
    let time = DateTime::from_timestamp_millis(ms).expect("before the year 9999");
    event["time"] = json!(time.to_rfc3339());
    event["detail"]["id"] = json!(id);
    event["detail"]["orderId"] = json!(order);
    event
}

/// Returns the start of a payment for the order, sent at this time.
pub fn payment_started(order: &str, sent_at: Timestamp) -> Value {
    let mut event = payment("", order, sent_at);
    event["detail-type"] = json!("PaymentStarted");
    event["detail"] = json!({"orderId": order, "intent": "pi_1"});
    event
}

/// Returns the refund of a whole payment for the order, sent at this time.
pub fn payment_refunded(id: &str, order: &str, sent_at: Timestamp) -> Value {
    let mut event = payment(id, order, sent_at);
    event["detail-type"] = json!("PaymentRefunded");
    event["detail"] = json!({"id": id, "orderId": order, "reason": "requested_by_customer"});
    event
}

//! Events of the other services, as a queue delivers them.

use chrono::DateTime;
use orders_domain::Timestamp;
use serde_json::{Value, json};

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

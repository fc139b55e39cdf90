//! The schemas of the events, as docs/ has them.

use jsonschema::Validator;
use serde_json::Value;

/// The events that this service publishes.
pub const ORDER_EVENTS: &str = include_str!("../../docs/order-events.schema.json");
/// The events of the ticket service.
pub const TICKET_EVENTS: &str = include_str!("../../docs/ticket-events.schema.json");
/// The events of the payment service.
pub const PAYMENT_EVENTS: &str = include_str!("../../docs/payment-events.schema.json");

/// What looks whether an event is as the schema says.
pub fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).expect("a schema is JSON");
    jsonschema::validator_for(&schema).expect("a schema is one")
}

/// The examples in a schema, each with the name of what it is an example of.
pub fn examples(schema: &str) -> Vec<(String, Value)> {
    let schema: Value = serde_json::from_str(schema).expect("a schema is JSON");
    let parts = schema["$defs"].as_object().expect("it has parts");
    let examples = parts.iter().flat_map(|(name, part)| {
        let examples = part["examples"].as_array().cloned().unwrap_or_default();
        examples.into_iter().map(|example| (name.clone(), example))
    });
    examples.collect()
}

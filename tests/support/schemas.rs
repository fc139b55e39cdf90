//! The event schemas of docs/.

use jsonschema::Validator;
use serde_json::Value;

/// Schema of the published events.
pub const ORDER_EVENTS: &str = include_str!("../../docs/order-events.schema.json");
/// Schema of the ticket service's events.
pub const TICKET_EVENTS: &str = include_str!("../../docs/ticket-events.schema.json");
/// Schema of the payment service's events.
pub const PAYMENT_EVENTS: &str = include_str!("../../docs/payment-events.schema.json");

/// Compiles a schema.
pub fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).expect("a JSON schema");
    jsonschema::validator_for(&schema).expect("a valid schema")
}

/// Returns the examples of a schema, each with the name of its event type.
pub fn examples(schema: &str) -> Vec<(String, Value)> {
    let schema: Value = serde_json::from_str(schema).expect("a JSON schema");
    let parts = schema["$defs"].as_object().expect("`$defs`");
    let examples = parts.iter().flat_map(|(name, part)| {
        let examples = part["examples"].as_array().cloned().unwrap_or_default();
        examples.into_iter().map(|example| (name.clone(), example))
    });
    examples.collect()
}

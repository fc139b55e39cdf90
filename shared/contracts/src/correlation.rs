//! Correlation id of any event.

use std::collections::BTreeMap;

use orders_domain::CorrelationId;
use serde_json::value::RawValue;

/// The correlation id of a message with an event, also of an invalid event: `metadata.correlationId` of
/// the detail, else the `id` that `EventBridge` gives to each event (`EventBridge` user guide, "Events").
///
/// `None` if the message has no valid id, like the message of a timer.
///
/// # Examples
/// ```
/// use orders_contracts::correlation_id;
///
/// let event = r#"{"id": "6a7e8feb", "detail": {"metadata": {"correlationId": "checkout-42"}}}"#;
/// assert_eq!(correlation_id(event).unwrap().as_str(), "checkout-42");
/// assert_eq!(correlation_id(r#"{"id": "6a7e8feb"}"#).unwrap().as_str(), "6a7e8feb");
/// assert_eq!(correlation_id("not an event"), None);
/// ```
#[must_use]
pub fn correlation_id(message: &str) -> Option<CorrelationId> {
    let event = fields(message)?;
    let given = event.get("detail").and_then(|detail| {
        let detail = fields(detail.get())?;
        let metadata = fields(detail.get("metadata")?.get())?;
        metadata.get("correlationId").copied()
    });
    let ids = [given, event.get("id").copied()];
    ids.into_iter().flatten().find_map(|id| text(id)?.parse().ok())
}

/// The fields of a JSON object; their values are not parsed.
fn fields(json: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(json).ok()
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn invalid_correlation_id_counts_as_absent() {
        let too_long = "x".repeat(256);
        for invalid in [json!("a b"), json!(""), json!(too_long), json!(7), json!(null), json!({})]
        {
            for metadata in [json!({"correlationId": invalid}), invalid.clone()] {
                let event = json!({"id": "event-1", "detail": {"metadata": metadata}});
                let id = correlation_id(&event.to_string());
                assert_eq!(id.unwrap().as_str(), "event-1", "{invalid}");
            }
            let event = json!({"id": invalid, "detail": {}});
            assert_eq!(correlation_id(&event.to_string()), None, "{invalid}");
        }
    }

    #[test]
    fn message_without_an_envelope_has_no_correlation_id() {
        let arrays = [r#"["x", {}]"#, r#"{"detail": [{"correlationId": "x"}]}"#];
        let objects = ["{}", r#"{"orderId": "x"}"#, r#"{"detail": {"metadata": ["x"]}}"#];
        for message in ["", "null", "[]"].into_iter().chain(arrays).chain(objects) {
            assert_eq!(correlation_id(message), None, "{message}");
        }
    }

    #[test]
    fn last_of_two_equal_fields_counts() {
        let metadata = r#"{"correlationId": "first", "correlationId": "last"}"#;
        let detail = format!(r#"{{"metadata": 1, "metadata": {metadata}}}"#);
        let event =
            format!(r#"{{"detail": [], "id": "first", "id": "event", "detail": {detail}}}"#);
        assert_eq!(correlation_id(&event).unwrap().as_str(), "last");
        assert_eq!(correlation_id(r#"{"id": "first", "id": "last"}"#).unwrap().as_str(), "last");
    }
}

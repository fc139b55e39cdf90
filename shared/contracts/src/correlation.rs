//! Correlation id of any event.

use orders_domain::CorrelationId;
use serde::Deserialize;
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
    let Event { id, detail } = object(message)?;
    let given = detail.and_then(|detail| {
        let Detail { metadata } = object(detail.get())?;
        let Metadata { correlation_id } = object(metadata?.get())?;
        correlation_id
    });
    [given, id].into_iter().flatten().find_map(|id| text(id)?.parse().ok())
}

// Values are not parsed: one of another type counts as absent, like an object with a field that occurs twice.

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    correlation_id: Option<&'a RawValue>,
}

/// A JSON object. Serde would read an array too.
fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    json.trim_start().starts_with('{').then(|| serde_json::from_str(json).ok()).flatten()
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
    fn object_with_a_field_that_occurs_twice_counts_as_absent() {
        assert_eq!(correlation_id(r#"{"id": "first", "id": "last"}"#), None);
        for metadata in [r#"{"correlationId": "1", "correlationId": "2"}"#, r#"{}, "metadata": {}"#]
        {
            let event = format!(r#"{{"id": "event-1", "detail": {{"metadata": {metadata}}}}}"#);
            assert_eq!(correlation_id(&event).unwrap().as_str(), "event-1", "{event}");
        }
    }
}

//! Check of the trace of each request in the events of its order.

use serde::Deserialize;

use super::Promises;

#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    traceparent: Option<&'a str>,
}

/// `traceparent` of the request with this correlation id. Every third request has none.
pub(crate) fn traceparent(correlation_id: &str) -> Option<String> {
    let number: u64 = correlation_id.strip_prefix("request-")?.parse().ok()?;
    let flags = number % 2;
    (!number.is_multiple_of(3)).then(|| format!("00-{number:032x}-{number:016x}-{flags:02x}"))
}

impl Promises {
    /// Checks promise 15: each event of an order continues the trace of its request, with a parent id of
    /// its own, and a repeated event is the same.
    pub(crate) fn trace_published(&mut self, order: &str, version: u64, detail: &str) {
        let detail: Detail<'_> = serde_json::from_str(detail).expect("a JSON detail");
        let event = detail.metadata.traceparent;
        let key = (order.to_owned(), version);
        let Some(committed) = self.committed.get(&key) else { return };
        let request = traceparent(committed.correlation_id.as_str());
        let continues = match (request.as_deref(), event) {
            (None, None) => true,
            (Some(request), Some(event)) => continues(request, event),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let earlier = self.traces.insert(key, event.map(str::to_owned));
        let is_same = earlier.is_none_or(|earlier| earlier.as_deref() == event);
        self.require(continues && is_same, || {
            format!(
                "promise 15: version {version} of {order} has {event:?}, its request {request:?}"
            )
        });
    }
}

/// Whether the event has the request's trace id and flags, and another valid parent id.
fn continues(request: &str, event: &str) -> bool {
    let fields = |text: &str| text.split('-').map(str::to_owned).collect::<Vec<_>>();
    let (request, event) = (fields(request), fields(event));
    let [version, trace_id, parent_id, flags] = &event[..] else { return false };
    let is_own = *parent_id != request[2] && parent_id.bytes().any(|digit| digit != b'0');
    [version, trace_id, flags] == [&request[0], &request[1], &request[3]]
        && is_own
        && parent_id.len() == 16
}

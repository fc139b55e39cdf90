//! W3C Trace Context: the place of a request or an event in a trace across services.

use std::{
    fmt,
    num::{NonZeroU64, NonZeroU128},
    str::FromStr,
};

use uuid::Uuid;

use crate::{OrderId, OrderVersion};

/// The text is not a `traceparent` (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a traceparent of W3C Trace Context")]
pub struct NotATraceParent;

/// A `traceparent`: trace id, parent id and flags. Written with version 00.
///
/// # Examples
/// ```
/// use orders_domain::{OrderId, OrderVersion, TraceParent};
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let request: TraceParent = header.parse().unwrap();
/// let event = request.of_event(OrderId::from_bytes([7; 16]), OrderVersion::FIRST);
/// assert_eq!(event.trace_id(), request.trace_id());
/// assert_ne!(event, request);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: NonZeroU128,
    parent_id: NonZeroU64,
    flags: u8,
}

impl TraceParent {
    /// The flags `sampled` and `random` (Level 2, section 3.2.2.5). All others "MUST" be set to zero.
    const KNOWN_FLAGS: u8 = 0b11;

    /// The trace id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The traceparent of the event of this version of an order: same trace, same flags, and a parent id
    /// that is the event's own. It depends on order and version only, because an event can be published
    /// more than once.
    #[must_use]
    pub fn of_event(self, order: OrderId, version: OrderVersion) -> Self {
        let order = Uuid::from_bytes(order.to_bytes());
        let (_, hash) = Uuid::new_v5(&order, &version.number().to_be_bytes()).as_u64_pair();
        Self { parent_id: NonZeroU64::MIN | hash, ..self }
    }

    fn parse(text: &str) -> Option<Self> {
        let (version, rest) = text.split_once('-')?;
        let (trace_id, rest) = rest.split_once('-')?;
        let (parent_id, rest) = rest.split_once('-')?;
        // A later version may have more fields after the flags. Version 00 has none.
        let (flags, later_fields) = match rest.split_once('-') {
            Some((flags, later_fields)) => (flags, Some(later_fields)),
            None => (rest, None),
        };
        let is_version = is_hex(version, 2) && version != "ff";
        if !is_version || (version == "00" && later_fields.is_some()) {
            return None;
        }
        if !is_hex(trace_id, 32) || !is_hex(parent_id, 16) || !is_hex(flags, 2) {
            return None;
        }
        Some(Self {
            trace_id: NonZeroU128::new(u128::from_str_radix(trace_id, 16).ok()?)?,
            parent_id: NonZeroU64::new(u64::from_str_radix(parent_id, 16).ok()?)?,
            flags: u8::from_str_radix(flags, 16).ok()? & Self::KNOWN_FLAGS,
        })
    }
}

/// Whether the text is so many hexadecimal digits in lower case.
fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

impl FromStr for TraceParent {
    type Err = NotATraceParent;

    /// Accepts later versions as version 00, with the fields of version 00 (section 3.2.4).
    fn from_str(text: &str) -> Result<Self, NotATraceParent> {
        Self::parse(text).ok_or(NotATraceParent)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, parent_id, flags } = self;
        write!(f, "00-{trace_id:032x}-{parent_id:016x}-{flags:02x}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn traceparent(text: &str) -> TraceParent {
        text.parse().unwrap()
    }

    #[test]
    fn traceparent_is_written_in_version_00_with_known_flags() {
        for (header, written) in [
            (format!("00-{TRACE}-{PARENT}-01"), "01"),
            (format!("00-{TRACE}-{PARENT}-00"), "00"),
            (format!("00-{TRACE}-{PARENT}-02"), "02"),
            (format!("00-{TRACE}-{PARENT}-ff"), "03"),
            (format!("01-{TRACE}-{PARENT}-01"), "01"),
            (format!("cc-{TRACE}-{PARENT}-09-later-field"), "01"),
        ] {
            let parsed = traceparent(&header);
            assert_eq!(parsed.trace_id(), TRACE, "{header}");
            assert_eq!(parsed.to_string(), format!("00-{TRACE}-{PARENT}-{written}"), "{header}");
        }
        let zeros = format!("00-{:0>32}-{:0>16}-00", 1, 2);
        assert_eq!(traceparent(&zeros).to_string(), zeros);
    }

    #[test]
    fn traceparent_rejects_other_texts() {
        let zeros = "0".repeat(32);
        let capitals = TRACE.to_uppercase();
        let valid = format!("00-{TRACE}-{PARENT}-01");
        for header in [
            String::new(),
            "00".to_owned(),
            TRACE.to_owned(),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{capitals}-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", PARENT.to_uppercase()),
            format!("0A-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("00-{TRACE}-{PARENT}-0g"),
            format!("00-{TRACE}-{PARENT}-01-later-field"),
            format!("0-{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", &TRACE[1..]),
            format!("00-+{}-{PARENT}-01", &TRACE[1..]),
            format!("00-{TRACE}0-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", &PARENT[1..]),
            format!("{valid},{valid}"),
            format!("{valid}, {valid}"),
            format!(" {valid}"),
            format!("{valid} "),
            format!("00_{TRACE}_{PARENT}_01"),
        ] {
            assert_eq!(header.parse::<TraceParent>(), Err(NotATraceParent), "{header}");
        }
    }

    #[test]
    fn parent_id_of_an_event_is_the_same_in_every_release() {
        let request = traceparent(&format!("00-{TRACE}-{PARENT}-01"));
        let event = request.of_event(OrderId::from_bytes([7; 16]), OrderVersion::new(1));
        assert_eq!(event.to_string(), format!("00-{TRACE}-958c559b5650e03f-01"));
    }

    #[test]
    fn parent_id_of_an_event_is_its_own() {
        let request = traceparent(&format!("00-{TRACE}-{PARENT}-00"));
        let events = (0..4).flat_map(|byte| {
            let order = OrderId::from_bytes([byte; 16]);
            (0..4).map(move |version| request.of_event(order, OrderVersion::new(version)))
        });
        let texts: HashSet<_> = events.map(|event| event.to_string()).collect();
        assert_eq!(texts.len(), 16);
        for text in texts {
            assert!(text.starts_with(&format!("00-{TRACE}-")) && text.ends_with("-00"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn traceparent_of_any_event_is_valid(bytes: [u8; 16], version: u64) {
            let request = traceparent(&format!("00-{TRACE}-{PARENT}-01"));
            let event = request.of_event(OrderId::from_bytes(bytes), OrderVersion::new(version));
            prop_assert_eq!(event.to_string().parse(), Ok(event));
        }
    }
}

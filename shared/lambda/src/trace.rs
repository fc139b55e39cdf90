//! W3C Trace Context.

/// The trace id of a `traceparent` header (W3C Trace Context, section 3.2); `None` for an invalid header.
/// The specification demands that an invalid header is ignored as a whole.
pub(crate) fn trace_id(traceparent: &str) -> Option<&str> {
    let (version, rest) = traceparent.split_once('-')?;
    let (trace_id, rest) = rest.split_once('-')?;
    let (parent_id, rest) = rest.split_once('-')?;
    // A later version may have more fields after the flags. Version 00 has none.
    let (flags, later_fields) = match rest.split_once('-') {
        Some((flags, later_fields)) => (flags, Some(later_fields)),
        None => (rest, None),
    };
    let valid = is_hex(version, 2)
        && version != "ff"
        && (version != "00" || later_fields.is_none())
        && is_id(trace_id, 32)
        && is_id(parent_id, 16)
        && is_hex(flags, 2);
    valid.then_some(trace_id)
}

/// Whether the text is an id of so many lower-case hexadecimal digits, not all of them zero.
fn is_id(text: &str, length: usize) -> bool {
    is_hex(text, length) && text.bytes().any(|digit| digit != b'0')
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn trace_id_of_a_valid_header() {
        for header in [
            format!("00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-00"),
            format!("01-{TRACE}-{PARENT}-01"),
            format!("cc-{TRACE}-{PARENT}-01-later-field"),
        ] {
            assert_eq!(trace_id(&header), Some(TRACE), "{header}");
        }
    }

    #[test]
    fn invalid_header_has_no_trace_id() {
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
            format!("00-{TRACE}0-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", &PARENT[1..]),
            format!("{valid},{valid}"),
            format!("{valid}, {valid}"),
            format!(" {valid}"),
            format!("{valid} "),
            format!("00_{TRACE}_{PARENT}_01"),
        ] {
            assert_eq!(trace_id(&header), None, "{header}");
        }
    }
}

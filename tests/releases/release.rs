//! Neighbouring releases, and the items that each can read.

use serde_json::Value;

/// A release of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// This release.
    This,
    /// First step of the next release: reads the new values.
    Reads,
    /// Second step of the next release: also writes the new values.
    Writes,
}

/// Two releases that run on the same tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    /// The first step is deployed.
    ThisAndReads,
    /// The second step is deployed after the first.
    ReadsAndWrites,
    /// The second step is deployed without the first.
    StepSkipped,
}

impl Pair {
    pub(crate) const ALL: [Self; 3] = [Self::ThisAndReads, Self::ReadsAndWrites, Self::StepSkipped];

    /// The older and the newer release.
    pub(crate) fn releases(self) -> [Release; 2] {
        match self {
            Self::ThisAndReads => [Release::This, Release::Reads],
            Self::ReadsAndWrites => [Release::Reads, Release::Writes],
            Self::StepSkipped => [Release::This, Release::Writes],
        }
    }
}

impl Release {
    /// Whether the release can read an item.
    pub(crate) fn can_read(self, item: &Value) -> bool {
        match self {
            Self::This => !is_of_the_next_release(item),
            Self::Reads | Self::Writes => true,
        }
    }
}

/// Whether the item has a value that this release does not know and cannot ignore.
pub(crate) fn is_of_the_next_release(item: &Value) -> bool {
    let refunds = item["refunds_due"]["L"].as_array().into_iter().flatten();
    number(item, "schema").is_some_and(|schema| schema > 1)
        || text(item, "status") == "returned"
        || text(item, "result") == "amount_too_small"
        || refunds.map(|refund| &refund["M"]).any(|it| text(it, "reason") == "amount_too_small")
}

/// A text of an item; empty if missing.
pub(crate) fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item[name]["S"].as_str().unwrap_or_default()
}

/// A number of an item.
pub(crate) fn number(item: &Value, name: &str) -> Option<u64> {
    item[name]["N"].as_str()?.parse().ok()
}

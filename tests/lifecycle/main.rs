//! The whole life of an order in the deployed service: paid, cancelled, expired, told to everyone.
//! These tests change how long a ticket is held, so they are apart from the other end-to-end tests.

mod expiries;
mod holds;
mod outcomes;
mod poison;

use std::collections::BTreeMap;

use orders_tests::bus::Heard;
use serde_json::Value;

/// What was heard of each order.
type Histories = BTreeMap<String, Vec<Heard>>;

/// Looks that each event is as the schema says and that each order's came in the order of its
/// versions, from 0 on, none left out. The bus may have carried one twice.
fn check_histories(histories: &Histories) {
    let schema = include_str!("../../docs/order-events.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for (order, history) in histories {
        let mut next_version = 0;
        for heard in history {
            if let Err(error) = schema.validate(&heard.event) {
                panic!("{error}: {:#}", heard.event);
            }
            let (_, version) = heard.kind();
            let metadata = &heard.detail()["metadata"];
            assert_eq!(metadata["eventId"], format!("{order}:{version}"));
            assert!(version <= next_version, "{order}: version {next_version} is missing");
            next_version = next_version.max(version + 1);
        }
    }
}

/// The types of an order's events, each version once.
fn kinds(history: &[Heard]) -> Vec<&str> {
    let by_version: BTreeMap<u64, &str> =
        history.iter().map(Heard::kind).map(|(kind, version)| (version, kind)).collect();
    by_version.into_values().collect()
}

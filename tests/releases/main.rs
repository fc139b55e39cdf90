//! Two neighbouring releases on the same tables (promise 16): this release and the next one, which
//! `build/next_release.rs` derives from it in two steps.
//!
//! Each invocation of a function runs in one of the two releases, by a split that moves forward and
//! back. The functions get what AWS sends: HTTP events, SQS batches, stream records. The store is the
//! real one, on a DynamoDB engine in this process. A seed determines the whole run.
//!
//! | variable | meaning |
//! |---|---|
//! | `ORDERS_RELEASES_SEEDS` | number of seeds |
//! | `ORDERS_RELEASES_FIRST_SEED` | first seed; the log of a single seed is printed |

mod checks;
mod deliveries;
mod release;
mod run;
mod sweep;
mod tables;
mod traffic;
mod world;

use crate::{release::Pair, run::run, sweep::Sweep};

include!(concat!(env!("OUT_DIR"), "/releases.rs"));

#[test]
fn neighbouring_releases_share_the_tables() {
    let sweep = Sweep::from_env();
    sweep.run(
        &[Pair::ThisAndReads, Pair::ReadsAndWrites],
        &[
            "a deployment is rolled back",
            "a payment gets the new reason",
            "a ticket gets the new format",
            "an older release changes an order with the new attribute",
            "an order gets the new status",
            "the reading release changes an item of the next release",
        ],
    );
}

#[test]
fn skipped_step_has_bounded_damage() {
    let sweep = Sweep::from_env();
    sweep.run(
        &[Pair::StepSkipped],
        &[
            "a buyer cannot cancel an order",
            "a buyer cannot see an order",
            "a buyer of a ticket that cannot be read gets 503",
            "a buyer who would take over a ticket gets 503",
            "a deployment is rolled back",
            "a list leaves an order out",
            "a message is dead-lettered",
            "a message is redriven",
            "a message waits for a release that can read",
            "a record is dead-lettered",
            "a record is redriven",
            "a repeated request gets 503",
            "an older release changes an order with the new attribute",
        ],
    );
}

#[test]
fn same_seed_has_the_same_history() {
    for pair in Pair::ALL {
        let (one, two) = (run(1, pair, true), run(1, pair, true));
        assert_eq!(one.log, two.log, "{pair:?}");
    }
}

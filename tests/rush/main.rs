//! A rush: the service under the published limits of AWS, simulated.
//!
//! The functions' own use cases run on tokio's paused clock, on the store in memory. Around them are the
//! limits and the scaling rules of AWS (`limits.rs`), latencies that AWS does not publish (`latency.rs`),
//! and what this project decides (`settings.rs`). A seed determines a run.
//!
//! | variable | meaning |
//! |---|---|
//! | `ORDERS_RUSH_CASE` | number of the case; all by default |
//! | `ORDERS_RUSH_SEED` | seed |
//! | `ORDERS_RUSH_SETTINGS` | `before` or `after`; both by default |
//!
//! Not simulated, or assumed:
//! - the latencies of AWS, and how they change under load: an assumption each, without outliers above the
//!   log-normal distribution;
//! - burst and adaptive capacity of DynamoDB, which AWS does not guarantee: not counted; a table keeps the
//!   capacity that it has at the start of a case;
//! - how long DynamoDB rejects transactions on an item in use: half of the latency of a transaction;
//! - how the pollers of a queue and Lambda's internal retries behave between the published figures;
//! - the other tenants of the account: none;
//! - clients: they wait as `Retry-After` asks.

mod cases;
mod dynamo;
mod gateway;
mod lambda;
mod latency;
mod limits;
mod mappings;
mod meter;
mod report;
mod run;
mod scheduler;
mod settings;
mod sqs;
mod store;
mod stream;
mod world;

use std::{env, time::Instant};

use crate::{
    cases::{CASES, Case, Scale},
    settings::Settings,
};

const SEED: u64 = 1;

/// Runs the full cases and prints their reports: `make rush`.
#[test]
#[ignore = "minutes of processor time: `make rush`"]
fn full() {
    let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let number = |name| text(name).map(|value| value.parse::<u64>().expect("a whole number"));
    let seed = number("ORDERS_RUSH_SEED").unwrap_or(SEED);
    let only = number("ORDERS_RUSH_CASE");
    let settings = text("ORDERS_RUSH_SETTINGS");
    let (mut runs, mut failures) = (0, Vec::new());
    for case in CASES.iter().filter(|case| only.is_none_or(|only| only == u64::from(case.number))) {
        for settings in [Settings::before(), Settings::after()]
            .into_iter()
            .filter(|one| settings.as_ref().is_none_or(|name| name == one.name))
        {
            runs += 1;
            let started = Instant::now();
            let must_hold = settings.name == "after";
            let reports = (case.run)(settings, seed, Scale::Full);
            println!("\nCase {}, simulated in {:.1?}", case.number, started.elapsed());
            for report in &reports {
                print!("{report}");
            }
            let check = std::panic::catch_unwind(|| (case.check)(&reports, Scale::Full));
            println!("  {:<26}{}", "must show", if check.is_ok() { "yes" } else { "NO" });
            if must_hold && check.is_err() {
                failures.push(case.number);
            }
        }
    }
    assert!(
        runs > 0,
        "cases are {:?}, settings `before` and `after`",
        CASES.map(|case| case.number)
    );
    assert!(failures.is_empty(), "cases {failures:?} do not show what they must");
}

fn short(number: u32) {
    let case: &Case = CASES.iter().find(|case| case.number == number).expect("a case");
    let reports = (case.run)(Settings::after(), SEED, Scale::Short);
    for report in &reports {
        print!("{report}");
    }
    (case.check)(&reports, Scale::Short);
}

#[test]
fn opening_has_no_5xx_and_fast_successes() {
    short(1);
}

#[test]
fn one_ticket_above_its_rate_gets_503_with_retry_after() {
    short(2);
}

#[test]
fn lapsed_holds_expire_within_two_seconds() {
    short(3);
}

#[test]
fn long_holds_have_events_and_timers_within_two_seconds() {
    short(4);
}

#[test]
fn payments_survive_an_outage_of_dynamodb() {
    short(5);
}

#[test]
fn new_account_loses_no_payment() {
    short(6);
}

#[test]
fn buyers_do_not_notice_a_seller() {
    short(7);
}

#[test]
fn buyers_do_not_notice_a_bot() {
    short(8);
}

#[test]
fn same_seed_has_the_same_report() {
    let reports = || {
        let case = CASES.iter().find(|case| case.number == 6).expect("a case");
        let reports = (case.run)(Settings::after(), SEED, Scale::Short);
        reports.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(reports(), reports());
}

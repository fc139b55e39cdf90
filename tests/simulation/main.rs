//! The whole service in one thread: every function's own code, on an in-memory store, queues, bus,
//! scheduler, stream and clock, with random faults between them.
//!
//! A seed determines the whole run. The promises are checked after every write, response and event,
//! and at the end of the run.
//!
//! | variable | meaning |
//! |---|---|
//! | `ORDERS_SIMULATION_SEEDS` | number of seeds |
//! | `ORDERS_SIMULATION_FIRST_SEED` | first seed; the log of a single seed is printed |

mod buyers;
mod consumers;
mod coverage;
mod functions;
mod invocation;
mod payments;
mod plan;
mod promises;
mod queues;
mod relay_sink;
mod repairs;
mod requests;
mod retention;
mod run;
mod seller;
mod stream;
mod sweep;
mod timers;
mod world;
mod writes;

use crate::{run::run, sweep::Sweep};

/// Number of seeds in CI.
const SEEDS: u64 = 20_000;

#[test]
fn every_promise_holds_under_faults() {
    let sweep = Sweep::from_env(SEEDS);
    let summary = sweep.run();
    sweep::print(&summary);
    if sweep.seeds >= SEEDS {
        let never: Vec<_> = summary
            .coverage
            .lines()
            .filter(|(_, count)| *count == 0)
            .map(|(name, _)| name)
            .collect();
        assert!(never.is_empty(), "never occurred: {never:#?}");
    }
}

#[test]
fn same_seed_has_the_same_history() {
    for seed in 0..40 {
        let (one, two) = (run(seed, true), run(seed, true));
        assert_eq!(one.log, two.log, "seed {seed}");
        assert_eq!(one.history, two.history, "seed {seed}");
    }
}

//! The whole service in one thread, with every function's own code, on a store, queues, a bus, a
//! scheduler, a stream and a clock in memory; and everything that can go wrong between them, by dice.
//!
//! A seed decides what happens; the same seed, the same history. Of every run the promises of the
//! design are checked, after every write, answer and event and when all has come to its end.
//!
//! | variable | says |
//! |---|---|
//! | `ORDERS_SIMULATION_SEEDS` | how many seeds to run |
//! | `ORDERS_SIMULATION_FIRST_SEED` | which is the first; if it is the only one, its story is told |

mod buyers;
mod coverage;
mod functions;
mod invocation;
mod plan;
mod promises;
mod queues;
mod relay_sink;
mod requests;
mod run;
mod seller;
mod stream;
mod sweep;
mod world;
mod writes;

use crate::{run::run, sweep::Sweep};

/// How many seeds CI runs.
const SEEDS: u64 = 20_000;

#[test]
fn every_promise_is_kept_whatever_goes_wrong() {
    let sweep = Sweep::from_env(SEEDS);
    let summary = sweep.run();
    sweep::show(&summary);
    if sweep.seeds >= SEEDS {
        let never: Vec<_> = summary
            .coverage
            .lines()
            .filter(|(_, count)| *count == 0)
            .map(|(name, _)| name)
            .collect();
        assert!(never.is_empty(), "never met: {never:#?}");
    }
}

#[test]
fn the_same_seed_has_the_same_history() {
    for seed in 0..40 {
        let (one, two) = (run(seed, true), run(seed, true));
        assert_eq!(one.story, two.story, "seed {seed}");
        assert_eq!(one.history, two.history, "seed {seed}");
    }
}

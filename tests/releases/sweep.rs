//! Runs of many seeds, on all cores.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crate::{release::Pair, run::run};

/// Number of seeds in CI.
const SEEDS: u64 = 100;

/// A range of seeds.
pub(crate) struct Sweep {
    first: u64,
    seeds: u64,
}

#[derive(Default)]
struct Summary {
    seen: BTreeMap<&'static str, u64>,
    failed: Option<(u64, Pair)>,
}

fn variable(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number")))
}

impl Sweep {
    pub(crate) fn from_env() -> Self {
        Self {
            first: variable("ORDERS_RELEASES_FIRST_SEED").unwrap_or(0),
            seeds: variable("ORDERS_RELEASES_SEEDS").unwrap_or(SEEDS),
        }
    }

    /// Runs all seeds, each with one of the pairs.
    ///
    /// # Panics
    /// If a run violates the promise, with the log of this run, or if a situation never occurs.
    #[expect(clippy::print_stdout, reason = "output of a sweep")]
    pub(crate) fn run(&self, pairs: &[Pair], situations: &[&'static str]) {
        let (next, end) = (AtomicU64::new(self.first), self.first + self.seeds);
        let summary = Mutex::new(Summary::default());
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(seed) = Some(next.fetch_add(1, Relaxed)).filter(|it| *it < end) {
                        let pair = pairs[usize::try_from(seed).expect("a seed") % pairs.len()];
                        let run = run(seed, pair, false);
                        let mut summary = summary.lock().expect("no run panics");
                        if run.violation.is_some() {
                            next.store(end, Relaxed);
                            let earlier = summary.failed.filter(|(failed, _)| *failed < seed);
                            summary.failed = earlier.or(Some((seed, pair)));
                        }
                        for (situation, count) in run.seen {
                            *summary.seen.entry(situation).or_default() += count;
                        }
                    }
                });
            }
        });
        let Summary { seen, failed } = summary.into_inner().expect("no run panics");
        if let Some((seed, pair)) = failed {
            panic!("{}", failure_report(seed, seed - self.first + 1, pair));
        }
        if self.seeds == 1 {
            let pair = pairs[usize::try_from(self.first).expect("a seed") % pairs.len()];
            println!("{}", run(self.first, pair, true).log.join("\n"));
        }
        println!("{} seeds: {seen:#?}", self.seeds);
        let never: Vec<_> = situations.iter().filter(|name| !seen.contains_key(*name)).collect();
        assert!(self.seeds < SEEDS || never.is_empty(), "never occurred: {never:#?}");
    }
}

/// Log and violation of a run, and the command to repeat it.
fn failure_report(seed: u64, number: u64, pair: Pair) -> String {
    let run = run(seed, pair, true);
    format!(
        "{}\n\nseed {seed} (number {number}) fails: {pair:?}: {}\nrepeat: make release-soak SEEDS=1 FIRST={seed}",
        run.log.join("\n"),
        run.violation.unwrap_or_default(),
    )
}

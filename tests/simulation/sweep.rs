//! Runs of many seeds, on all cores.

use std::{
    env,
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    coverage::Coverage,
    run::{Run, run},
};

/// A range of seeds.
pub(crate) struct Sweep {
    pub(crate) first: u64,
    pub(crate) seeds: u64,
}

/// Totals of a sweep.
#[derive(Default)]
pub(crate) struct Summary {
    seeds: u64,
    steps: u64,
    simulated_ms: u64,
    duration: Duration,
    pub(crate) coverage: Coverage,
    failed: Option<u64>,
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number")))
}

impl Sweep {
    pub(crate) fn from_env(seeds: u64) -> Self {
        Self {
            first: number("ORDERS_SIMULATION_FIRST_SEED").unwrap_or(0),
            seeds: number("ORDERS_SIMULATION_SEEDS").unwrap_or(seeds),
        }
    }

    /// Runs all seeds.
    ///
    /// # Panics
    /// If a promise is violated, with the log of the first failing seed.
    pub(crate) fn run(&self) -> Summary {
        let started = Instant::now();
        let next = AtomicU64::new(self.first);
        let end = self.first + self.seeds;
        let summary = Mutex::new(Summary::default());
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(seed) = Some(next.fetch_add(1, Relaxed)).filter(|it| *it < end) {
                        let run = run(seed, false);
                        if run.violation.is_some() {
                            next.store(end, Relaxed);
                        }
                        summary.lock().expect("no run panics").add(&run);
                    }
                });
            }
        });
        let mut summary = summary.into_inner().expect("no run panics");
        summary.duration = started.elapsed();
        if let Some(seed) = summary.failed {
            panic!("{}", failure_report(seed, seed - self.first + 1));
        }
        if self.seeds == 1 {
            print_log(self.first);
        }
        summary
    }
}

/// Log and violation of a run, and the command to repeat it.
fn failure_report(seed: u64, number: u64) -> String {
    let run = run(seed, true);
    format!(
        "{}\n\nseed {seed} (number {number}) fails: {}\nrepeat: make soak SEEDS=1 FIRST={seed}",
        run.log.join("\n"),
        run.violation.unwrap_or_default(),
    )
}

#[expect(clippy::print_stdout, reason = "output of a single seed")]
fn print_log(seed: u64) {
    println!("{}", run(seed, true).log.join("\n"));
}

impl Summary {
    fn add(&mut self, run: &Run) {
        self.seeds += 1;
        self.steps += run.steps;
        self.simulated_ms += run.simulated_ms;
        self.coverage.add(&run.coverage);
        if run.violation.is_some() {
            self.failed = Some(self.failed.map_or(run.seed, |seed| seed.min(run.seed)));
        }
    }

    fn text(&self) -> String {
        let duration = self.duration.as_secs_f64();
        let mut text = String::new();
        let simulated = Duration::from_millis(self.simulated_ms).as_secs() / 3_600;
        for (name, value) in [
            ("seeds", self.seeds.to_string()),
            ("seconds", format!("{duration:.1}")),
            ("seeds/s", format!("{:.0}", as_f64(self.seeds) / duration)),
            ("simulated hours", simulated.to_string()),
            ("steps", self.steps.to_string()),
            ("faults injected", self.coverage.faults().to_string()),
        ] {
            writeln!(text, "{value:>12}  {name}").expect("a writable string");
        }
        for (name, count) in self.coverage.lines() {
            writeln!(text, "{count:>12}  {name}").expect("a writable string");
        }
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "approximate figures for people")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

/// Prints the totals.
#[expect(clippy::print_stdout, reason = "output of a sweep")]
pub(crate) fn print(summary: &Summary) {
    println!("{}", summary.text());
}

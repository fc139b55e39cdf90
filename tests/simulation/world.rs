//! One run's world: its seed, its clock, what is in its queues, and what goes wrong in it.
//!
//! Everything runs on one thread, on tokio's paused clock. Whoever calls a port waits there for a
//! time that the seed decides, so the seed decides who comes next.

use std::{
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use fastrand::Rng;
use orders_domain::Timestamp;
use orders_testing::MemoryStore;
use orders_tests::history::History;
use tokio::{sync::Notify, time::Instant};

use crate::{
    coverage::{Coverage, Fault, Observed},
    plan::Plan,
    promises::Promises,
    queues::{Queue, QueueName},
    relay_sink::Outside,
    stream::Stream,
};

/// When every run begins, in epoch milliseconds.
const BEGINNING_MS: u64 = 1_700_000_000_000;

/// One run's world.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) store: MemoryStore,
    /// Wakes up whoever waits for messages of a queue.
    pub(crate) messages: [Notify; 3],
    /// Wakes up whoever waits for records of the stream.
    pub(crate) records: Notify,
    begun: Instant,
    state: Mutex<State>,
}

/// What changes in a world.
pub(crate) struct State {
    pub(crate) rng: Rng,
    /// Whether faults have stopped.
    pub(crate) healed: bool,
    pub(crate) steps: u64,
    pub(crate) coverage: Coverage,
    pub(crate) queues: [Queue; 3],
    pub(crate) stream: Stream,
    pub(crate) outside: Outside,
    pub(crate) promises: Promises,
    pub(crate) history: History,
    /// The story so far, if anyone wants to read it.
    pub(crate) story: Option<Vec<String>>,
}

impl State {
    pub(crate) fn queue(&mut self, name: QueueName) -> &mut Queue {
        &mut self.queues[name as usize]
    }

    /// What has not come to its end yet; empty, if everything has.
    pub(crate) fn what_is_left(&self) -> String {
        let mut left = String::new();
        for queue in &self.queues {
            let bodies = queue.messages.iter().map(|message| message.body.as_str());
            left.extend(bodies.map(|body| format!("{:?} has {body}; ", queue.name)));
        }
        for (is_left, what) in [
            (self.promises.any_awaits(), "orders await payment; "),
            (!self.stream.is_relayed(), "changes are not relayed; "),
            (!self.outside.schedules.is_empty(), "schedules have not fired; "),
        ] {
            left.push_str(if is_left { what } else { "" });
        }
        left
    }

    /// Whether everything has come to its end, or a promise is broken.
    pub(crate) fn has_ended(&self) -> bool {
        self.promises.broken.is_some() || self.what_is_left().is_empty()
    }

    /// The first promise that is broken ends the run.
    pub(crate) fn broken(&mut self, what: impl Into<String>) {
        self.promises.broken.get_or_insert(what.into());
    }
}

impl World {
    pub(crate) fn new(seed: u64, with_story: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(&mut rng);
        let history =
            History { clock_tolerance_ms: plan.skew_ms.unsigned_abs(), ..History::default() };
        let state = State {
            rng,
            healed: false,
            steps: 0,
            coverage: Coverage::default(),
            queues: QueueName::ALL.map(Queue::new),
            stream: Stream::default(),
            outside: Outside::default(),
            promises: Promises::new(plan.hold),
            history,
            story: with_story.then(Vec::new),
        };
        Self {
            plan,
            store: MemoryStore::default(),
            messages: [const { Notify::const_new() }; 3],
            records: Notify::const_new(),
            begun: Instant::now(),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a run has one thread")
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.now_ms() - BEGINNING_MS
    }

    /// The true time, in epoch milliseconds. No function knows it better than to the skew.
    pub(crate) fn now_ms(&self) -> u64 {
        let elapsed = self.begun.elapsed().as_millis();
        BEGINNING_MS + u64::try_from(elapsed).expect("a run is short")
    }

    /// Whether this goes wrong now.
    pub(crate) fn fault(&self, fault: Fault) -> bool {
        let mut state = self.state();
        let per_mille = self.plan.rate(fault);
        let strikes = per_mille > 0 && !state.healed && state.rng.u64(0..1_000) < per_mille;
        if strikes {
            state.coverage.fault(fault);
            drop(state);
            self.tell(|| format!("  ! {}", fault.name()));
        }
        strikes
    }

    pub(crate) fn count(&self, observed: Observed) {
        self.state().coverage.observed(observed);
    }

    pub(crate) fn roll(&self, range: RangeInclusive<u64>) -> u64 {
        self.state().rng.u64(range)
    }

    /// Whether it comes to this, `in_100` times of 100.
    pub(crate) fn comes_to(&self, in_100: u64) -> bool {
        self.roll(1..=100) <= in_100
    }

    pub(crate) async fn sleep_ms(&self, range: RangeInclusive<u64>) {
        let ms = self.roll(range);
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    /// How long a call is under way: not at all, a moment, or so long that much else can happen.
    pub(crate) async fn latency(&self) {
        let longest = match self.roll(0..=15) {
            0..=5 => return,
            6..=11 => 4,
            12..=14 => 40,
            _ => 700,
        };
        self.sleep_ms(0..=longest).await;
    }

    pub(crate) fn broken(&self, what: impl Into<String>) {
        self.state().broken(what);
    }

    /// Adds a line to the story, if anyone wants to read it.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        let now_ms = self.elapsed_ms();
        let mut state = self.state();
        if let Some(story) = &mut state.story {
            story.push(format!("{:>9.3}  {}", Duration::from_millis(now_ms).as_secs_f64(), line()));
        }
    }
}

pub(crate) fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from_epoch_ms(ms).expect("before the year 9999")
}

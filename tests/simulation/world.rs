//! The world of a run: random numbers, clock, store, queues, stream and faults.
//!
//! All tasks run on one thread with tokio's paused clock. Each call of a port waits for a random
//! time, so that the seed determines the order of all steps.

use std::{
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use fastrand::Rng;
use futures_util::FutureExt;
use orders_domain::Timestamp;
use orders_testing::MemoryStore;
use orders_tests::history::History;
use tokio::{sync::Notify, time::Instant};

use crate::{
    coverage::{Coverage, Fault, Observed},
    invocation::WRITE_DEADLINE_MS,
    payments::PaymentService,
    plan::Plan,
    promises::Promises,
    queues::{Queue, QueueName},
    relay_sink::External,
    stream::Stream,
};

/// Start of every run, in epoch milliseconds.
const START_MS: u64 = 1_700_000_000_000;

/// The world of a run.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    pub(crate) store: MemoryStore,
    /// Wakes the functions when a queue has a new message.
    pub(crate) messages: [Notify; 3],
    /// Wakes the relay when the stream has a new record.
    pub(crate) records: Notify,
    started: Instant,
    state: Mutex<State>,
}

/// Mutable state of a world.
pub(crate) struct State {
    pub(crate) rng: Rng,
    /// Whether the faults have stopped.
    pub(crate) faults_stopped: bool,
    pub(crate) steps: u64,
    pub(crate) coverage: Coverage,
    /// Number of invocations and late writes in progress.
    pub(crate) calls: u64,
    pub(crate) queues: [Queue; 3],
    pub(crate) stream: Stream,
    pub(crate) external: External,
    pub(crate) payment_service: PaymentService,
    pub(crate) promises: Promises,
    pub(crate) history: History,
    /// Log of the run, if requested.
    pub(crate) log: Option<Vec<String>>,
}

impl State {
    pub(crate) fn queue(&mut self, name: QueueName) -> &mut Queue {
        &mut self.queues[name as usize]
    }

    /// Describes the unfinished work; empty if there is none.
    pub(crate) fn pending_work(&self) -> String {
        let mut pending = String::new();
        for queue in &self.queues {
            let bodies = queue.messages.iter().map(|message| message.body.as_str());
            pending.extend(bodies.map(|body| format!("{:?} has {body}; ", queue.name)));
        }
        for (is_pending, text) in [
            (self.promises.any_awaiting_payment(), "orders await payment; "),
            (self.promises.any_damaged_lock(), "locks are not repaired; "),
            (!self.stream.is_relayed(), "changes are not relayed; "),
            (!self.external.schedules.is_empty(), "schedules have not fired; "),
            (self.payment_service.pending > 0, "refunds are not made; "),
        ] {
            pending.push_str(if is_pending { text } else { "" });
        }
        pending
    }

    /// Whether nothing is on its way: no message, change, schedule, refund or call.
    pub(crate) fn is_idle(&self) -> bool {
        let is_handled = |queue: &Queue| {
            let is_final = |body: &String| self.promises.is_invalid(queue.name, body);
            queue.messages.is_empty() && queue.dead.iter().all(is_final)
        };
        self.queues.iter().all(is_handled)
            && self.stream.is_relayed()
            && self.external.schedules.is_empty()
            && self.payment_service.pending == 0
            && self.calls == 0
    }

    /// Whether all work is finished, or a promise is violated.
    pub(crate) fn is_finished(&self) -> bool {
        self.promises.violation.is_some() || self.pending_work().is_empty()
    }
}

impl World {
    pub(crate) fn new(seed: u64, with_log: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(&mut rng);
        let history = History {
            clock_tolerance_ms: plan.skew_ms.unsigned_abs(),
            write_deadline_ms: WRITE_DEADLINE_MS,
            late_limit_ms: plan.late_limit.as_secs() * 1_000,
            time_to_pay_ms: plan.time_to_pay.as_secs() * 1_000,
            holds_per_buyer: plan.holds_per_buyer.into(),
            ..History::default()
        };
        let state = State {
            rng,
            faults_stopped: false,
            steps: 0,
            coverage: Coverage::default(),
            calls: 0,
            queues: QueueName::ALL.map(Queue::new),
            stream: Stream::default(),
            external: External::default(),
            payment_service: PaymentService::default(),
            promises: Promises::new(&plan),
            history,
            log: with_log.then(Vec::new),
        };
        Self {
            seed,
            plan,
            store: MemoryStore::default(),
            messages: [const { Notify::const_new() }; 3],
            records: Notify::const_new(),
            started: Instant::now(),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("an unpoisoned lock")
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.now_ms() - START_MS
    }

    /// True time, in epoch milliseconds. The functions' clocks differ by up to the skew.
    pub(crate) fn now_ms(&self) -> u64 {
        let elapsed = self.started.elapsed().as_millis();
        START_MS + u64::try_from(elapsed).expect("a short run")
    }

    /// Whether this fault occurs now.
    pub(crate) fn fault(&self, fault: Fault) -> bool {
        let mut state = self.state();
        let per_mille = self.plan.rate(fault);
        let occurs = per_mille > 0 && !state.faults_stopped && state.rng.u64(0..1_000) < per_mille;
        if occurs {
            state.coverage.fault(fault);
            drop(state);
            self.log(|| format!("  ! {}", fault.name()));
        }
        occurs
    }

    pub(crate) fn count(&self, observed: Observed) {
        self.state().coverage.observed(observed);
    }

    pub(crate) fn random(&self, range: RangeInclusive<u64>) -> u64 {
        self.state().rng.u64(range)
    }

    /// Returns `true` with this probability.
    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.random(1..=100) <= percent
    }

    pub(crate) async fn sleep_ms(&self, range: RangeInclusive<u64>) {
        let ms = self.random(range);
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    /// Latency of a call: none, a moment, or long enough for many other steps.
    pub(crate) async fn latency(&self) {
        let longest_ms = match self.random(0..=15) {
            0..=5 => return,
            6..=11 => 4,
            12..=14 => 40,
            _ => 700,
        };
        self.sleep_ms(0..=longest_ms).await;
    }

    pub(crate) fn report_violation(&self, violation: impl Into<String>) {
        self.state().promises.report(violation);
    }

    /// Adds a line to the log, if requested.
    pub(crate) fn log(&self, line: impl FnOnce() -> String) {
        let now_ms = self.elapsed_ms();
        let mut state = self.state();
        if let Some(log) = &mut state.log {
            log.push(format!("{:>9.3}  {}", Duration::from_millis(now_ms).as_secs_f64(), line()));
        }
    }
}

pub(crate) fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from_epoch_ms(ms).expect("a time before the year 9999")
}

/// Result of a call of the in-memory store, which never waits.
pub(crate) fn ready<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("an immediate result")
}

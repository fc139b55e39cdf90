//! A run, from its seed to its result.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use orders_tests::history::{History, check_history};
use reconcile::Report;
use tokio::{
    runtime::Builder,
    task::{JoinHandle, LocalSet, spawn_local},
};

use crate::{
    buyers::run_buyer,
    consumers::deliver,
    coverage::Coverage,
    functions::start_consumers,
    queues::QueueName,
    repairs::{run_reconcile, start_schedule},
    retention::start_removals,
    seller::run_seller,
    stream::start_relay,
    world::{World, timestamp},
};

/// Longest time to drain: a message that fails for half a day.
const DRAIN_TIMEOUT: Duration = Duration::from_hours(14);
/// One run in so many waits until the functions dead-letter what no retry can apply.
const HALF_DAYS: u64 = 4;
/// Longest delay of writes whose calls have timed out.
const LATE_EFFECTS: Duration = Duration::from_mins(1);

/// Result of a run.
pub(crate) struct Run {
    pub(crate) seed: u64,
    /// First violated promise.
    pub(crate) violation: Option<String>,
    pub(crate) coverage: Coverage,
    pub(crate) steps: u64,
    pub(crate) simulated_ms: u64,
    pub(crate) history: History,
    pub(crate) log: Vec<String>,
}

/// Runs a seed.
pub(crate) fn run(seed: u64, with_log: bool) -> Run {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let _inside = runtime.enter();
    // Seeds the jitter of the functions.
    fastrand::seed(seed);
    let world = Arc::new(World::new(seed, with_log));
    let local = LocalSet::new();
    let simulation = || local.block_on(&runtime, simulate(&world));
    if let Err(panic) = catch_unwind(AssertUnwindSafe(simulation)) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        world.report_violation(format!("promise 13: panic: {text}"));
    }
    let simulated_ms = world.elapsed_ms();
    let mut state = world.state();
    let state = &mut *state;
    let history = std::mem::take(&mut state.history);
    let explained = if state.promises.has_forgotten() {
        // The checker knows an order by its id, for ever.
        None
    } else {
        check_history(&history).err().map(|contradiction| contradiction.to_string())
    };
    Run {
        seed,
        violation: state.promises.violation.take().or(explained),
        coverage: std::mem::take(&mut state.coverage),
        steps: state.steps,
        simulated_ms,
        history,
        log: state.log.take().unwrap_or_default(),
    }
}

/// Runs sellers and buyers with faults. Then the faults stop, all queues, schedules and the stream drain,
/// and reconcile repairs the forgotten holds.
async fn simulate(world: &Arc<World>) {
    start_consumers(world);
    start_relay(world);
    start_schedule(world);
    start_removals(world);
    let plan = &world.plan;
    let sellers =
        (0..plan.tickets).map(|number| spawn_local(run_seller(Arc::clone(world), number)));
    let buyers = (0..plan.buyers).map(|number| spawn_local(run_buyer(Arc::clone(world), number)));
    for task in sellers.chain(buyers).collect::<Vec<JoinHandle<()>>>() {
        task.await.unwrap_or_else(|error| resume_unwind(error.into_panic()));
    }
    world.state().faults_stopped = true;
    world.log(|| "faults stop".to_owned());
    tokio::time::sleep(LATE_EFFECTS).await;
    if let Err(elapsed) = tokio::time::timeout(DRAIN_TIMEOUT, drain(world)).await {
        world.report_violation(format!(
            "not finished after the faults stopped ({elapsed}): {}",
            world.state().pending_work()
        ));
    }
    check_nothing_is_left(world).await;
    let mut state = world.state();
    let state = &mut *state;
    state.history.complete = true;
    state.promises.check_end(
        &world.store,
        &state.queues,
        &state.external.dead_records,
        &state.stream.poison,
        timestamp(world.now_ms()),
    );
    state.promises.check_consumers(&deliver(&state.external.published, world.seed));
}

/// Checks that one more run of reconcile has nothing to repair.
async fn check_nothing_is_left(world: &Arc<World>) {
    let report = run_reconcile(world).await;
    if report != Some(Report { finished: true, ..Report::default() }) {
        world.report_violation(format!("promise 2: at the end, reconcile reports {report:?}"));
    }
}

async fn drain(world: &World) {
    let skips = !world.seed.is_multiple_of(HALF_DAYS);
    while !world.state().is_finished() {
        if skips {
            world.skip_half_a_day();
        }
        tokio::time::sleep(Duration::from_mins(2)).await;
    }
}

impl World {
    /// Dead-letters the payments, starts and refunds that their function would retry until half a day has
    /// passed.
    fn skip_half_a_day(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        let queue = &mut state.queues[QueueName::Payments as usize];
        let (name, promises) = (queue.name, &state.promises);
        let is_hopeless =
            |body: &str| promises.is_invalid(name, body) && !promises.is_rejected(name, body);
        // A payment that is still on its way can be the one that a refund waits for.
        if queue.messages.iter().all(|message| is_hopeless(&message.body)) {
            let hopeless = std::mem::take(&mut queue.messages);
            queue.dead.extend(hopeless.into_iter().map(|message| message.body));
        }
    }
}

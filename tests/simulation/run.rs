//! One run, from its seed to its verdict.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use orders_tests::history::{History, explain};
use tokio::{
    runtime::Builder,
    task::{JoinHandle, LocalSet, spawn_local},
};

use crate::{
    buyers::shop, coverage::Coverage, functions::start_handling, queues::QueueName, seller::sell,
    stream::start_reading, world::World,
};

/// How long everything takes to drain, at most: twenty receives, and the longest hold.
const PATIENCE: Duration = Duration::from_hours(2);
/// How long calls may still take effect that nobody waits for any more.
const LATE_EFFECTS: Duration = Duration::from_mins(1);

/// What has come of a run.
pub(crate) struct Run {
    pub(crate) seed: u64,
    /// The first promise that was broken, if one was.
    pub(crate) broken: Option<String>,
    pub(crate) coverage: Coverage,
    pub(crate) steps: u64,
    pub(crate) simulated_ms: u64,
    pub(crate) history: History,
    pub(crate) story: Vec<String>,
}

/// Runs a seed.
pub(crate) fn run(seed: u64, with_story: bool) -> Run {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime needs nothing");
    let _inside = runtime.enter();
    // The functions' own jitter comes from here.
    fastrand::seed(seed);
    let world = Arc::new(World::new(seed, with_story));
    let local = LocalSet::new();
    let live = || local.block_on(&runtime, live(&world));
    if let Err(panic) = catch_unwind(AssertUnwindSafe(live)) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        world.broken(format!("promise 13: a panic: {text}"));
    }
    let simulated_ms = world.elapsed_ms();
    let mut state = world.state();
    let state = &mut *state;
    let history = std::mem::take(&mut state.history);
    let explained = explain(&history).err().map(|contradiction| contradiction.to_string());
    Run {
        seed,
        broken: state.promises.broken.take().or(explained),
        coverage: std::mem::take(&mut state.coverage),
        steps: state.steps,
        simulated_ms,
        history,
        story: state.story.take().unwrap_or_default(),
    }
}

/// Everybody does what they came for, while things go wrong; then nothing goes wrong any more, and
/// everything comes to its end.
async fn live(world: &Arc<World>) {
    start_handling(world);
    start_reading(world);
    let plan = &world.plan;
    let sellers = (0..plan.tickets).map(|number| spawn_local(sell(Arc::clone(world), number)));
    let buyers = (0..plan.buyers).map(|number| spawn_local(shop(Arc::clone(world), number)));
    for task in sellers.chain(buyers).collect::<Vec<JoinHandle<()>>>() {
        task.await.unwrap_or_else(|error| resume_unwind(error.into_panic()));
    }
    world.state().healed = true;
    world.tell(|| "from now on nothing goes wrong".to_owned());
    tokio::time::sleep(LATE_EFFECTS).await;
    if let Err(late) = tokio::time::timeout(PATIENCE, drain(world)).await {
        world.broken(format!("nothing comes to an end, {late}: {}", world.state().what_is_left()));
    }
    let mut state = world.state();
    let state = &mut *state;
    state.history.complete = true;
    state.promises.ended(&world.store, &state.queues, &state.outside.buried, &state.stream.poison);
}

async fn drain(world: &World) {
    world.redrive();
    while !world.state().has_ended() {
        tokio::time::sleep(Duration::from_secs(15)).await;
        world.redrive();
    }
}

impl World {
    /// Sends dead letters again, as somebody would who sees to them; all but those that make no
    /// sense, or name no order.
    fn redrive(&self) {
        for queue in QueueName::ALL {
            let dead = std::mem::take(&mut self.state().queue(queue).dead);
            let state = self.state();
            let hopeless = |body: &String| {
                state.promises.is_poison(queue, body)
                    || queue == QueueName::Payments && state.promises.names_no_order(body)
            };
            let (stay, go): (Vec<_>, Vec<_>) = dead.into_iter().partition(hopeless);
            drop(state);
            self.state().queue(queue).dead = stay;
            for body in go {
                self.count(crate::coverage::Observed::Redriven);
                self.send(queue, body, 0);
            }
        }
    }
}

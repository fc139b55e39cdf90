//! Lambda: the account's concurrency and rate, the ramp of each function, cold starts and timeouts.

use std::{cell::Cell, sync::Arc, time::Duration};

use lambda_http::Context;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::{
    latency::COLD_START,
    limits,
    meter::{Pool, Rate, Usage, count},
    settings::Settings,
    world::{World, timestamp},
};

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    CreateOrder,
    ShowOrder,
    CancelOrder,
    TicketEvents,
    PaymentEvents,
    ExpireOrders,
    OrderRelay,
}

impl Function {
    const COUNT: usize = 7;
}

/// The state of Lambda.
pub(crate) struct Lambda {
    account: Pool,
    requests: Rate,
    functions: [Environments; Function::COUNT],
    pub(crate) invocations: u64,
    pub(crate) throttles: u64,
    pub(crate) cold_starts: u64,
    pub(crate) timeouts: u64,
    pub(crate) billed_ms: u64,
}

/// Environments of a function. None is removed during a run.
#[derive(Clone)]
struct Environments {
    idle: usize,
    ramp: Rate,
}

/// An invocation was throttled.
#[derive(Debug)]
pub(crate) struct Throttled;

impl Lambda {
    pub(crate) fn new(settings: &Settings) -> Self {
        let concurrency = settings.account_concurrency;
        let ramp = limits::ENVIRONMENTS_PER_10_S;
        let environments = Environments { idle: 0, ramp: Rate::with_burst(ramp / 10.0, ramp) };
        Self {
            account: Pool::new(concurrency),
            requests: Rate::new(limits::REQUESTS_PER_CONCURRENCY * count(concurrency)),
            functions: std::array::from_fn(|_| environments.clone()),
            invocations: 0,
            throttles: 0,
            cold_starts: 0,
            timeouts: 0,
            billed_ms: 0,
        }
    }

    /// Reserves an environment. Returns whether it has to start first.
    fn start(&mut self, function: Function, now_ms: u64) -> Result<bool, Throttled> {
        if self.account.busy >= self.account.size {
            self.account.refuse(now_ms);
            self.throttles += 1;
            return Err(Throttled);
        }
        if !self.requests.try_take(1.0, now_ms) {
            self.throttles += 1;
            return Err(Throttled);
        }
        let environments = &mut self.functions[function as usize];
        let is_cold = environments.idle == 0;
        if is_cold {
            if !environments.ramp.try_take(1.0, now_ms) {
                self.throttles += 1;
                return Err(Throttled);
            }
            self.cold_starts += 1;
        } else {
            environments.idle -= 1;
        }
        self.account.start(now_ms);
        self.invocations += 1;
        Ok(is_cold)
    }

    fn finish(&mut self, function: Function, now_ms: u64) {
        self.account.finish(now_ms);
        self.functions[function as usize].idle += 1;
    }

    /// Adds environments that have started before.
    pub(crate) fn warm(&mut self, function: Function, environments: usize) {
        self.functions[function as usize].idle += environments;
    }

    pub(crate) fn usage(&self) -> Vec<Usage> {
        vec![
            self.account.usage("Lambda, concurrent executions of the account"),
            self.requests.usage("Lambda, requests of the account"),
        ]
    }
}

/// An invocation of a function.
pub(crate) struct Invocation {
    pub(crate) world: Arc<World>,
    started: Instant,
    /// Time from which the processor is free.
    processor_free: Cell<Instant>,
}

/// Runs a function once. Returns `None` after a timeout.
///
/// # Errors
/// [`Throttled`] without an invocation.
pub(crate) async fn invoke<T>(
    world: &Arc<World>,
    function: Function,
    code: impl AsyncFnOnce(&Invocation) -> T,
) -> Result<Option<T>, Throttled> {
    let is_cold = world.lambda().start(function, world.now_ms())?;
    let begun = Instant::now();
    if is_cold {
        sleep(world.sample(COLD_START)).await;
    }
    let started = Instant::now();
    let invocation =
        Invocation { world: Arc::clone(world), started, processor_free: Cell::new(started) };
    let outcome = timeout_at(started + world.settings.timeout, code(&invocation)).await.ok();
    let mut lambda = world.lambda();
    lambda.timeouts += u64::from(outcome.is_none());
    let billed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    lambda.billed_ms += billed;
    lambda.finish(function, world.now_ms());
    Ok(outcome)
}

impl Invocation {
    pub(crate) fn context(&self) -> Context {
        let mut context = Context::default();
        "rush".clone_into(&mut context.request_id);
        let timeout = self.world.settings.timeout;
        context.deadline = timestamp(self.world.now_ms()).plus(timeout).epoch_ms();
        context
    }

    /// End of the work, half a second before the timeout, as `orders_lambda` computes it.
    pub(crate) fn deadline(&self) -> Instant {
        self.started + self.world.settings.timeout - Duration::from_millis(500)
    }

    /// Uses the processor for a time on a full core, after the work that waits for it already.
    pub(crate) async fn compute(&self, full_core_us: f64) {
        let time = full_core_us / 1e6 / self.world.settings.cores();
        let free = self.processor_free.get().max(Instant::now()) + Duration::from_secs_f64(time);
        self.processor_free.set(free);
        sleep_until(free).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_account_runs_ten_invocations_at_once_and_a_hundred_a_second() {
        let concurrency = limits::NEW_ACCOUNT_CONCURRENCY;
        let settings = Settings { account_concurrency: concurrency, ..Settings::before() };
        let mut lambda = Lambda::new(&settings);
        let started = (0..20).filter(|_| lambda.start(Function::ShowOrder, 0).is_ok()).count();
        assert_eq!(started, 10);
        (0..10).for_each(|_| lambda.finish(Function::ShowOrder, 0));
        let one = |lambda: &mut Lambda| {
            let started = lambda.start(Function::ShowOrder, 1);
            started.map(|_| lambda.finish(Function::ShowOrder, 1)).is_ok()
        };
        assert_eq!((0..200).filter(|_| one(&mut lambda)).count(), 90);
        assert_eq!(lambda.cold_starts, 10);
    }

    #[test]
    fn function_starts_a_thousand_environments_and_a_hundred_more_each_second() {
        let settings = Settings { account_concurrency: 100_000, ..Settings::before() };
        let mut lambda = Lambda::new(&settings);
        let mut start = |now_ms| lambda.start(Function::CreateOrder, now_ms).is_ok();
        assert_eq!((0..5_000).filter(|_| start(0)).count(), 1_000);
        assert_eq!((0..5_000).filter(|_| start(1_000)).count(), 100);
    }
}

//! An invocation of a function: its clock, its end by a crash or a time-out, and its faulty access
//! to the store.

use std::{
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use lambda_http::Context;
use orders_domain::{
    BookedPayment, CommitOutcome, LapsedHolds, LapsedPage, ListQuery, Order, OrderId, OrderStore,
    Page, PaymentId, PlaceOutcome, Placement, Sale, ScanPosition, Slots, StoreError, TicketId,
    TicketOutcome, TicketReplica, TicketRule, Timestamp, Transition, UserId,
};
use orders_tests::can_exhaust_attempts;
use tokio::time::Instant;

use crate::{
    coverage::{Fault, Observed},
    promises::CommandTime,
    world::{World, ready, timestamp},
};

/// Timeout of the functions, as in the template. That of reconcile is longer there; here some of its runs
/// reach their deadline.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of an AWS call.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest latency of a slow call that does not time out.
const LONGEST_SLOW_MS: u64 = 2_900;
/// Longest time of conflict retries, including a last call that times out.
const LONGEST_CONFLICT_MS: u64 = 7_000;
/// Longest delay of a write after its call has timed out.
const LATE_EFFECT_MS: u64 = 40_000;
/// Longest time from the decision on a command to its commit: timeout of the function and late
/// effect.
pub(crate) const WRITE_DEADLINE_MS: u64 = 10_000 + LATE_EFFECT_MS;

/// An invocation of a function.
pub(crate) struct Invocation {
    pub(crate) world: Arc<World>,
    pub(crate) function: &'static str,
    skew_ms: i64,
    started: Instant,
    slow: bool,
    crashed: AtomicBool,
    placed: OnceLock<OrderId>,
    /// Whether a call has failed.
    call_failed: AtomicBool,
    /// Number of writes before the invocation.
    writes_before: u64,
}

/// Runs a function once. Returns `None` if the function crashes or times out.
pub(crate) async fn invoke<T>(
    world: &Arc<World>,
    function: &'static str,
    code: impl AsyncFnOnce(Arc<Invocation>) -> T,
) -> Option<T> {
    let skew_ms = world.plan.skew_ms;
    let skew_ms =
        if world.fault(Fault::ClockSkew) { world.state().rng.i64(-skew_ms..=skew_ms) } else { 0 };
    let invocation = Arc::new(Invocation {
        world: Arc::clone(world),
        function,
        skew_ms,
        started: Instant::now(),
        slow: world.fault(Fault::Slow),
        crashed: AtomicBool::new(false),
        placed: OnceLock::new(),
        call_failed: AtomicBool::new(false),
        writes_before: world.state().promises.writes,
    });
    world.state().calls += 1;
    let mut code = pin!(tokio::time::timeout(TIMEOUT, code(Arc::clone(&invocation))));
    let outcome = std::future::poll_fn(|context| match code.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(outcome.ok()),
        Poll::Pending if invocation.crashed.load(Relaxed) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await;
    world.state().calls -= 1;
    outcome
}

impl Invocation {
    /// Time of this function's clock.
    pub(crate) fn now(&self) -> Timestamp {
        timestamp(self.world.now_ms().saturating_add_signed(self.skew_ms))
    }

    /// Lambda context of the invocation.
    pub(crate) fn context(&self) -> Context {
        let mut context = Context::default();
        "simulated".clone_into(&mut context.request_id);
        context.deadline = self.now().plus(TIMEOUT).epoch_ms();
        context
    }

    /// Deadline of the work, shortly before Lambda's timeout.
    pub(crate) fn deadline(&self) -> Instant {
        self.started + TIMEOUT - Duration::from_millis(500)
    }

    /// Begins a command: a request, or a message of a batch.
    pub(crate) fn begin_command(self: &Arc<Self>) -> SimulatedStore {
        let command = CommandTime { since_ms: self.world.now_ms(), now: self.now() };
        SimulatedStore { invocation: Arc::clone(self), command }
    }

    /// Returns the order that the invocation has placed, with or without a reply.
    pub(crate) fn placed(&self) -> Option<OrderId> {
        self.placed.get().copied()
    }

    /// Whether a 503 is allowed: a call has failed, or concurrent writes can have exhausted the
    /// attempts.
    pub(crate) fn may_be_unavailable(&self) -> bool {
        let others = self.world.state().promises.writes - self.writes_before;
        self.slow || self.call_failed.load(Relaxed) || can_exhaust_attempts(others)
    }

    /// Waits for a call to reach its destination, or for its reply: other tasks run, and the
    /// invocation may crash.
    pub(crate) async fn pause(&self) {
        self.world.state().steps += 1;
        if self.world.fault(Fault::Crash) {
            self.world.log(|| format!("  {} crashes", self.function));
            self.crashed.store(true, Relaxed);
            std::future::pending::<()>().await;
        }
        if self.slow {
            self.world.sleep_ms(0..=LONGEST_SLOW_MS).await;
        } else {
            self.world.latency().await;
        }
    }

    /// Waits for the timeout of a call.
    pub(crate) async fn time_out(&self) {
        tokio::time::sleep(CALL_TIMEOUT).await;
    }
}

/// Store access of a function for one command.
pub(crate) struct SimulatedStore {
    invocation: Arc<Invocation>,
    command: CommandTime,
}

impl SimulatedStore {
    /// Time of the function's clock at which the command began.
    pub(crate) fn began(&self) -> Timestamp {
        self.command.now
    }

    async fn call<T: Send + 'static>(
        &self,
        effect: impl Fn(&Invocation) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (invocation, world) = (&self.invocation, &self.invocation.world);
        invocation.pause().await;
        if self.fails(Fault::Conflict) {
            world.sleep_ms(0..=LONGEST_CONFLICT_MS).await;
            return unavailable(Fault::Conflict);
        }
        for fault in [Fault::Throttle, Fault::ServerError] {
            if self.fails(fault) {
                invocation.pause().await;
                return unavailable(fault);
            }
        }
        if self.fails(Fault::Hang) {
            invocation.time_out().await;
            return unavailable(Fault::Hang);
        }
        if self.fails(Fault::LateEffect) {
            let late = Arc::clone(invocation);
            world.state().calls += 1;
            tokio::task::spawn_local(async move {
                late.world.sleep_ms(0..=LATE_EFFECT_MS).await;
                late.world.log(|| format!("{}: a call takes effect late", late.function));
                drop(effect(&late));
                late.world.state().calls -= 1;
            });
            invocation.time_out().await;
            return unavailable(Fault::LateEffect);
        }
        if world.fault(Fault::SentAgain) {
            drop(effect(invocation));
            invocation.pause().await;
        }
        let outcome = effect(invocation);
        if self.fails(Fault::ReplyLost) {
            invocation.pause().await;
            return unavailable(Fault::ReplyLost);
        }
        invocation.pause().await;
        outcome
    }

    /// Whether this fault makes the call fail. Records it at once: the function's deadline can come before the
    /// end of the call.
    fn fails(&self, fault: Fault) -> bool {
        let fails = self.invocation.world.fault(fault);
        self.invocation.call_failed.fetch_or(fails, Relaxed);
        fails
    }
}

fn unavailable<T>(fault: Fault) -> Result<T, StoreError> {
    Err(StoreError::Unavailable(fault.name().into()))
}

impl OrderStore for SimulatedStore {
    async fn find_ticket(&self, id: &TicketId) -> Result<Option<TicketReplica>, StoreError> {
        let id = id.clone();
        self.call(move |invocation| ready(invocation.world.store.find_ticket(&id))).await
    }

    async fn find(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.call(move |invocation| ready(invocation.world.store.find(id))).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let query = query.clone();
        self.call(move |invocation| ready(invocation.world.store.list(&query))).await
    }

    async fn find_payment(&self, id: &PaymentId) -> Result<Option<BookedPayment>, StoreError> {
        let id = id.clone();
        self.call(move |invocation| ready(invocation.world.store.find_payment(&id))).await
    }

    async fn find_slots(&self, user_id: &UserId) -> Result<Slots, StoreError> {
        let user_id = user_id.clone();
        self.call(move |invocation| ready(invocation.world.store.find_slots(&user_id))).await
    }

    async fn place(&self, placement: &Placement) -> Result<PlaceOutcome, StoreError> {
        let placement = placement.clone();
        self.call(move |invocation| {
            let outcome = invocation.world.place(&placement, invocation.function)?;
            match &outcome {
                PlaceOutcome::Placed => {
                    invocation.placed.get_or_init(|| placement.order.id);
                }
                PlaceOutcome::AlreadyPlaced(order) if invocation.placed() == Some(order.id) => {
                    invocation.world.count(Observed::CreatedAgain);
                }
                PlaceOutcome::AlreadyPlaced(_) | PlaceOutcome::Conflict => {}
            }
            Ok(outcome)
        })
        .await
    }

    async fn commit(&self, transition: &Transition) -> Result<CommitOutcome, StoreError> {
        let transition = transition.clone();
        let command = self.command;
        self.call(move |invocation| {
            let at = invocation.now();
            invocation.world.commit(&transition, invocation.function, command, at)
        })
        .await
    }

    async fn make_permanent(&self, order: &Order) -> Result<CommitOutcome, StoreError> {
        let order = order.clone();
        self.call(move |invocation| invocation.world.make_permanent(&order, invocation.function))
            .await
    }

    async fn apply_ticket(
        &self,
        sale: &Sale,
        rule: TicketRule,
    ) -> Result<TicketOutcome, StoreError> {
        let sale = sale.clone();
        self.call(move |invocation| invocation.world.apply_ticket(&sale, rule)).await
    }
}

impl LapsedHolds for SimulatedStore {
    async fn find_lapsed(
        &self,
        before: Timestamp,
        after: Option<&ScanPosition>,
    ) -> Result<LapsedPage, StoreError> {
        let after = after.cloned();
        self.call(move |invocation| {
            ready(invocation.world.store.find_lapsed(before, after.as_ref()))
        })
        .await
    }

    async fn release(
        &self,
        ticket: &TicketId,
        ended: OrderId,
        now: Timestamp,
    ) -> Result<CommitOutcome, StoreError> {
        let ticket = ticket.clone();
        self.call(move |invocation| invocation.world.release(&ticket, ended, now)).await
    }
}

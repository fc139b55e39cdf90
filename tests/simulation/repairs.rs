//! The recurring schedule of reconcile, beside the traffic, and the damage that it repairs: a lapsed lock on
//! a free or a sold ticket, as a restore leaves it.

use std::{sync::Arc, time::Duration};

use orders_domain::{Lock, Order, OrderId, OrderStore, TicketReplica};
use reconcile::{GRACE, Report};

use crate::{
    coverage::{Fault, Observed},
    invocation::invoke,
    queues::Queue,
    relay_sink::message,
    world::{State, World, ready, timestamp},
};

/// Longest time between two runs.
const LONGEST_PAUSE_MS: u64 = 600_000;

/// Starts the schedule for the whole run.
pub(crate) fn start_schedule(world: &Arc<World>) {
    tokio::task::spawn_local(run_schedule(Arc::clone(world)));
}

/// Runs reconcile again and again: at random times, and just when a hold counts as forgotten.
async fn run_schedule(world: Arc<World>) {
    loop {
        let pause_ms = world.random(0..=LONGEST_PAUSE_MS);
        let wait_ms = world.wait_until_forgotten_ms().filter(|wait_ms| *wait_ms < pause_ms);
        tokio::time::sleep(Duration::from_millis(wait_ms.unwrap_or(pause_ms))).await;
        if world.chance(20) {
            world.count(Observed::ReconciledTwice);
            tokio::join!(run_reconcile(&world), run_reconcile(&world));
        } else {
            run_reconcile(&world).await;
        }
        world.damage_lock();
    }
}

/// Runs the function once. Returns `None` if it crashes or times out.
pub(crate) async fn run_reconcile(world: &Arc<World>) -> Option<Report> {
    let without_faults = world.state().faults_stopped;
    let report = invoke(world, "reconcile", async |invocation| {
        let store = invocation.begin_command();
        reconcile::reconcile(
            &store,
            reconcile::Request::default(),
            store.began(),
            invocation.deadline(),
        )
        .await
    })
    .await;
    world.log(|| format!("reconcile: {report:?}"));
    let Report { expired, released, made_permanent, unreadable, failed, finished } = report?;
    for (occurred, observed) in [
        (expired > 0, Observed::ReconcileExpired),
        (released > 0, Observed::ReconcileReleased),
        (made_permanent > 0, Observed::ReconcileMadePermanent),
        (failed > 0, Observed::ReconcileFailed),
        (!finished, Observed::ReconcileUnfinished),
    ] {
        if occurred {
            world.count(observed);
        }
    }
    let is_complete = finished && failed == 0;
    if unreadable > 0 || without_faults && !is_complete {
        world.report_violation(format!("promise 2: reconcile reports {report:?}"));
    }
    report
}

impl World {
    /// Wait until just before, at or after the time at which the next hold counts as forgotten.
    pub(crate) fn wait_until_forgotten_ms(&self) -> Option<u64> {
        let grace_ms = u64::try_from(GRACE.as_millis()).expect("a short time");
        let now_ms = self.now_ms();
        let forgotten_ms = self.state().promises.next_lapse_ms(now_ms - grace_ms)? + grace_ms;
        Some(forgotten_ms + self.random(0..=3) - 2 - now_ms)
    }

    /// Sometimes leaves a lapsed lock on a ticket: of an order that has ended, or of the order that is paid.
    fn damage_lock(&self) {
        let orders = self.state().promises.all_orders();
        let Some(order) = self.state().rng.choice(&orders).cloned() else { return };
        let replica = ready(self.store.find_ticket(&order.ticket.id)).ok().flatten();
        let Some(replica) = replica.filter(|replica| can_be_damaged(replica.lock, order.id)) else {
            return;
        };
        if !self.fault(Fault::LockDamaged) {
            return;
        }
        let grace = timestamp(self.now_ms()).minus(GRACE);
        let until = grace.plus(Duration::from_millis(self.random(0..=60_000)));
        let lock = Lock::Held { by: order.id, until };
        let replica = TicketReplica { lock, locked_for: Some(order.user_id), ..replica };
        self.log(|| format!("restore: {replica:?}"));
        self.store.put_ticket(replica.clone());
        let now_ms = self.now_ms();
        self.state().promises.lock_damaged(replica, now_ms);
    }

    /// Checks that reconcile expires only an order whose timer is lost or late: a timer that is done has
    /// expired its order.
    pub(crate) fn check_reconciled(&self, order: &Order) {
        let state = self.state();
        let is_expected = state.is_timer_lost_or_late(order);
        drop(state);
        if !is_expected {
            self.report_violation(format!("promise 7: the timer of {order:?} did nothing"));
        }
    }
}

/// Whether a restore can leave a lapsed lock of this order: the ticket is free, or sold to the order.
fn can_be_damaged(lock: Lock, order: OrderId) -> bool {
    match lock {
        Lock::Free => true,
        Lock::Sold { to } => to == order,
        Lock::Held { .. } => false,
    }
}

impl State {
    fn is_timer_lost_or_late(&self, order: &Order) -> bool {
        let expiry = (order.id, order.expires_at);
        let body = message(expiry);
        let is_queued = |queue: &Queue| {
            queue.messages.iter().any(|message| message.body == body) || queue.dead.contains(&body)
        };
        !self.stream.is_relayed()
            || self.external.schedules.contains_key(&expiry)
            || self.external.lost_expiries.contains(&body)
            || self.queues.iter().any(is_queued)
    }
}

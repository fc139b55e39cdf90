//! A run: the world, its services and the code of a case on tokio's paused clock.

use std::{sync::Arc, time::Duration};

use orders_domain::{Lock, OrderId, Sale, TicketReplica};
use tokio::{
    runtime::Builder,
    task::{JoinHandle, LocalSet},
    time::sleep,
};

use crate::{
    mappings::start_mappings,
    report::Report,
    scheduler::start_scheduler,
    settings::Settings,
    sqs::QueueName,
    stream::start_relay,
    world::{World, timestamp},
};

/// Runs a case from a seed.
pub(crate) fn simulate(
    title: impl Into<String>,
    settings: Settings,
    seed: u64,
    case: impl AsyncFnOnce(Arc<World>),
) -> Report {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let _inside = runtime.enter();
    // Seeds the jitter of the functions.
    fastrand::seed(seed);
    let world = Arc::new(World::new(settings, seed));
    LocalSet::new().block_on(&runtime, async {
        start_mappings(&world);
        start_relay(&world);
        start_scheduler(&world);
        case(Arc::clone(&world)).await;
    });
    Report::new(&title.into(), &world)
}

impl World {
    /// Puts a ticket on sale.
    pub(crate) fn put_ticket(&self, id: &str) {
        let sale = Sale::Open(orders_testing::ticket(id, 0));
        self.store.put_ticket(TicketReplica { sale, lock: Lock::Free, locked_for: None });
    }

    /// The event of a payment for an order, sent now.
    pub(crate) fn pay(&self, order: OrderId) {
        let body = format!(
            r#"{{"detail-type":"PaymentCreated","source":"payments","time":"{}","detail":{{"id":"payment-{order}","orderId":"{order}"}}}}"#,
            self.envelope_time()
        );
        self.deliver(QueueName::PaymentEvents, body);
    }

    /// The event of a new ticket.
    pub(crate) fn list_ticket(&self, id: &str) {
        let body = format!(
            r#"{{"detail-type":"TicketCreated","source":"tickets","time":"{}","detail":{{"id":"{id}","title":"Concert","price":19.9,"version":0}}}}"#,
            self.envelope_time()
        );
        self.deliver(QueueName::TicketEvents, body);
    }

    /// The time of an envelope, in whole seconds.
    fn envelope_time(&self) -> String {
        let seconds = timestamp(self.now_ms()).epoch_ms() / 1_000;
        let time =
            i64::try_from(seconds).ok().and_then(|at| chrono::DateTime::from_timestamp(at, 0));
        time.expect("a time before the year 9999").to_rfc3339()
    }

    /// Waits until every message and change is finished, at most this long.
    pub(crate) async fn drain(&self, longest: Duration) {
        let end_ms = self.now_ms() + u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let is_done = || {
            let is_empty = |name: &QueueName| self.queue(*name).is_empty();
            self.stream.len() == 0 && QueueName::ALL.iter().all(is_empty)
        };
        while self.now_ms() < end_ms {
            // Twice: a change that is being relayed may become a message.
            if is_done() {
                sleep(Duration::from_secs(1)).await;
                if is_done() {
                    break;
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Waits for the next arrival of a Poisson process.
    pub(crate) async fn next_arrival(&self, at_s: &mut f64, per_second: f64) {
        *at_s += -(1.0 - self.random()).ln() / per_second;
        let at = Duration::from_secs_f64(*at_s);
        self.sleep_until(u64::try_from(at.as_millis()).unwrap_or(u64::MAX)).await;
    }

    /// A random time up to this one.
    pub(crate) fn up_to(&self, longest: Duration) -> Duration {
        longest.mul_f64(self.random())
    }
}

/// Waits for all tasks.
pub(crate) async fn finish(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }
}

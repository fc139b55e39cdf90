//! Repairs forgotten holds: each hold that lapsed a while ago is treated as a takeover would treat it.
//!
//! Timers expire holds, and the next buyer takes over a lapsed hold. A hold remains if its timer was lost
//! and no buyer came: the other services then wait for its `OrderExpired`. Each write has the conditions
//! of a takeover, so live traffic and a second run at the same time do no harm.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use orders_domain::{
    Availability, CommitOutcome, LapsedHolds, LapsedPage, Lock, ScanPosition, StoreError, Takeover,
    TicketId, Timestamp,
};
use orders_lambda::{
    queue::{log_ids, log_order},
    telemetry::error_chain,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, field};

/// Age of a lapsed hold from which on its timer is not expected any more.
pub const GRACE: Duration = Duration::from_mins(15);

/// Number of tickets that are repaired at the same time.
const CONCURRENCY: usize = 10;

/// Request of an invocation. The schedule sends an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Age in seconds of the holds to repair; [`GRACE`] without it. An operator who knows that the timers are
    /// lost does not wait.
    lapsed_seconds: Option<u32>,
}

impl Request {
    fn grace(self) -> Duration {
        self.lapsed_seconds.map_or(GRACE, |seconds| Duration::from_secs(seconds.into()))
    }
}

/// Result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Orders expired.
    pub expired: u32,
    /// Locks removed whose order is missing, has ended or has another ticket.
    pub released: u32,
    /// Locks of paid orders made permanent.
    pub made_permanent: u32,
    /// Tickets left as they are because this release cannot read an item.
    pub unreadable: u32,
    /// Tickets left as they are because the store failed.
    pub failed: u32,
    /// Whether the scan reached its end.
    pub finished: bool,
}

/// Effect on one ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repair {
    Expired,
    Released,
    MadePermanent,
    /// The ticket has changed since the scan, or its order is not due.
    Nothing,
}

/// Repairs the holds that lapsed as long before `now` as the request says, until the deadline.
pub async fn reconcile(
    store: &impl LapsedHolds,
    request: Request,
    now: Timestamp,
    deadline: Instant,
) -> Report {
    let mut report = Report::default();
    let lapsed = now.minus(request.grace());
    let run = timeout_at(deadline, scan(store, lapsed, now, &mut report)).await;
    match run {
        Ok(Ok(())) => report.finished = true,
        Ok(Err(error)) => {
            tracing::error!(error = error_chain(&error), "Scan of the tickets failed");
        }
        Err(_) => tracing::error!("Deadline reached before the end of the scan"),
    }
    let Report { expired, released, made_permanent, unreadable, failed, finished } = report;
    metrics::counter!("ReconciledHolds").increment((expired + released + made_permanent).into());
    metrics::counter!("ReconcileUnfinished").increment((!finished || failed > 0).into());
    tracing::info!(
        expired,
        released,
        made_permanent,
        unreadable,
        failed,
        finished,
        "Reconciled lapsed holds"
    );
    report
}

async fn scan(
    store: &impl LapsedHolds,
    lapsed: Timestamp,
    now: Timestamp,
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut position: Option<ScanPosition> = None;
    loop {
        let page = store.find_lapsed(lapsed, position.as_ref()).await?;
        let LapsedPage { tickets, next } = page;
        let repairs = stream::iter(&tickets).map(async |ticket| repair(store, ticket, now).await);
        let mut repairs = repairs.buffer_unordered(CONCURRENCY);
        while let Some(repair) = repairs.next().await {
            report.add(&repair);
        }
        let Some(next) = next else { return Ok(()) };
        position = Some(next);
    }
}

impl Report {
    fn add(&mut self, repair: &Result<Repair, StoreError>) {
        match repair {
            Ok(Repair::Expired) => self.expired += 1,
            Ok(Repair::Released) => self.released += 1,
            Ok(Repair::MadePermanent) => self.made_permanent += 1,
            Ok(Repair::Nothing) => {}
            Err(StoreError::Unreadable(_)) => self.unreadable += 1,
            Err(StoreError::Unavailable(_) | StoreError::Refused(_)) => self.failed += 1,
        }
    }
}

/// Repairs the lock of one ticket as a takeover would. Its log line has the ids of ticket and order.
async fn repair(
    store: &impl LapsedHolds,
    ticket_id: &TicketId,
    now: Timestamp,
) -> Result<Repair, StoreError> {
    let span = tracing::error_span!(
        "hold",
        %ticket_id,
        order_id = field::Empty,
        version = field::Empty,
        correlation_id = field::Empty,
    );
    let logged = async {
        let repaired = repair_ticket(store, ticket_id, now).await;
        match &repaired {
            Ok(Repair::Nothing) => {}
            Ok(repair) => tracing::warn!(?repair, "Forgotten hold repaired"),
            Err(error) => {
                tracing::warn!(error = error_chain(error), "Forgotten hold not repaired");
            }
        }
        repaired
    };
    logged.instrument(span).await
}

async fn repair_ticket(
    store: &impl LapsedHolds,
    ticket_id: &TicketId,
    now: Timestamp,
) -> Result<Repair, StoreError> {
    // The scan may lag behind the last write, so the ticket is read again.
    let replica = store.find_ticket(ticket_id).await?;
    let lapsed = replica.map(|replica| replica.lock).filter(|lock| lock.has_lapsed(now));
    let Some(order_id) = lapsed.and_then(Lock::holder) else { return Ok(Repair::Nothing) };
    log_ids(Some(order_id), None, None);
    let order = store.find(order_id).await?;
    if let Some(order) = &order {
        log_order(order);
    }
    match Takeover::availability(ticket_id, order_id, order.as_ref(), now) {
        Availability::Lapsed(Takeover::Expire(expiry)) => {
            Ok(repaired(store.commit(&expiry).await?, Repair::Expired))
        }
        Availability::Lapsed(Takeover::Ended(id)) => {
            Ok(repaired(store.release(ticket_id, id, now).await?, Repair::Released))
        }
        Availability::Sold => match order {
            Some(paid) => Ok(repaired(store.make_permanent(&paid).await?, Repair::MadePermanent)),
            None => Ok(Repair::Nothing),
        },
        // The order awaits payment and is not due: its timer comes.
        Availability::Reserved { .. } | Availability::Own | Availability::Free => {
            Ok(Repair::Nothing)
        }
    }
}

fn repaired(outcome: CommitOutcome, repair: Repair) -> Repair {
    match outcome {
        CommitOutcome::Committed => repair,
        // Order or ticket have changed meanwhile, so the hold is not forgotten.
        CommitOutcome::Conflict | CommitOutcome::PaymentOfAnotherOrder(_) => Repair::Nothing,
    }
}

#[cfg(test)]
mod tests;

//! Tells everyone what has happened to orders, and sees to it that their holds lapse.
//!
//! The table's stream is the outbox: an event is the change itself, so none can be lost between the
//! two, and none can be told of a change that was never committed. A record is done when its event
//! is on the bus and its expiry is set; until then the stream brings it again.

pub mod sink;

use std::{cell::Cell, time::Duration};

use futures_util::{StreamExt, future::ready, stream};
use orders_contracts::OutgoingEvent;
use orders_domain::{Order, OrderEvent, Timestamp};
use orders_lambda::{
    BoxError,
    stream::{Change, Record},
    telemetry::error_chain,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::sink::{MAX_ENTRIES, RelaySink};

/// `EventBridge` Scheduler fires within a minute after its time ("What is Amazon EventBridge
/// Scheduler?"), so it is asked to fire this long before the hold lapses. The message then waits in
/// the queue for the exact second.
const SCHEDULE_LEAD: Duration = Duration::from_mins(1);
/// A schedule that is nearer than this might be in the past before it is made.
const SCHEDULE_MARGIN: Duration = Duration::from_secs(10);
/// How often events are put on the bus before the record is left for the next batch.
const MAX_TRIES: usize = 3;
/// How many schedules are seen to at once. Each takes a connection of its own, and to open one takes
/// longer than to wait for one that is open.
const SCHEDULES_AT_ONCE: usize = 3;
/// How long the scheduler has for an answer: enough for one try. If it once takes longer, it is not asked
/// again in this invocation, so that there is time left to tell of the rest of a batch.
const SCHEDULER_TIME: Duration = Duration::from_secs(2);

/// Relays a batch, in its order, until the deadline. Returns the sequence number of the first record
/// that is not done: the stream brings it and all after it again.
pub async fn relay(
    sink: &impl RelaySink,
    now: Timestamp,
    deadline: Instant,
    records: &[Record<'_>],
) -> Option<String> {
    let scheduler_timed_out = Cell::new(false);
    let mut relay = Relay { sink, now, deadline, scheduler_timed_out, waiting: Vec::new() };
    for record in records {
        if let Err(sequence_number) = relay.take(record).await {
            return Some(sequence_number);
        }
    }
    relay.flush().await.err()
}

/// The sequence number of a record that is not done.
type SequenceNumber = String;

/// An expiry for which there is no schedule.
struct Unscheduled;

struct Relay<'a, O> {
    sink: &'a O,
    now: Timestamp,
    deadline: Instant,
    scheduler_timed_out: Cell<bool>,
    waiting: Vec<PendingEvent>,
}

/// What has happened to one order.
struct PendingEvent {
    sequence_number: String,
    event: OrderEvent,
    order: Order,
    written_at: Timestamp,
    published: OutgoingEvent,
}

impl<O: RelaySink> Relay<'_, O> {
    async fn take(&mut self, record: &Record<'_>) -> Result<(), SequenceNumber> {
        let event = match PendingEvent::from_record(record) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(error = error_chain(error.as_ref()), "a record is poison");
                self.flush().await?;
                return self.dead_letter(record).await;
            }
        };
        if let Some(event) = event {
            // Never two events of one order in one call: of those, the bus might refuse the first.
            let same_order = self.waiting.iter().any(|waiting| waiting.order.id == event.order.id);
            if same_order || self.waiting.len() == MAX_ENTRIES {
                self.flush().await?;
            }
            self.waiting.push(event);
        }
        Ok(())
    }

    async fn dead_letter(&self, record: &Record<'_>) -> Result<(), SequenceNumber> {
        self.sink.dead_letter(record.raw).await.map_err(|error| {
            tracing::error!(error = error_chain(error.as_ref()), "a record could not be buried");
            record.sequence_number.clone()
        })
    }

    /// Finishes what waits.
    async fn flush(&mut self) -> Result<(), SequenceNumber> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some(first) = waiting.first() else { return Ok(()) };
        timeout_at(self.deadline, self.finish(&waiting)).await.unwrap_or_else(|elapsed| {
            tracing::warn!(error = error_chain(&elapsed), "the rest of a batch must wait");
            Err(first.sequence_number.clone())
        })
    }

    /// Publishes these, and sets or removes the expiry of each order that could be published.
    async fn finish(&self, events: &[PendingEvent]) -> Result<(), SequenceNumber> {
        let mut done = self.publish(events).await;
        let published = (0..events.len()).filter(|at| done[*at]);
        let unscheduled = published.map(async |at| {
            self.count(&events[at]);
            self.update_schedule(&events[at]).await.is_err().then_some(at)
        });
        let unscheduled: Vec<usize> =
            stream::iter(unscheduled).buffered(SCHEDULES_AT_ONCE).filter_map(ready).collect().await;
        let orders = unscheduled.iter().map(|at| &events[*at].order);
        let mut sent = self.send(orders).await.into_iter();
        for at in unscheduled {
            done[at] = sent.next().unwrap_or(false);
        }
        match done.iter().position(|done| !done) {
            Some(first) => Err(events[first].sequence_number.clone()),
            None => Ok(()),
        }
    }

    /// Puts events on the bus, and again those that it refuses. Says of each whether it is there.
    async fn publish(&self, events: &[PendingEvent]) -> Vec<bool> {
        let mut published = vec![false; events.len()];
        for _ in 0..MAX_TRIES {
            let missing: Vec<usize> = (0..events.len()).filter(|at| !published[*at]).collect();
            if missing.is_empty() {
                break;
            }
            let events: Vec<_> = missing.iter().map(|at| events[*at].published.clone()).collect();
            for (at, taken) in missing.into_iter().zip(self.sink.publish(&events).await) {
                published[at] = taken;
            }
        }
        published
    }

    fn count(&self, event: &PendingEvent) {
        let name = match event.event {
            OrderEvent::Created => "OrdersPlaced",
            OrderEvent::Paid { .. } => "OrdersPaid",
            OrderEvent::Cancelled => "OrdersCancelled",
            OrderEvent::Expired => "OrdersExpired",
            OrderEvent::RefundDue(_) => "RefundsDue",
        };
        metrics::counter!(name).increment(1);
        let lag_ms = event.written_at.until(self.now).as_millis();
        metrics::histogram!("RelayLag").record(u32::try_from(lag_ms).unwrap_or(u32::MAX));
    }

    /// Makes or removes the schedule of an expiry, or says that a message has to ask for it instead: a
    /// scheduler that fails does not hold up the stream, and a message that comes too early waits in
    /// its queue.
    async fn update_schedule(&self, event: &PendingEvent) -> Result<(), Unscheduled> {
        let order = &event.order;
        if event.event == OrderEvent::Created {
            return self.schedule(order).await;
        }
        if event.event.settles_expiry()
            && may_be_scheduled(order)
            && let Err(error) = self.in_time(self.sink.unschedule_expiry(order.id)).await
        {
            // It fires in its time, finds nothing to do and is gone: not worth holding up the stream.
            tracing::warn!(error = error_chain(error.as_ref()), "a schedule could not be removed");
        }
        Ok(())
    }

    async fn schedule(&self, order: &Order) -> Result<(), Unscheduled> {
        let left = self.now.until(order.expires_at);
        if left < SCHEDULE_LEAD + SCHEDULE_MARGIN {
            return Err(Unscheduled);
        }
        let fires_at = self.now.plus(left.saturating_sub(SCHEDULE_LEAD));
        let scheduled = self.in_time(self.sink.schedule_expiry(order.id, fires_at)).await;
        scheduled.map_err(|error| {
            tracing::warn!(error = error_chain(error.as_ref()), "an expiry is not scheduled");
            Unscheduled
        })
    }

    /// What the scheduler answers, if it answers in time.
    async fn in_time(
        &self,
        request: impl Future<Output = Result<(), BoxError>>,
    ) -> Result<(), BoxError> {
        if self.scheduler_timed_out.get() {
            return Err("the scheduler hangs".into());
        }
        let response = timeout(SCHEDULER_TIME, request).await;
        if response.is_err() {
            self.scheduler_timed_out.set(true);
        }
        response?
    }

    /// Has the queue ask for these expiries. Says of each whether it will.
    async fn send(&self, orders: impl Iterator<Item = &Order>) -> Vec<bool> {
        let expiries: Vec<_> = orders.map(|order| (order.id, order.expires_at)).collect();
        if expiries.is_empty() { Vec::new() } else { self.sink.send_expiries(&expiries).await }
    }
}

/// Whether the hold was ever long enough for a schedule.
fn may_be_scheduled(order: &Order) -> bool {
    order.created_at.until(order.expires_at) >= SCHEDULE_LEAD + SCHEDULE_MARGIN
}

impl PendingEvent {
    /// What the record tells; nothing, if it tells of no change.
    fn from_record(record: &Record<'_>) -> Result<Option<Self>, BoxError> {
        let Change { before, after: order, at } = match &record.change {
            Ok(Some(change)) => change,
            Ok(None) => return Ok(None),
            Err(error) => return Err(error_chain(error.as_ref()).into()),
        };
        let Some(event) = OrderEvent::between(before.as_ref(), order) else { return Ok(None) };
        let published = OutgoingEvent::new(&event, order, *at)?;
        let sequence_number = record.sequence_number.clone();
        let written_at = *at;
        Ok(Some(Self { sequence_number, event, order: order.clone(), written_at, published }))
    }
}

#[cfg(test)]
mod tests;

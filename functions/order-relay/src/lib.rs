//! Publishes the changes of orders and sets the timers of their holds.
//!
//! The orders table's stream is the outbox: each event is made from a committed change, so no event can
//! be lost between the two, and no event is published without its change. A record is done when its event
//! is on the bus and its timer is set. Until then Lambda delivers the record again.

pub mod sink;

use std::{cell::Cell, time::Duration};

use futures_util::future::join_all;
use orders_contracts::OutgoingEvent;
use orders_domain::{Order, OrderEvent, RefundDue, RefundReason, Timestamp, TraceParent};
use orders_lambda::{
    BoxError,
    stream::{Change, Content, Record},
    telemetry::error_chain,
};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument, error_span, field::display};

use crate::sink::{Expiry, MAX_ENTRIES, RelaySink};

/// Lead of a schedule before the end of the hold. `EventBridge` Scheduler fires within a minute after a
/// schedule's time ("What is Amazon EventBridge Scheduler?"); the message then waits in the queue for the
/// exact second.
const SCHEDULE_LEAD: Duration = Duration::from_mins(1);
/// Minimum time until a schedule fires: a nearer schedule could be in the past when it is created.
const SCHEDULE_MARGIN: Duration = Duration::from_secs(10);
/// Number of `PutEvents` calls for an event before its record is left for the next batch.
const MAX_PUBLISH_ATTEMPTS: usize = 3;
/// Time limit of a call of the scheduler, enough for one attempt. After one timeout the scheduler is not
/// called again in the invocation, so that time is left for the remaining events.
const SCHEDULER_TIMEOUT: Duration = Duration::from_secs(2);

/// Relays a batch in its order, until the deadline. Returns the sequence number of the first record that
/// is not done: Lambda delivers this record and all later records again.
pub async fn relay(
    sink: &impl RelaySink,
    now: Timestamp,
    deadline: Instant,
    records: &[Record<'_>],
) -> Option<String> {
    let scheduler_timed_out = Cell::new(false);
    let mut relay = Relay { sink, now, deadline, scheduler_timed_out, pending: Vec::new() };
    for record in records {
        if let Err(sequence_number) = relay.take(record).await {
            return Some(sequence_number);
        }
    }
    relay.flush().await.err()
}

/// Sequence number of a record that is not done.
type SequenceNumber = String;

/// An expiry without a schedule.
struct Unscheduled;

struct Relay<'a, S> {
    sink: &'a S,
    now: Timestamp,
    deadline: Instant,
    scheduler_timed_out: Cell<bool>,
    pending: Vec<PendingEvent>,
}

/// The event of one record, on its way to the bus.
struct PendingEvent {
    sequence_number: SequenceNumber,
    event: OrderEvent,
    order: Order,
    written_at: Timestamp,
    outgoing: OutgoingEvent,
}

impl<S: RelaySink> Relay<'_, S> {
    async fn take(&mut self, record: &Record<'_>) -> Result<(), SequenceNumber> {
        let event = match PendingEvent::from_record(record) {
            Ok(event) => event,
            Err(error) => {
                let (order_id, correlation_id) = record.ids();
                tracing::error!(
                    order_id = order_id.map(display),
                    correlation_id = correlation_id.map(display),
                    sequence_number = record.sequence_number,
                    error = error_chain(error.as_ref()),
                    "Rejected stream record"
                );
                self.flush().await?;
                return self.dead_letter(record).await;
            }
        };
        if let Some(event) = event {
            // Two events of one order never share a call: the bus could refuse the first and accept the
            // second.
            let same_order = self.pending.iter().any(|pending| pending.order.id == event.order.id);
            if same_order || self.pending.len() == MAX_ENTRIES {
                self.flush().await?;
            }
            self.pending.push(event);
        }
        Ok(())
    }

    async fn dead_letter(&self, record: &Record<'_>) -> Result<(), SequenceNumber> {
        self.sink.dead_letter(record.raw).await.map_err(|error| {
            let (order_id, correlation_id) = record.ids();
            tracing::error!(
                order_id = order_id.map(display),
                correlation_id = correlation_id.map(display),
                sequence_number = record.sequence_number,
                error = error_chain(error.as_ref()),
                "Dead-lettering a record failed"
            );
            record.sequence_number.clone()
        })
    }

    /// Finishes the pending events.
    async fn flush(&mut self) -> Result<(), SequenceNumber> {
        let pending = std::mem::take(&mut self.pending);
        let Some(first) = pending.first() else { return Ok(()) };
        timeout_at(self.deadline, self.finish(&pending)).await.unwrap_or_else(|_| {
            tracing::warn!(
                order_id = %first.order.id,
                correlation_id = %first.order.correlation_id,
                sequence_number = first.sequence_number,
                "Deadline reached; the batch is retried from this record"
            );
            Err(first.sequence_number.clone())
        })
    }

    /// Publishes the events, then sets or removes the timer of each published order.
    async fn finish(&self, events: &[PendingEvent]) -> Result<(), SequenceNumber> {
        let mut done = self.publish(events).await;
        let published = (0..events.len()).filter(|index| done[*index]);
        let unscheduled = published.map(async |index| {
            self.count(&events[index]);
            self.update_schedule(&events[index]).await.is_err().then_some(index)
        });
        let unscheduled: Vec<usize> = join_all(unscheduled).await.into_iter().flatten().collect();
        // The queue gets every expiry that has no schedule: short holds, and all if the scheduler fails.
        let orders = unscheduled.iter().map(|index| &events[*index].order);
        let mut sent = self.send(orders).await.into_iter();
        for index in unscheduled {
            done[index] = sent.next().unwrap_or(false);
        }
        match done.iter().position(|done| !done) {
            Some(first) => Err(events[first].sequence_number.clone()),
            None => Ok(()),
        }
    }

    /// Puts events on the bus and resends refused events. Returns whether each event is published.
    async fn publish(&self, events: &[PendingEvent]) -> Vec<bool> {
        let mut published = vec![false; events.len()];
        for _ in 0..MAX_PUBLISH_ATTEMPTS {
            let missing: Vec<usize> =
                (0..events.len()).filter(|index| !published[*index]).collect();
            if missing.is_empty() {
                break;
            }
            let outgoing: Vec<_> =
                missing.iter().map(|index| events[*index].outgoing.clone()).collect();
            for (index, accepted) in missing.into_iter().zip(self.sink.publish(&outgoing).await) {
                published[index] = accepted;
            }
        }
        for (event, published) in events.iter().zip(&published) {
            event.log(*published);
        }
        published
    }

    fn count(&self, event: &PendingEvent) {
        let name = match event.event {
            OrderEvent::Created => "OrdersPlaced",
            OrderEvent::Paid { .. } => "OrdersPaid",
            OrderEvent::Cancelled => "OrdersCancelled",
            OrderEvent::Expired => "OrdersExpired",
            OrderEvent::Extended => "OrdersExtended",
            OrderEvent::RefundDue(_) => "RefundsDue",
            OrderEvent::RefundSettled(_) => "RefundsSettled",
            OrderEvent::Refunded { .. } => "OrdersRefunded",
        };
        metrics::counter!(name).increment(1);
        // The buyer was asked for another price than the order's: the payment service has a defect.
        if let OrderEvent::RefundDue(RefundDue { reason: RefundReason::WrongAmount, .. }) =
            &event.event
        {
            metrics::counter!("WrongAmounts").increment(1);
        }
        let lag_ms = event.written_at.until(self.now).as_millis();
        metrics::histogram!("RelayLag").record(u32::try_from(lag_ms).unwrap_or(u32::MAX));
    }

    /// Creates the schedule of a new or longer hold, or deletes the schedule of a final order. An expiry
    /// without a schedule goes to the queue instead, which delays it: a failing scheduler does not delay
    /// the stream. The earlier timer of a longer hold fires, is obsolete and deletes itself.
    async fn update_schedule(&self, event: &PendingEvent) -> Result<(), Unscheduled> {
        let order = &event.order;
        if event.event.sets_timer() {
            return self.schedule(order).await;
        }
        if event.event.settles_expiry()
            && may_be_scheduled(order)
            && let Err(error) = self.in_time(self.sink.unschedule_expiry(expiry_of(order))).await
        {
            // The schedule fires at its time, finds a final order and deletes itself.
            tracing::warn!(
                order_id = %order.id,
                correlation_id = %order.correlation_id,
                error = error_chain(error.as_ref()),
                "Deleting the schedule failed"
            );
        }
        Ok(())
    }

    async fn schedule(&self, order: &Order) -> Result<(), Unscheduled> {
        let left = self.now.until(order.expires_at);
        if left < SCHEDULE_LEAD + SCHEDULE_MARGIN {
            return Err(Unscheduled);
        }
        let fires_at = self.now.plus(left.saturating_sub(SCHEDULE_LEAD));
        let scheduled = self.in_time(self.sink.schedule_expiry(expiry_of(order), fires_at)).await;
        scheduled.map_err(|error| {
            tracing::warn!(
                order_id = %order.id,
                correlation_id = %order.correlation_id,
                error = error_chain(error.as_ref()),
                "Creating the schedule failed"
            );
            Unscheduled
        })
    }

    /// Calls the scheduler, unless an earlier call of the invocation timed out.
    async fn in_time(
        &self,
        call: impl Future<Output = Result<(), BoxError>>,
    ) -> Result<(), BoxError> {
        if self.scheduler_timed_out.get() {
            return Err("the scheduler timed out earlier in this invocation".into());
        }
        let response = timeout(SCHEDULER_TIMEOUT, call).await;
        if response.is_err() {
            self.scheduler_timed_out.set(true);
        }
        response?
    }

    /// Sends expiries to the queue. Returns whether the queue accepted each expiry.
    async fn send(&self, orders: impl Iterator<Item = &Order>) -> Vec<bool> {
        let with_id = |order: &'_ Order| (expiry_of(order), order.correlation_id.to_string());
        let (expiries, correlation_ids): (Vec<Expiry>, Vec<String>) = orders.map(with_id).unzip();
        if expiries.is_empty() {
            return Vec::new();
        }
        // The sink knows order ids only.
        let span = error_span!("expiries", ?correlation_ids);
        self.sink.send_expiries(&expiries).instrument(span).await
    }
}

/// The timer of the order's current hold.
fn expiry_of(order: &Order) -> Expiry {
    (order.id, order.expires_at)
}

/// Whether the order's hold was long enough for a schedule.
fn may_be_scheduled(order: &Order) -> bool {
    order.created_at.until(order.expires_at) >= SCHEDULE_LEAD + SCHEDULE_MARGIN
}

impl PendingEvent {
    /// The event of a record; `None` if the record has no change of an order.
    fn from_record(record: &Record<'_>) -> Result<Option<Self>, BoxError> {
        let Change { before, after: order, at } = match &record.content {
            Ok(Content::Change(change)) => change.as_ref(),
            Ok(Content::Forgotten) => return Ok(None),
            Ok(Content::Removed) => {
                let (order_id, correlation_id) = record.ids();
                metrics::counter!("OrdersRemoved").increment(1);
                tracing::warn!(
                    order_id = order_id.map(display),
                    correlation_id = correlation_id.map(display),
                    sequence_number = record.sequence_number,
                    "Order removed by hand; no event is published"
                );
                return Ok(None);
            }
            Err(error) => return Err(error_chain(error.as_ref()).into()),
        };
        let Some(event) = OrderEvent::between(before.as_ref(), order) else { return Ok(None) };
        Ok(Some(Self {
            outgoing: OutgoingEvent::new(&event, order, *at)?,
            sequence_number: record.sequence_number.clone(),
            event,
            order: order.clone(),
            written_at: *at,
        }))
    }

    /// Logs whether the bus accepted the event: a line for each change of an order.
    fn log(&self, published: bool) {
        let Self { order, sequence_number, outgoing, .. } = self;
        let (order_id, version) = (display(order.id), order.version.number());
        let (correlation_id, event) = (display(&order.correlation_id), outgoing.detail_type);
        if published {
            let trace_id = order.traceparent.map(TraceParent::trace_id);
            tracing::info!(order_id, version, correlation_id, trace_id, event, "Event published");
        } else {
            tracing::warn!(
                order_id,
                version,
                correlation_id,
                sequence_number,
                event,
                "Event not published; its record is retried"
            );
        }
    }
}

#[cfg(test)]
mod tests;

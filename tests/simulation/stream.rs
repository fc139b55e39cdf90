//! The orders table's stream: changes in commit order, in shards. Each shard is read from its
//! checkpoint, and a batch is retried until the relay has finished it.

use std::{fmt::Write as _, sync::Arc};

use orders_domain::{Order, RefundDue, Slot, Status};
use orders_lambda::stream;

use crate::{
    coverage::{Fault, Observed},
    invocation::invoke,
    relay_sink::SimulatedRelaySink,
    world::World,
};

const SHARDS: usize = 2;
const BATCH_SIZE: u64 = 8;

/// The stream of the orders table.
#[derive(Default)]
pub(crate) struct Stream {
    shards: [Shard; SHARDS],
    last_sequence_number: u64,
    /// Invalid records.
    pub(crate) poison: Vec<String>,
}

#[derive(Default)]
struct Shard {
    records: Vec<(String, String)>,
    checkpoint: usize,
}

impl Stream {
    pub(crate) fn push(&mut self, before: Option<&Order>, after: &Order, now_ms: u64) {
        let sequence_number = self.next_sequence_number();
        let record = record(&sequence_number, before, after, now_ms);
        self.shard_of(after).records.push((sequence_number, record));
    }

    /// Adds the removal of an order by its time to live.
    pub(crate) fn push_removal(&mut self, order: &Order, now_ms: u64) {
        let sequence_number = self.next_sequence_number();
        let record = removal(&sequence_number, order, now_ms);
        self.shard_of(order).records.push((sequence_number, record));
    }

    /// Adds an invalid record.
    pub(crate) fn push_poison(&mut self) {
        let sequence_number = self.next_sequence_number();
        let record = format!(
            r#"{{"eventID":"{sequence_number}","dynamodb":{{"SequenceNumber":"{sequence_number}","ApproximateCreationDateTime":1.7e9,"Keys":{{}},"NewImage":{{"id":{{"S":"?"}}}},"SizeBytes":1}}}}"#
        );
        self.poison.push(record.clone());
        self.shards[0].records.push((sequence_number, record));
    }

    fn next_sequence_number(&mut self) -> String {
        self.last_sequence_number += 1;
        format!("{:021}", self.last_sequence_number)
    }

    /// All changes of an order are in one shard.
    fn shard_of(&mut self, order: &Order) -> &mut Shard {
        &mut self.shards[usize::from(order.id.to_bytes()[15]) % SHARDS]
    }

    pub(crate) fn is_relayed(&self) -> bool {
        self.shards.iter().all(|shard| shard.checkpoint == shard.records.len())
    }
}

impl Shard {
    fn batch(&self, size: usize) -> &[(String, String)] {
        let end = self.records.len().min(self.checkpoint + size);
        &self.records[self.checkpoint..end]
    }
}

/// Starts the relay on each shard for the whole run.
pub(crate) fn start_relay(world: &Arc<World>) {
    for shard in 0..SHARDS {
        tokio::task::spawn_local(read_shard(Arc::clone(world), shard));
    }
}

async fn read_shard(world: Arc<World>, shard: usize) {
    let mut failures = 0_u32;
    loop {
        let size = usize::try_from(world.random(1..=BATCH_SIZE)).expect("a small number");
        // Lambda bisects a batch that fails.
        let batch =
            world.state().stream.shards[shard].batch((size >> failures.min(3)).max(1)).to_vec();
        if batch.is_empty() {
            world.records.notified().await;
            continue;
        }
        world.sleep_ms(0..=200).await;
        let done = relay(&world, &batch).await;
        world.state().stream.shards[shard].checkpoint += done;
        if done < batch.len() {
            failures += 1;
            world.count(Observed::BatchRetried);
            world.sleep_ms(100..=2_000).await;
        } else {
            failures = 0;
        }
    }
}

/// Relays a batch. Returns the number of finished records.
async fn relay(world: &Arc<World>, batch: &[(String, String)]) -> usize {
    let records: Vec<&str> = batch.iter().map(|(_, record)| record.as_str()).collect();
    let event = format!(r#"{{"Records":[{}]}}"#, records.join(","));
    let outcome = invoke(world, "order-relay", async |invocation| {
        let records = stream::read(&event).expect("a valid batch");
        let sink = SimulatedRelaySink(Arc::clone(&invocation));
        let (now, deadline) = (invocation.now(), invocation.deadline());
        let not_done = order_relay::relay(&sink, now, deadline, &records).await;
        invocation.pause().await;
        not_done
    });
    match outcome.await {
        // The first unfinished record. An unknown sequence number fails the whole batch.
        Some(Some(first)) => batch.iter().position(|(number, _)| *number == first).unwrap_or(0),
        Some(None) => batch.len(),
        None => 0,
    }
}

impl World {
    /// Sometimes inserts an invalid record.
    pub(crate) fn insert_poison_record(&self) {
        if self.fault(Fault::PoisonRecord) {
            self.state().stream.push_poison();
            self.records.notify_waiters();
        }
    }
}

/// A record in DynamoDB's format (`NEW_AND_OLD_IMAGES`).
fn record(sequence_number: &str, before: Option<&Order>, after: &Order, now_ms: u64) -> String {
    let old_image = before.map(|order| format!(r#""OldImage":{},"#, image(order)));
    let (old_image, new_image) = (old_image.unwrap_or_default(), image(after));
    let seconds = now_ms / 1_000;
    format!(
        r#"{{"eventID":"{sequence_number}","eventName":"MODIFY","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"eu-central-1","dynamodb":{{"ApproximateCreationDateTime":{seconds},"Keys":{{"id":{{"S":"{}"}}}},{old_image}"NewImage":{new_image},"SequenceNumber":"{sequence_number}","SizeBytes":1,"StreamViewType":"NEW_AND_OLD_IMAGES"}}}}"#,
        after.id
    )
}

/// The record of a removal by time to live (`DynamoDB` developer guide, "`DynamoDB` Streams and time to live").
fn removal(sequence_number: &str, order: &Order, now_ms: u64) -> String {
    let (id, old_image, seconds) = (order.id, image(order), now_ms / 1_000);
    format!(
        r#"{{"eventID":"{sequence_number}","eventName":"REMOVE","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"eu-central-1","userIdentity":{{"type":"Service","principalId":"dynamodb.amazonaws.com"}},"dynamodb":{{"ApproximateCreationDateTime":{seconds},"Keys":{{"id":{{"S":"{id}"}}}},"OldImage":{old_image},"SequenceNumber":"{sequence_number}","SizeBytes":1,"StreamViewType":"NEW_AND_OLD_IMAGES"}}}}"#
    )
}

fn image(order: &Order) -> String {
    let Order { id, user_id, ticket, status, version, created_at, expires_at, .. } = order;
    let mut image = format!(
        r#"{{"id":{{"S":"{id}"}},"user_id":{{"S":"{user_id}"}},"ticket":{{"M":{{"id":{{"S":"{}"}},"title":{{"S":"{}"}},"price":{{"N":"{}"}},"version":{{"N":"{}"}}}}}},"status":{{"S":"{}"}},"version":{{"N":"{}"}},"created_at":{{"N":"{}"}},"expires_at":{{"N":"{}"}},"correlation_id":{{"S":"{}"}}"#,
        ticket.id,
        ticket.title,
        ticket.price.minor(),
        ticket.version.number(),
        status.name(),
        version.number(),
        created_at.epoch_ms(),
        expires_at.epoch_ms(),
        order.correlation_id,
    );
    let mut add = |name: &str, value: String| {
        write!(image, r#","{name}":{value}"#).expect("a writable string");
    };
    if let Status::Paid { payment_id } | Status::Refunded { payment_id } = status {
        add("payment_id", format!(r#"{{"S":"{payment_id}"}}"#));
    }
    if let Some(traceparent) = order.traceparent {
        add("traceparent", format!(r#"{{"S":"{traceparent}"}}"#));
    }
    if order.extended {
        add("extended", r#"{"BOOL":true}"#.to_owned());
    }
    if let Some(slot) = order.slot.map(Slot::number) {
        add("slot", format!(r#"{{"N":"{slot}"}}"#));
    }
    if !order.refunds_due.is_empty() {
        let refunds: Vec<_> = order.refunds_due.iter().map(refund_image).collect();
        add("refunds_due", format!(r#"{{"L":[{}]}}"#, refunds.join(",")));
    }
    image.push('}');
    image
}

fn refund_image(refund: &RefundDue) -> String {
    let (payment, reason, state) = (&refund.payment_id, refund.reason.name(), refund.state.name());
    let amount = refund.amount.map(|amount| format!(r#","amount":{{"N":"{}"}}"#, amount.minor()));
    let amount = amount.unwrap_or_default();
    format!(
        r#"{{"M":{{"payment_id":{{"S":"{payment}"}},"reason":{{"S":"{reason}"}},"state":{{"S":"{state}"}}{amount}}}}}"#
    )
}

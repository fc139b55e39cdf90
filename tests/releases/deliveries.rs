//! The functions behind the queues and the stream, each invocation in a random release.

use std::{rc::Rc, sync::Arc, time::Duration};

use aws_lambda_events::{
    apigw::ApiGatewayV2httpResponse,
    sqs::{SqsEvent, SqsMessage},
};
use orders_tests::can_exhaust_attempts;
use tokio::time::timeout;

use crate::{
    reads,
    release::{Release, number, text},
    tables::{INVOCATION, Invocation},
    this,
    world::{Message, QueueName, Route, Shared, State, World},
    writes,
};

/// Time for which a failed message is retried.
const HALF_A_DAY_MS: u64 = 43_200_000;
const VISIBILITY_TIMEOUT_MS: u64 = 60_000;
const MAX_MESSAGES: usize = 3;
const MAX_RECORDS: usize = 5;

/// The three releases on one world.
pub(crate) struct Service {
    pub(crate) world: Shared,
    pub(crate) this: this::functions::Functions,
    pub(crate) reads: reads::functions::Functions,
    pub(crate) writes: writes::functions::Functions,
}

/// A finished invocation.
pub(crate) struct Invoked<T> {
    pub(crate) outcome: T,
    pub(crate) invocation: Arc<Invocation>,
    /// Whether concurrent writes can have exhausted the attempts of the function.
    pub(crate) is_contended: bool,
}

impl Service {
    /// Runs an invocation in the release that is next.
    pub(crate) async fn invoke<T>(&self, code: impl AsyncFnOnce(Release) -> T) -> Invoked<T> {
        let release = self.world.state().next_release();
        self.invoke_in(release, code).await
    }

    /// Runs an invocation in this release.
    pub(crate) async fn invoke_in<T>(
        &self,
        release: Release,
        code: impl AsyncFnOnce(Release) -> T,
    ) -> Invoked<T> {
        let invocation = Arc::new(Invocation { release, unreadable: Vec::new().into() });
        let before = self.world.state().writes;
        let outcome = INVOCATION.scope(Arc::clone(&invocation), code(release)).await;
        let writes = self.world.state().writes - before;
        Invoked { outcome, invocation, is_contended: can_exhaust_attempts(writes) }
    }

    pub(crate) async fn respond(
        &self,
        release: Release,
        route: Route,
        event: &str,
    ) -> ApiGatewayV2httpResponse {
        let world = &self.world;
        match release {
            Release::This => self.this.respond(world, route, event).await,
            Release::Reads => self.reads.respond(world, route, event).await,
            Release::Writes => self.writes.respond(world, route, event).await,
        }
    }

    async fn receive(&self, release: Release, queue: QueueName, event: &SqsEvent) -> Vec<String> {
        let world = &self.world;
        match release {
            Release::This => self.this.receive(world, queue, event).await,
            Release::Reads => self.reads.receive(world, queue, event).await,
            Release::Writes => self.writes.receive(world, queue, event).await,
        }
    }

    /// Relays records. Returns the sequence number of the first record that is not done.
    pub(crate) async fn relay(&self, release: Release, records: &[String]) -> Option<String> {
        let (world, batch) = (&self.world, format!(r#"{{"Records":[{}]}}"#, records.join(",")));
        match release {
            Release::This => self.this.relay(world, &batch).await,
            Release::Reads => self.reads.relay(world, &batch).await,
            Release::Writes => self.writes.relay(world, &batch).await,
        }
    }
}

/// Handles the messages of a queue for the whole run.
pub(crate) async fn consume(service: Rc<Service>, queue: QueueName) {
    let world = &service.world;
    loop {
        world.message_is_visible(queue).await;
        world.sleep_ms(0..=400).await;
        let event = world.take_batch(queue);
        if event.records.is_empty() {
            continue;
        }
        let early = world.early(&event);
        let handled =
            service.invoke(async |release| service.receive(release, queue, &event).await).await;
        world.settle(queue, &event, &handled, &early);
    }
}

/// Relays the stream for the whole run.
pub(crate) async fn relay(service: Rc<Service>) {
    let world = &service.world;
    loop {
        let records: Vec<String> = {
            let state = world.state();
            let records = state.records[state.relayed..].iter();
            records.take(MAX_RECORDS).cloned().collect()
        };
        if records.is_empty() {
            world.arrivals.notified().await;
            world.sleep_ms(0..=400).await;
            continue;
        }
        let relayed = service.invoke(async |release| service.relay(release, &records).await).await;
        match relayed.outcome {
            None => world.state().relayed += records.len(),
            Some(first) => {
                world.report(format!("record {first} holds up its shard"));
                return;
            }
        }
    }
}

impl World {
    /// Waits until a message of the queue is visible.
    async fn message_is_visible(&self, queue: QueueName) {
        loop {
            let next_ms = self.state().queue(queue).iter().map(|it| it.visible_at_ms).min();
            let Some(next_ms) = next_ms else {
                self.arrivals.notified().await;
                continue;
            };
            let wait = Duration::from_millis(next_ms.saturating_sub(self.now_ms()));
            if wait.is_zero() || timeout(wait, self.arrivals.notified()).await.is_err() {
                return;
            }
        }
    }

    /// A function dead-letters a message. Every message here is valid, so it has failed for half a day.
    pub(crate) fn dead_letter(&self, queue: QueueName, body: &str) {
        let now_ms = self.now_ms();
        let mut state = self.state();
        state.see("a message is dead-lettered");
        let sent_at_ms =
            state.queue(queue).iter().find(|it| it.body == body).map(|it| it.sent_at_ms);
        if sent_at_ms.is_none_or(|sent_at_ms| now_ms - sent_at_ms <= HALF_A_DAY_MS) {
            state.report(format!("{body} is dead-lettered too early"));
        }
        state.dead.push((queue, body.to_owned()));
    }

    /// Receives some of the visible messages.
    fn take_batch(&self, queue: QueueName) -> SqsEvent {
        let now_ms = self.now_ms();
        let mut guard = self.state();
        let state = &mut *guard;
        let mut event = SqsEvent::default();
        let mut messages = std::mem::take(state.queue(queue));
        state.rng.shuffle(&mut messages);
        let size = state.rng.usize(1..=MAX_MESSAGES);
        for message in messages.iter_mut().filter(|it| it.visible_at_ms <= now_ms).take(size) {
            event.records.push(message.receive(now_ms));
        }
        *state.queue(queue) = messages;
        event
    }

    /// Deletes the messages that are done, and checks those that stay.
    fn settle(
        &self,
        queue: QueueName,
        event: &SqsEvent,
        handled: &Invoked<Vec<String>>,
        early: &[String],
    ) {
        let release = handled.invocation.release;
        self.log(|| format!("{release:?}: {queue:?} {} stay", handled.outcome.len()));
        let mut state = self.state();
        let mut failures = 0;
        for message in &event.records {
            let id = message.message_id.as_deref().unwrap_or_default();
            if !handled.outcome.iter().any(|failed| failed == id) {
                state.queue(queue).retain(|message| message.id != id);
            } else if !early.iter().any(|early| early == id) {
                failures += 1;
            }
        }
        if failures > 0 {
            state.see("a message waits for a release that can read");
        }
        let unreadable = handled.invocation.unreadable.lock().expect("an unpoisoned lock").len();
        if failures > unreadable && !handled.is_contended {
            state.report(format!("{release:?} fails {failures} messages of {queue:?}; {unreadable} items cannot be read"));
        }
    }

    /// Ids of the messages that come before their cause.
    fn early(&self, event: &SqsEvent) -> Vec<String> {
        let state = self.state();
        let body = |message: &SqsMessage| message.body.clone().unwrap_or_default();
        let early = event.records.iter().filter(|message| self.is_early(&state, &body(message)));
        early.filter_map(|message| message.message_id.clone()).collect()
    }

    /// Whether a message comes before its cause: a ticket event before its earlier versions, or a refund
    /// before its payment.
    fn is_early(&self, state: &State, body: &str) -> bool {
        let event: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let (kind, detail) = (event["detail-type"].as_str(), &event["detail"]);
        let item = |table: &String| {
            let id = detail["id"].as_str().unwrap_or_default();
            state.items.get(&(table.clone(), id.to_owned()))
        };
        match kind {
            Some("TicketCreated" | "TicketUpdated" | "TicketWithdrawn") => {
                let stored = item(&self.tables.tickets).and_then(|item| number(item, "version"));
                detail["version"].as_u64() > stored.map(|stored| stored + 1)
            }
            Some("PaymentRefunded") => item(&self.tables.payments).is_none(),
            _ => false,
        }
    }

    /// Checks a published event: committed, and after all earlier events of its order.
    pub(crate) fn published(&self, event_id: &str) {
        self.log(|| format!("published {event_id}"));
        let (id, version) = event_id.split_once(':').expect("an order and a version");
        let version: u64 = version.parse().expect("a number");
        let mut state = self.state();
        let item = state.items.get(&(self.tables.orders.clone(), id.to_owned()));
        let is_committed = item.and_then(|item| number(item, "version")) >= Some(version);
        let is_missing = |earlier: &u64| {
            let event = (id.to_owned(), *earlier);
            !state.published.contains(&event) && !state.dead_events.contains(&event)
        };
        if !is_committed || (0..version).any(|earlier| is_missing(&earlier)) {
            state.report(format!("event {event_id} is early"));
        }
        state.published.insert((id.to_owned(), version));
    }

    /// Checks a dead-lettered record: whole, and unreadable for the release.
    pub(crate) fn dead_lettered_record(&self, release: Release, record: &str) {
        let mut state = self.state();
        state.see("a record is dead-lettered");
        let image: serde_json::Value = serde_json::from_str(record).expect("JSON");
        let image = &image["dynamodb"]["NewImage"];
        let is_whole = state.records.iter().any(|original| original == record);
        if !is_whole || release.can_read(image) {
            state.report(format!("{release:?} dead-letters {record}"));
        }
        let version = number(image, "version").expect("a version");
        state.dead_events.insert((text(image, "id").to_owned(), version));
        state.dead_records.push(record.to_owned());
    }
}

impl Message {
    fn receive(&mut self, now_ms: u64) -> SqsMessage {
        self.visible_at_ms = now_ms + VISIBILITY_TIMEOUT_MS;
        self.receive_count += 1;
        let mut message = SqsMessage::default();
        message.message_id = Some(self.id.clone());
        message.receipt_handle = Some(self.id.clone());
        message.body = Some(self.body.clone());
        let count = self.receive_count.to_string();
        message.attributes.insert("ApproximateReceiveCount".to_owned(), count);
        message.attributes.insert("SentTimestamp".to_owned(), self.sent_at_ms.to_string());
        message
    }
}

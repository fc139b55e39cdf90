//! Queues with the guarantees of SQS: at-least-once delivery in any order, a visibility timeout,
//! and a dead-letter queue after too many receives.

use fastrand::Rng;

/// Name of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueName {
    Tickets,
    Payments,
    Expiries,
}

impl QueueName {
    pub(crate) const ALL: [Self; 3] = [Self::Tickets, Self::Payments, Self::Expiries];
}

// As in the template.
const VISIBILITY_TIMEOUT_MS: u64 = 60_000;
const MAX_RECEIVE_COUNT: u32 = 10;
const BATCH_SIZE: usize = 10;

/// A queue with its dead-letter queue.
pub(crate) struct Queue {
    pub(crate) name: QueueName,
    pub(crate) messages: Vec<Queued>,
    pub(crate) dead: Vec<String>,
    next: u64,
}

/// A message in a queue.
pub(crate) struct Queued {
    pub(crate) id: u64,
    pub(crate) body: String,
    visible_at_ms: u64,
    receive_count: u32,
    receipt: u64,
}

/// A received message.
pub(crate) struct Received {
    pub(crate) id: u64,
    pub(crate) receipt: u64,
    pub(crate) body: String,
    pub(crate) receive_count: u32,
    /// Whether an older visible message was not received first.
    pub(crate) overtook: bool,
}

impl Queue {
    pub(crate) fn new(name: QueueName) -> Self {
        Self { name, messages: Vec::new(), dead: Vec::new(), next: 1 }
    }

    pub(crate) fn send(&mut self, body: String, visible_at_ms: u64) {
        let id = self.next_number();
        self.messages.push(Queued { id, body, visible_at_ms, receive_count: 0, receipt: 0 });
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Returns the time of the next visible message.
    pub(crate) fn next_visible_ms(&self) -> Option<u64> {
        self.messages.iter().map(|message| message.visible_at_ms).min()
    }

    /// Receives some of the visible messages, in any order. Dead-letters messages with too many
    /// receives.
    pub(crate) fn receive(&mut self, now_ms: u64, rng: &mut Rng) -> Vec<Received> {
        let visible = |message: &Queued| message.visible_at_ms <= now_ms;
        let (exhausted, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.messages)
            .into_iter()
            .partition(|it| visible(it) && it.receive_count >= MAX_RECEIVE_COUNT);
        self.messages = rest;
        self.dead.extend(exhausted.into_iter().map(|message| message.body));
        let mut chosen: Vec<usize> =
            (0..self.messages.len()).filter(|at| visible(&self.messages[*at])).collect();
        let oldest = chosen.first().copied();
        rng.shuffle(&mut chosen);
        chosen.truncate(rng.usize(1..=BATCH_SIZE));
        chosen.into_iter().map(|at| self.deliver(at, now_ms, oldest != Some(at))).collect()
    }

    fn deliver(&mut self, at: usize, now_ms: u64, overtook: bool) -> Received {
        let receipt = self.next_number();
        let message = &mut self.messages[at];
        message.visible_at_ms = now_ms + VISIBILITY_TIMEOUT_MS;
        message.receive_count += 1;
        message.receipt = receipt;
        Received {
            id: message.id,
            receipt,
            body: message.body.clone(),
            receive_count: message.receive_count,
            overtook,
        }
    }

    /// Sets the visibility of a message. No effect if the message was received again.
    pub(crate) fn set_visibility(&mut self, receipt: u64, until_ms: u64) {
        if let Some(message) = self.messages.iter_mut().find(|it| it.receipt == receipt) {
            message.visible_at_ms = until_ms;
        }
    }

    pub(crate) fn delete(&mut self, receipt: u64) {
        self.messages.retain(|message| message.receipt != receipt);
    }
}

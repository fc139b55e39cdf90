//! Queues with the guarantees of SQS: at-least-once delivery in any order, a visibility timeout,
//! and a dead-letter queue. Only the functions dead-letter here.

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
    sent_at_ms: u64,
    visible_at_ms: u64,
    receive_count: u32,
    receipt: u64,
}

/// A received message.
pub(crate) struct Received {
    pub(crate) id: u64,
    pub(crate) receipt: u64,
    pub(crate) body: String,
    pub(crate) sent_at_ms: u64,
    pub(crate) receive_count: u32,
    /// Whether an older visible message was not received first.
    pub(crate) overtook: bool,
}

impl Queue {
    pub(crate) fn new(name: QueueName) -> Self {
        Self { name, messages: Vec::new(), dead: Vec::new(), next: 1 }
    }

    pub(crate) fn send(&mut self, body: String, sent_at_ms: u64, delay_ms: u64) {
        let id = self.next_number();
        let visible_at_ms = sent_at_ms + delay_ms;
        let (receive_count, receipt) = (0, 0);
        self.messages.push(Queued { id, body, sent_at_ms, visible_at_ms, receive_count, receipt });
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Returns the time of the next visible message.
    pub(crate) fn next_visible_ms(&self) -> Option<u64> {
        self.messages.iter().map(|message| message.visible_at_ms).min()
    }

    /// Receives some of the visible messages, in any order.
    pub(crate) fn receive(&mut self, now_ms: u64, rng: &mut Rng) -> Vec<Received> {
        let visible = |message: &Queued| message.visible_at_ms <= now_ms;
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
            sent_at_ms: message.sent_at_ms,
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

    /// Time at which a message with this body was sent; the first of several.
    pub(crate) fn sent_at_ms(&self, body: &str) -> Option<u64> {
        let with_body = self.messages.iter().filter(|message| message.body == body);
        with_body.map(|message| message.sent_at_ms).min()
    }

    pub(crate) fn delete(&mut self, receipt: u64) {
        self.messages.retain(|message| message.receipt != receipt);
    }
}

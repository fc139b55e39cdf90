//! Queues as SQS has them: at least once, in no order, a message hidden while somebody has it, and a
//! dead-letter queue for what has been received too often.

use fastrand::Rng;

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueName {
    Tickets,
    Payments,
    Expiries,
}

impl QueueName {
    pub(crate) const ALL: [Self; 3] = [Self::Tickets, Self::Payments, Self::Expiries];
}

/// As in the template.
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

/// A message as somebody has received it.
pub(crate) struct Received {
    pub(crate) id: u64,
    pub(crate) receipt: u64,
    pub(crate) body: String,
    pub(crate) receive_count: u32,
    /// Whether an older message was passed over.
    pub(crate) overtook: bool,
}

impl Queue {
    pub(crate) fn new(name: QueueName) -> Self {
        Self { name, messages: Vec::new(), dead: Vec::new(), next: 1 }
    }

    pub(crate) fn send(&mut self, body: String, visible_at_ms: u64) {
        let id = self.number();
        self.messages.push(Queued { id, body, visible_at_ms, receive_count: 0, receipt: 0 });
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// When there is something to receive.
    pub(crate) fn next_visible_ms(&self) -> Option<u64> {
        self.messages.iter().map(|message| message.visible_at_ms).min()
    }

    /// Some of what is visible, in any order. What was received too often is moved aside.
    pub(crate) fn receive(&mut self, now_ms: u64, rng: &mut Rng) -> Vec<Received> {
        let visible = |message: &Queued| message.visible_at_ms <= now_ms;
        let (worn, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.messages)
            .into_iter()
            .partition(|it| visible(it) && it.receive_count >= MAX_RECEIVE_COUNT);
        self.messages = rest;
        self.dead.extend(worn.into_iter().map(|message| message.body));
        let mut chosen: Vec<usize> =
            (0..self.messages.len()).filter(|at| visible(&self.messages[*at])).collect();
        let oldest = chosen.first().copied();
        rng.shuffle(&mut chosen);
        chosen.truncate(rng.usize(1..=BATCH_SIZE));
        chosen.into_iter().map(|at| self.hand_out(at, now_ms, oldest != Some(at))).collect()
    }

    fn hand_out(&mut self, at: usize, now_ms: u64, overtook: bool) -> Received {
        let receipt = self.number();
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

    /// Hides a message from now on, or shows it again; nothing, if somebody else has it by now.
    pub(crate) fn hide(&mut self, receipt: u64, until_ms: u64) {
        if let Some(message) = self.messages.iter_mut().find(|it| it.receipt == receipt) {
            message.visible_at_ms = until_ms;
        }
    }

    pub(crate) fn delete(&mut self, receipt: u64) {
        self.messages.retain(|message| message.receipt != receipt);
    }
}

//! Queues with the guarantees of SQS: at-least-once delivery in any order, a visibility timeout,
//! limits on visibility and on messages in flight, and a dead-letter queue. Only the functions dead-letter
//! here.

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

/// Longest time from the receive of a message until it is visible again (SQS developer guide,
/// "Amazon SQS visibility timeout").
const MAX_VISIBILITY_MS: u64 = 12 * 60 * 60 * 1_000;
/// Messages in flight at which a queue delivers no more (SQS developer guide, "Amazon SQS standard
/// queue quotas").
const MAX_IN_FLIGHT: usize = 120_000;

/// A queue with its dead-letter queue.
pub(crate) struct Queue {
    pub(crate) name: QueueName,
    pub(crate) messages: Vec<Queued>,
    pub(crate) dead: Vec<String>,
    max_in_flight: usize,
    next: u64,
}

/// A message in a queue.
pub(crate) struct Queued {
    pub(crate) id: u64,
    pub(crate) body: String,
    sent_at_ms: u64,
    visible_at_ms: u64,
    received_at_ms: u64,
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
        let (messages, dead) = (Vec::new(), Vec::new());
        Self { name, messages, dead, max_in_flight: MAX_IN_FLIGHT, next: 1 }
    }

    pub(crate) fn send(&mut self, body: String, sent_at_ms: u64, delay_ms: u64) {
        let id = self.next_number();
        self.messages.push(Queued {
            id,
            body,
            sent_at_ms,
            visible_at_ms: sent_at_ms + delay_ms,
            received_at_ms: 0,
            receive_count: 0,
            receipt: 0,
        });
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
        let in_flight = self.messages.iter().filter(|it| it.receive_count > 0 && !visible(it));
        let free = self.max_in_flight.saturating_sub(in_flight.count());
        chosen.truncate(rng.usize(1..=BATCH_SIZE).min(free));
        chosen.into_iter().map(|at| self.deliver(at, now_ms, oldest != Some(at))).collect()
    }

    fn deliver(&mut self, at: usize, now_ms: u64, overtook: bool) -> Received {
        let receipt = self.next_number();
        let message = &mut self.messages[at];
        message.visible_at_ms = now_ms + VISIBILITY_TIMEOUT_MS;
        message.received_at_ms = now_ms;
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
    ///
    /// # Errors
    /// If the message would be invisible for more than 12 hours from its receive on.
    pub(crate) fn set_visibility(
        &mut self,
        receipt: u64,
        until_ms: u64,
    ) -> Result<(), &'static str> {
        let message = self.messages.iter_mut().find(|it| it.receipt == receipt);
        let Some(message) = message else { return Ok(()) };
        if until_ms > message.received_at_ms + MAX_VISIBILITY_MS {
            return Err("total visibility timeout beyond the limit");
        }
        message.visible_at_ms = until_ms;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(messages: usize) -> Queue {
        let mut queue = Queue::new(QueueName::Expiries);
        for _ in 0..messages {
            queue.send(String::new(), 0, 0);
        }
        queue
    }

    #[test]
    fn visibility_ends_12_hours_after_the_receive() {
        let mut queue = queue(1);
        let receipt = queue.receive(1_000, &mut Rng::with_seed(0))[0].receipt;
        let limit_ms = 1_000 + MAX_VISIBILITY_MS;
        assert_eq!(queue.set_visibility(receipt, limit_ms), Ok(()));
        assert!(queue.set_visibility(receipt, limit_ms + 1).is_err());
        assert_eq!(queue.next_visible_ms(), Some(limit_ms));
    }

    #[test]
    fn nothing_is_delivered_above_the_limit_in_flight() {
        let mut rng = Rng::with_seed(0);
        let mut queue = Queue { max_in_flight: 3, ..queue(10) };
        let mut received = Vec::new();
        for _ in 0..10 {
            received.extend(queue.receive(0, &mut rng));
        }
        assert_eq!(received.len(), 3);
        queue.delete(received[0].receipt);
        queue.set_visibility(received[1].receipt, 0).unwrap();
        for _ in 0..10 {
            received.extend(queue.receive(0, &mut rng));
        }
        assert_eq!(received.len(), 5);
    }
}

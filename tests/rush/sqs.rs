//! Standard queues of SQS: visibility, delays, receive counts, dead letters and the limit in flight.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
};

use crate::{
    limits,
    meter::{Pool, Rate, Usage, count},
    settings::Settings,
};

/// Name of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueName {
    TicketEvents,
    PaymentEvents,
    Expiry,
}

impl QueueName {
    pub(crate) const ALL: [Self; 3] = [Self::TicketEvents, Self::PaymentEvents, Self::Expiry];
}

/// A queue, its dead-letter queue, and the pollers of its event source mapping.
pub(crate) struct Queue {
    messages: HashMap<u64, Message>,
    visible: VecDeque<u64>,
    /// Time, id and receipt of the messages that become visible.
    later: BinaryHeap<Reverse<(u64, u64, u64)>>,
    last: u64,
    in_flight: usize,
    most_in_flight: usize,
    max_receive_count: u32,
    visibility_ms: u64,
    batch: usize,
    pub(crate) sent: u64,
    pub(crate) receives: u64,
    pub(crate) most_receives: u32,
    pub(crate) dead: u64,
    pub(crate) requests: u64,
    /// Batches in progress; the size is the number that the mapping allows now.
    pub(crate) pollers: Pool,
    most_pollers: usize,
    scaled_at_ms: u64,
    /// Receive calls of provisioned pollers; `None` in the standard mode, which has no published limit.
    receive_calls: Option<Rate>,
}

struct Message {
    body: String,
    sent_ms: u64,
    receives: u32,
    receipt: u64,
}

/// A received message.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) id: u64,
    pub(crate) receipt: u64,
    pub(crate) body: String,
    pub(crate) sent_ms: u64,
    pub(crate) receives: u32,
}

impl Queue {
    pub(crate) fn new(settings: &Settings, name: QueueName) -> Self {
        let provisioned = if name == QueueName::Expiry { settings.expiry_pollers } else { 0 };
        let batches = provisioned * limits::BATCHES_OF_A_POLLER;
        let most_pollers = if provisioned == 0 { settings.queue_concurrency } else { batches };
        let first_pollers =
            if provisioned == 0 { limits::FIRST_POLLERS.min(most_pollers) } else { batches };
        let calls = count(provisioned * limits::RECEIVES_OF_A_POLLER);
        Self {
            messages: HashMap::new(),
            visible: VecDeque::new(),
            later: BinaryHeap::new(),
            last: 0,
            in_flight: 0,
            most_in_flight: 0,
            max_receive_count: settings.max_receive_count,
            visibility_ms: settings.visibility_timeout.as_secs() * 1_000,
            batch: settings.queue_batch,
            sent: 0,
            receives: 0,
            most_receives: 0,
            dead: 0,
            requests: 0,
            pollers: Pool::new(first_pollers),
            most_pollers,
            scaled_at_ms: 0,
            // Each poller can call at once.
            receive_calls: (provisioned > 0).then(|| Rate::with_burst(calls, count(provisioned))),
        }
    }

    pub(crate) fn send(&mut self, body: String, now_ms: u64, delay_ms: u64) {
        self.last += 1;
        self.sent += 1;
        self.requests += 1;
        let message = Message { body, sent_ms: now_ms, receives: 0, receipt: 0 };
        self.messages.insert(self.last, message);
        self.later.push(Reverse((now_ms + delay_ms, self.last, 0)));
    }

    /// Time at which the next message becomes visible, if none is.
    pub(crate) fn next_visible_ms(&self) -> Option<u64> {
        self.later.peek().map(|Reverse((at_ms, ..))| *at_ms)
    }

    /// Number of visible messages. Those whose time has come become visible.
    pub(crate) fn visible(&mut self, now_ms: u64) -> usize {
        while let Some(Reverse((at_ms, id, receipt))) = self.later.peek().copied() {
            if at_ms > now_ms {
                break;
            }
            self.later.pop();
            // Deleted, or received again meanwhile.
            let Some(message) = self.messages.get_mut(&id).filter(|it| it.receipt == receipt)
            else {
                continue;
            };
            message.receipt = 0;
            self.in_flight -= usize::from(receipt > 0);
            self.visible.push_back(id);
        }
        self.visible.len()
    }

    /// Whether a poller is idle and may call.
    pub(crate) fn may_receive(&mut self, now_ms: u64) -> bool {
        let idle = self.pollers.busy < self.pollers.size;
        idle && self.receive_calls.as_mut().is_none_or(|calls| calls.try_take(1.0, now_ms))
    }

    /// Receives a batch. A message with too many receives is dead-lettered.
    pub(crate) fn receive(&mut self, now_ms: u64) -> Vec<Received> {
        self.requests += 1;
        let mut batch = Vec::new();
        while batch.len() < self.batch && self.in_flight < limits::IN_FLIGHT {
            let Some(id) = self.visible.pop_front() else { break };
            self.last += 1;
            let Some(message) = self.messages.get_mut(&id) else { continue };
            if message.receives >= self.max_receive_count {
                self.messages.remove(&id);
                self.dead += 1;
                continue;
            }
            message.receives += 1;
            message.receipt = self.last;
            self.receives += 1;
            self.most_receives = self.most_receives.max(message.receives);
            self.in_flight += 1;
            self.later.push(Reverse((now_ms + self.visibility_ms, id, self.last)));
            let (body, sent_ms, receives) =
                (message.body.clone(), message.sent_ms, message.receives);
            batch.push(Received { id, receipt: self.last, body, sent_ms, receives });
        }
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        batch
    }

    /// Sets the time at which a received message becomes visible again.
    pub(crate) fn set_visible(&mut self, id: u64, receipt: u64, at_ms: u64) {
        self.requests += 1;
        if let Some(message) = self.messages.get_mut(&id)
            && message.receipt == receipt
        {
            // Another receipt, so that the earlier time has no effect.
            self.last += 1;
            message.receipt = self.last;
            self.later.push(Reverse((at_ms, id, self.last)));
        }
    }

    pub(crate) fn delete(&mut self, id: u64) {
        if let Some(message) = self.messages.remove(&id) {
            self.in_flight -= usize::from(message.receipt > 0);
        }
    }

    /// Counts a message that the function has sent to the dead-letter queue.
    pub(crate) fn count_dead(&mut self) {
        self.requests += 1;
        self.dead += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Number of messages, in flight and delayed too.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Allows more batches while messages are left. Returns the time of the next step, if any.
    pub(crate) fn scale(&mut self, now_ms: u64) -> Option<u64> {
        if self.receive_calls.is_some() {
            return Some(now_ms + 1);
        }
        let next_ms = self.scaled_at_ms + 1_000;
        if self.pollers.size >= self.most_pollers {
            return None;
        }
        if now_ms < next_ms {
            return Some(next_ms);
        }
        self.scaled_at_ms = now_ms;
        let more = self.pollers.size + limits::POLLERS_PER_SECOND;
        self.pollers.size = more.min(self.most_pollers);
        Some(now_ms + 1_000)
    }

    pub(crate) fn usage(&self, name: QueueName) -> Vec<Usage> {
        let mut pollers = self.pollers.clone();
        pollers.size = self.most_pollers;
        let in_flight = Usage {
            name: format!("{name:?} queue, messages in flight"),
            peak: count(self.most_in_flight) / count(limits::IN_FLIGHT),
            limit: limits::IN_FLIGHT.to_string(),
            refused: 0,
            first_refused_ms: None,
        };
        vec![pollers.usage(format!("{name:?} queue, concurrent batches")), in_flight]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(&Settings::before(), QueueName::TicketEvents)
    }

    #[test]
    fn message_is_dead_lettered_after_its_last_receive() {
        let mut queue = queue();
        queue.send("x".to_owned(), 0, 0);
        for number in 0..10 {
            assert_eq!(queue.visible(number * 60_000), 1);
            assert_eq!(queue.receive(number * 60_000).len(), 1);
            assert_eq!(queue.visible(number * 60_000 + 59_999), 0);
        }
        assert_eq!(queue.visible(600_000), 1);
        assert!(queue.receive(600_000).is_empty());
        // 10 receives, 60 s apart: 10 minutes.
        assert_eq!((queue.dead, queue.receives, queue.is_empty()), (1, 10, true));
    }

    #[test]
    fn changed_visibility_replaces_the_timeout_of_the_queue() {
        let mut queue = queue();
        queue.send("x".to_owned(), 0, 2_000);
        assert_eq!(queue.visible(1_999), 0);
        assert_eq!(queue.visible(2_000), 1);
        let received = queue.receive(2_000).remove(0);
        queue.set_visible(received.id, received.receipt, 5_000);
        assert_eq!(queue.visible(5_000), 1);
        let again = queue.receive(5_000).remove(0);
        assert_eq!(again.receives, 2);
        assert_eq!(queue.visible(62_000), 0);
        queue.delete(again.id);
        assert_eq!((queue.visible(100_000), queue.in_flight), (0, 0));
    }

    #[test]
    fn queue_delivers_nothing_above_the_limit_in_flight() {
        let mut queue = queue();
        for _ in 0..limits::IN_FLIGHT + 10 {
            queue.send(String::new(), 0, 0);
        }
        queue.visible(0);
        let received: usize = (0..13_000).map(|_| queue.receive(0).len()).sum();
        assert_eq!(received, limits::IN_FLIGHT);
    }

    #[test]
    fn pollers_start_at_five_and_grow_by_five_a_second() {
        let settings = Settings { queue_concurrency: 22, ..Settings::before() };
        let mut queue = Queue::new(&settings, QueueName::Expiry);
        let sizes: Vec<usize> = (0..6)
            .map(|second| {
                let size = queue.pollers.size;
                queue.scale(second * 1_000 + 1_000);
                size
            })
            .collect();
        assert_eq!(sizes, [5, 10, 15, 20, 22, 22]);
    }

    #[test]
    fn provisioned_poller_receives_ten_times_a_second() {
        let settings = Settings { expiry_pollers: 2, ..Settings::before() };
        let mut queue = Queue::new(&settings, QueueName::Expiry);
        assert_eq!(queue.pollers.size, 20);
        let mut calls = |from_ms: u64| {
            (from_ms..from_ms + 1_000).filter(|now_ms| queue.may_receive(*now_ms)).count()
        };
        assert_eq!([calls(0), calls(1_000)], [21, 20]);
        assert_eq!(Queue::new(&settings, QueueName::PaymentEvents).pollers.size, 5);
    }
}

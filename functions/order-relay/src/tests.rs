use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use orders_domain::{Command, OrderId};
use orders_testing::{START_MS, after, at, order_id as id, order_with_hold};
use serde_json::Value;

use super::*;

/// A deadline far beyond the length of any test.
fn later() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

fn cancelled(order: &Order) -> Order {
    after(order, &Command::Cancel)
}

fn record(number: usize, before: Option<&Order>, after: Option<&Order>) -> Record<'static> {
    Record {
        raw: "",
        sequence_number: number.to_string(),
        content: Ok(after.cloned().map_or(Content::Forgotten, |after| {
            Content::Change(Box::new(Change { before: before.cloned(), after, at: at(0) }))
        })),
    }
}

/// One record for each new order.
fn placements(orders: &[Order]) -> Vec<Record<'static>> {
    let numbered = orders.iter().enumerate();
    numbered.map(|(number, order)| record(number, None, Some(order))).collect()
}

fn poison(number: usize) -> Record<'static> {
    Record { raw: "poison", sequence_number: number.to_string(), content: Err("garbled".into()) }
}

/// A sink that records its input and fails on demand.
#[derive(Default)]
struct FakeSink {
    /// Number of times that the event with this id is still refused.
    refusals: Mutex<HashMap<String, usize>>,
    broken: HashSet<&'static str>,
    calls: Mutex<Vec<usize>>,
    published: Mutex<Vec<String>>,
    expiries: Mutex<Vec<String>>,
    dead_lettered: Mutex<Vec<String>>,
    /// Number of expiries in each call to the queue.
    sendings: Mutex<Vec<usize>>,
    /// Orders whose expiries the queue refuses.
    unsent: HashSet<OrderId>,
}

impl FakeSink {
    fn refusing(event_id: &str, times: usize) -> Self {
        let refusals = HashMap::from([(event_id.to_owned(), times)]);
        Self { refusals: Mutex::new(refusals), ..Self::default() }
    }

    fn note(&self, kind: &'static str, note: String) -> Result<(), BoxError> {
        if self.broken.contains(kind) {
            return Err("broken".into());
        }
        self.expiries.lock().unwrap().push(note);
        Ok(())
    }

    async fn scheduler_responds(&self) {
        if self.broken.contains("scheduler response") {
            std::future::pending::<()>().await;
        }
    }

    fn published(&self) -> Vec<String> {
        self.published.lock().unwrap().clone()
    }

    fn expiries(&self) -> Vec<String> {
        self.expiries.lock().unwrap().clone()
    }
}

impl RelaySink for FakeSink {
    async fn publish(&self, events: &[OutgoingEvent]) -> Vec<bool> {
        if self.broken.contains("bus response") {
            std::future::pending::<()>().await;
        }
        self.calls.lock().unwrap().push(events.len());
        let take = |event: &OutgoingEvent| {
            let detail: Value = serde_json::from_str(&event.detail).unwrap();
            let event_id = detail["metadata"]["eventId"].as_str().unwrap().to_owned();
            let mut refusals = self.refusals.lock().unwrap();
            match refusals.get_mut(&event_id) {
                Some(times) if *times > 0 => {
                    *times -= 1;
                    false
                }
                _ => {
                    self.published.lock().unwrap().push(event_id);
                    true
                }
            }
        };
        events.iter().map(take).collect()
    }

    async fn schedule_expiry(&self, (order_id, _): Expiry, at: Timestamp) -> Result<(), BoxError> {
        self.scheduler_responds().await;
        let second = (at.epoch_ms() - START_MS) / 1_000;
        self.note("schedule", format!("schedule {order_id} at {second}"))
    }

    async fn unschedule_expiry(&self, (order_id, _): Expiry) -> Result<(), BoxError> {
        self.scheduler_responds().await;
        self.note("unschedule", format!("unschedule {order_id}"))
    }

    async fn send_expiries(&self, expiries: &[(OrderId, Timestamp)]) -> Vec<bool> {
        self.sendings.lock().unwrap().push(expiries.len());
        let send = |&(order_id, at): &(OrderId, Timestamp)| {
            let second = (at.epoch_ms() - START_MS) / 1_000;
            !self.unsent.contains(&order_id)
                && self.note("send", format!("send {order_id} at {second}")).is_ok()
        };
        expiries.iter().map(send).collect()
    }

    async fn dead_letter(&self, record: &str) -> Result<(), BoxError> {
        if self.broken.contains("dead_letter") {
            return Err("broken".into());
        }
        self.dead_lettered.lock().unwrap().push(record.to_owned());
        Ok(())
    }
}

fn event_ids(orders: &[&Order]) -> Vec<String> {
    orders.iter().map(|order| format!("{}:{}", order.id, order.version.number())).collect()
}

#[tokio::test]
async fn relay_publishes_every_change_in_order() {
    let sink = FakeSink::default();
    let (one, two) = (order_with_hold(1, 30), order_with_hold(2, 30));
    let one_cancelled = cancelled(&one);
    let records = [
        record(0, None, Some(&one)),
        record(1, None, Some(&two)),
        record(2, Some(&one), Some(&one_cancelled)),
        // A write without a change, and a removed item.
        record(3, Some(&two), Some(&two)),
        record(4, Some(&two), None),
    ];
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert_eq!(sink.published(), event_ids(&[&one, &two, &one_cancelled]));
    assert_eq!(*sink.calls.lock().unwrap(), [2, 1], "two events of one order never share a call");
}

#[tokio::test]
async fn change_of_the_buyer_alone_is_no_event() {
    let placed = order_with_hold(1, 700);
    for order in [cancelled(&placed), placed] {
        let erased = Order { user_id: "erased-1".parse().unwrap(), ..order.clone() };
        let sink = FakeSink::default();
        let records = [record(0, Some(&order), Some(&erased))];
        assert_eq!(relay(&sink, at(0), later(), &records).await, None);
        assert_eq!((sink.published(), sink.expiries()), (vec![], vec![]));
    }
}

#[tokio::test]
async fn order_without_an_old_image_is_published_at_its_version() {
    let order = cancelled(&order_with_hold(1, 30));
    let sink = FakeSink::default();
    let records = [record(0, None, Some(&order))];
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert_eq!(sink.published(), [format!("{}:1", order.id)]);
}

#[tokio::test]
async fn relay_publishes_at_most_ten_events_in_a_call() {
    let sink = FakeSink::default();
    let orders: Vec<_> = (0..23).map(|byte| order_with_hold(byte, 30)).collect();
    let records = placements(&orders);
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert_eq!(*sink.calls.lock().unwrap(), [10, 10, 3]);
    assert_eq!(sink.published().len(), 23);
}

#[tokio::test]
async fn relay_resends_only_the_refused_event() {
    let orders: Vec<_> = (0..3).map(|byte| order_with_hold(byte, 30)).collect();
    let sink = FakeSink::refusing(&format!("{}:0", id(1)), 2);
    let records = placements(&orders);
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert_eq!(*sink.calls.lock().unwrap(), [3, 1, 1]);
    assert_eq!(sink.published(), event_ids(&[&orders[0], &orders[2], &orders[1]]));
}

#[tokio::test]
async fn event_refused_for_good_starts_the_next_batch() {
    let orders: Vec<_> = (0..3).map(|byte| order_with_hold(byte, 30)).collect();
    let change = cancelled(&orders[1]);
    let sink = FakeSink::refusing(&format!("{}:0", id(1)), usize::MAX);
    let records = [
        record(0, None, Some(&orders[0])),
        record(1, None, Some(&orders[1])),
        record(2, None, Some(&orders[2])),
        record(3, Some(&orders[1]), Some(&change)),
    ];
    assert_eq!(relay(&sink, at(0), later(), &records).await.as_deref(), Some("1"));
    assert!(!sink.published().contains(&format!("{}:1", id(1))), "never before version 0");
    assert_eq!(sink.expiries(), [0, 2].map(|byte| format!("send {} at 30", id(byte))));
}

#[tokio::test]
async fn short_hold_goes_to_the_queue_and_long_hold_to_the_scheduler_a_minute_early() {
    for (hold, now, expected) in [
        (30, 0, "send {} at 30"),
        (30, 40, "send {} at 30"),
        (69, 0, "send {} at 69"),
        (70, 0, "schedule {} at 10"),
        (3_600, 0, "schedule {} at 3540"),
        (3_600, 3_540, "send {} at 3600"),
    ] {
        let sink = FakeSink::default();
        let order = order_with_hold(1, hold);
        assert_eq!(relay(&sink, at(now), later(), &[record(0, None, Some(&order))]).await, None);
        assert_eq!(sink.expiries(), [expected.replace("{}", &order.id.to_string())]);
    }
}

#[tokio::test]
async fn final_order_loses_its_schedule() {
    let unscheduled = || vec![format!("unschedule {}", id(1))];
    for (hold, expected) in [(30, vec![]), (69, vec![]), (70, unscheduled()), (90, unscheduled())] {
        let sink = FakeSink::default();
        let order = order_with_hold(1, hold);
        let over = cancelled(&order);
        let records = [record(0, Some(&order), Some(&over))];
        assert_eq!(relay(&sink, at(0), later(), &records).await, None);
        assert_eq!(sink.expiries(), expected);
    }
}

#[tokio::test]
async fn expiry_without_a_timer_starts_the_next_batch() {
    let (short, long) = (order_with_hold(1, 30), order_with_hold(2, 90));
    for (broken, order) in [(vec!["send"], &short), (vec!["send", "schedule"], &long)] {
        let sink = FakeSink { broken: broken.into_iter().collect(), ..FakeSink::default() };
        let failed = relay(&sink, at(0), later(), &[record(7, None, Some(order))]).await;
        assert_eq!(failed.as_deref(), Some("7"));
    }
}

#[tokio::test]
async fn expiries_of_a_batch_are_sent_in_one_call() {
    let sink = FakeSink::default();
    // Every second hold is long enough for a schedule.
    let orders: Vec<_> =
        (0..10).map(|byte| order_with_hold(byte, [30, 90][usize::from(byte) % 2])).collect();
    assert_eq!(relay(&sink, at(0), later(), &placements(&orders)).await, None);
    assert_eq!(*sink.sendings.lock().unwrap(), [5]);
    assert_eq!(sink.expiries().len(), 10);
}

#[tokio::test]
async fn queue_is_not_called_without_expiries() {
    let sink = FakeSink::default();
    let order = order_with_hold(1, 30);
    let over = cancelled(&order);
    let records =
        [record(0, None, Some(&order_with_hold(2, 90))), record(1, Some(&order), Some(&over))];
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert!(sink.sendings.lock().unwrap().is_empty());
}

#[tokio::test]
async fn expiry_refused_by_the_queue_starts_the_next_batch() {
    // The second order has a schedule, so the queue does not get its expiry.
    for (unsent, failed) in [(0, Some("0")), (1, None), (2, Some("2")), (3, Some("3"))] {
        let sink = FakeSink { unsent: HashSet::from([id(unsent)]), ..FakeSink::default() };
        let orders = [
            order_with_hold(0, 30),
            order_with_hold(1, 90),
            order_with_hold(2, 30),
            order_with_hold(3, 30),
        ];
        let first = relay(&sink, at(0), later(), &placements(&orders)).await;
        assert_eq!(first.as_deref(), failed);
    }
}

#[tokio::test]
async fn failing_scheduler_delays_no_event() {
    let sink =
        FakeSink { broken: HashSet::from(["schedule", "unschedule"]), ..FakeSink::default() };
    let order = order_with_hold(1, 90);
    let over = cancelled(&order);
    let records = [record(0, None, Some(&order)), record(1, Some(&order), Some(&over))];
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert_eq!(sink.published(), event_ids(&[&order, &over]));
    assert_eq!(sink.expiries(), [format!("send {} at 90", order.id)], "the queue has it");
}

#[tokio::test(start_paused = true)]
async fn hanging_scheduler_is_called_once_and_delays_no_event() {
    let sink = FakeSink { broken: HashSet::from(["scheduler response"]), ..FakeSink::default() };
    let orders: Vec<_> = (0..49).map(|byte| order_with_hold(byte, 90)).collect();
    let last = order_with_hold(49, 90);
    let mut records = placements(&orders);
    records.push(record(49, Some(&last), Some(&cancelled(&last))));
    let deadline = Instant::now() + Duration::from_secs(9);
    assert_eq!(relay(&sink, at(0), deadline, &records).await, None);
    let sent: Vec<_> = orders.iter().map(|order| format!("send {} at 90", order.id)).collect();
    assert_eq!(sink.expiries(), sent, "the queue has them");
}

#[tokio::test(start_paused = true)]
async fn batch_past_its_deadline_is_retried_from_its_first_record() {
    let orders: Vec<_> = (0..11).map(|byte| order_with_hold(byte, 30)).collect();
    let sink = FakeSink { broken: HashSet::from(["bus response"]), ..FakeSink::default() };
    let failed = relay(&sink, at(0), later(), &placements(&orders)).await;
    assert_eq!(failed.as_deref(), Some("0"));
}

#[tokio::test]
async fn poison_record_is_dead_lettered_whole_and_delays_no_other() {
    let sink = FakeSink::default();
    let (one, two) = (order_with_hold(1, 30), order_with_hold(2, 30));
    let records = [record(0, None, Some(&one)), poison(1), record(2, None, Some(&two))];
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert_eq!(*sink.dead_lettered.lock().unwrap(), ["poison"]);
    assert_eq!(sink.published(), event_ids(&[&one, &two]));
}

#[tokio::test]
async fn poison_record_stays_if_it_cannot_be_dead_lettered() {
    let sink = FakeSink { broken: HashSet::from(["dead_letter"]), ..FakeSink::default() };
    let records = [record(0, None, Some(&order_with_hold(1, 30))), poison(1)];
    assert_eq!(relay(&sink, at(0), later(), &records).await.as_deref(), Some("1"));
    assert_eq!(sink.published().len(), 1);
}

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use orders_domain::{Command, Decision, NewOrder, OrderId, Price, Ticket, TicketVersion, decide};
use serde_json::Value;

use super::*;

const START_MS: u64 = 1_700_000_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_epoch_ms(START_MS + seconds * 1_000).unwrap()
}

/// A deadline that no test comes near.
fn later() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

fn id(byte: u8) -> OrderId {
    OrderId::from_bytes([byte; 16])
}

fn placed(byte: u8, hold_seconds: u64) -> Order {
    let request = NewOrder {
        id: id(byte),
        user_id: "alice".parse().unwrap(),
        now: at(0),
        hold: Duration::from_secs(hold_seconds),
        correlation_id: "request-1".parse().unwrap(),
    };
    let ticket = Ticket {
        id: "t1".parse().unwrap(),
        title: "Concert".parse().unwrap(),
        price: Price::from_minor(2_000).unwrap(),
        version: TicketVersion::new(0),
    };
    Order::new(request, ticket)
}

fn cancelled(order: &Order) -> Order {
    let Decision::Apply(change) = decide(order, &Command::Cancel) else { panic!("it can be") };
    change.order().clone()
}

fn record(number: usize, before: Option<&Order>, after: Option<&Order>) -> Record<'static> {
    Record {
        raw: "",
        sequence_number: number.to_string(),
        change: Ok(after.cloned().map(|after| Change {
            before: before.cloned(),
            after,
            at: at(0),
        })),
    }
}

/// One record for each order, of its being placed.
fn placements(orders: &[Order]) -> Vec<Record<'static>> {
    let numbered = orders.iter().enumerate();
    numbered.map(|(number, order)| record(number, None, Some(order))).collect()
}

fn poison(number: usize) -> Record<'static> {
    Record { raw: "poison", sequence_number: number.to_string(), change: Err("garbled".into()) }
}

/// Remembers what it was given, and refuses what it is told to.
#[derive(Default)]
struct FakeSink {
    /// How often the event of this id is still refused.
    refusals: Mutex<HashMap<String, usize>>,
    broken: HashSet<&'static str>,
    calls: Mutex<Vec<usize>>,
    published: Mutex<Vec<String>>,
    expiries: Mutex<Vec<String>>,
    buried: Mutex<Vec<String>>,
    /// How many expiries each call to the queue had.
    sendings: Mutex<Vec<usize>>,
    /// Whose expiries the queue refuses.
    unsent: HashSet<OrderId>,
}

impl FakeSink {
    fn refusing(event_id: &str, times: usize) -> Self {
        let refusals = HashMap::from([(event_id.to_owned(), times)]);
        Self { refusals: Mutex::new(refusals), ..Self::default() }
    }

    fn note(&self, kind: &'static str, note: String) -> Result<(), BoxError> {
        if self.broken.contains(kind) {
            return Err("it is broken".into());
        }
        self.expiries.lock().unwrap().push(note);
        Ok(())
    }

    async fn scheduler_answers(&self) {
        if self.broken.contains("answer of the scheduler") {
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
        if self.broken.contains("answer") {
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

    async fn schedule_expiry(&self, order_id: OrderId, at: Timestamp) -> Result<(), BoxError> {
        self.scheduler_answers().await;
        let second = (at.epoch_ms() - START_MS) / 1_000;
        self.note("schedule", format!("schedule {order_id} at {second}"))
    }

    async fn unschedule_expiry(&self, order_id: OrderId) -> Result<(), BoxError> {
        self.scheduler_answers().await;
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
            return Err("it is broken".into());
        }
        self.buried.lock().unwrap().push(record.to_owned());
        Ok(())
    }
}

fn event_ids(orders: &[&Order]) -> Vec<String> {
    orders.iter().map(|order| format!("{}:{}", order.id, order.version.number())).collect()
}

#[tokio::test]
async fn every_change_is_published_in_order() {
    let sink = FakeSink::default();
    let (one, two) = (placed(1, 30), placed(2, 30));
    let one_cancelled = cancelled(&one);
    let records = [
        record(0, None, Some(&one)),
        record(1, None, Some(&two)),
        record(2, Some(&one), Some(&one_cancelled)),
        // A write that changed nothing, and a item that was removed.
        record(3, Some(&two), Some(&two)),
        record(4, Some(&two), None),
    ];
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert_eq!(sink.published(), event_ids(&[&one, &two, &one_cancelled]));
    assert_eq!(*sink.calls.lock().unwrap(), [2, 1], "two events of one order never share a call");
}

#[tokio::test]
async fn a_call_has_ten_events_at_most() {
    let sink = FakeSink::default();
    let orders: Vec<_> = (0..23).map(|byte| placed(byte, 30)).collect();
    let records = placements(&orders);
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert_eq!(*sink.calls.lock().unwrap(), [10, 10, 3]);
    assert_eq!(sink.published().len(), 23);
}

#[tokio::test]
async fn a_refused_event_is_sent_again_alone() {
    let orders: Vec<_> = (0..3).map(|byte| placed(byte, 30)).collect();
    let sink = FakeSink::refusing(&format!("{}:0", id(1)), 2);
    let records = placements(&orders);
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert_eq!(*sink.calls.lock().unwrap(), [3, 1, 1]);
    assert_eq!(sink.published(), event_ids(&[&orders[0], &orders[2], &orders[1]]));
}

#[tokio::test]
async fn an_event_refused_for_good_is_where_the_next_batch_begins() {
    let orders: Vec<_> = (0..3).map(|byte| placed(byte, 30)).collect();
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
async fn a_short_hold_is_sent_straight_to_the_queue_and_a_long_one_scheduled_a_minute_early() {
    for (hold, now, expected) in [
        (30, 0, "send {} at 30"),
        (30, 40, "send {} at 30"),
        (69, 0, "send {} at 69"),
        (70, 0, "schedule {} at 10"),
        (3_600, 0, "schedule {} at 3540"),
        (3_600, 3_540, "send {} at 3600"),
    ] {
        let sink = FakeSink::default();
        let order = placed(1, hold);
        assert_eq!(relay(&sink, at(now), later(), &[record(0, None, Some(&order))]).await, None);
        assert_eq!(sink.expiries(), [expected.replace("{}", &order.id.to_string())]);
    }
}

#[tokio::test]
async fn a_final_order_keeps_no_schedule() {
    let unscheduled = || vec![format!("unschedule {}", id(1))];
    for (hold, expected) in [(30, vec![]), (69, vec![]), (70, unscheduled()), (90, unscheduled())] {
        let sink = FakeSink::default();
        let order = placed(1, hold);
        let after = cancelled(&order);
        let records = [record(0, Some(&order), Some(&after))];
        assert_eq!(relay(&sink, at(0), later(), &records).await, None);
        assert_eq!(sink.expiries(), expected);
    }
}

#[tokio::test]
async fn an_expiry_that_cannot_be_set_is_where_the_next_batch_begins() {
    let (short, long) = (placed(1, 30), placed(2, 90));
    for (broken, order) in [(vec!["send"], &short), (vec!["send", "schedule"], &long)] {
        let sink = FakeSink { broken: broken.into_iter().collect(), ..FakeSink::default() };
        let not_done = relay(&sink, at(0), later(), &[record(7, None, Some(order))]).await;
        assert_eq!(not_done.as_deref(), Some("7"));
    }
}

#[tokio::test]
async fn the_expiries_of_a_batch_are_sent_in_one_call() {
    let sink = FakeSink::default();
    // Those of every other hold are scheduled.
    let orders: Vec<_> =
        (0..10).map(|byte| placed(byte, [30, 90][usize::from(byte) % 2])).collect();
    assert_eq!(relay(&sink, at(0), later(), &placements(&orders)).await, None);
    assert_eq!(*sink.sendings.lock().unwrap(), [5]);
    assert_eq!(sink.expiries().len(), 10);
}

#[tokio::test]
async fn where_nothing_is_to_be_sent_the_queue_is_not_called() {
    let sink = FakeSink::default();
    let order = placed(1, 30);
    let after = cancelled(&order);
    let records = [record(0, None, Some(&placed(2, 90))), record(1, Some(&order), Some(&after))];
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert!(sink.sendings.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_expiry_that_the_queue_refuses_is_where_the_next_batch_begins() {
    // The second is scheduled, and so not sent.
    for (unsent, not_done) in [(0, Some("0")), (1, None), (2, Some("2")), (3, Some("3"))] {
        let sink = FakeSink { unsent: HashSet::from([id(unsent)]), ..FakeSink::default() };
        let orders = [placed(0, 30), placed(1, 90), placed(2, 30), placed(3, 30)];
        let first = relay(&sink, at(0), later(), &placements(&orders)).await;
        assert_eq!(first.as_deref(), not_done);
    }
}

#[tokio::test]
async fn a_scheduler_that_fails_holds_up_nothing() {
    let sink =
        FakeSink { broken: HashSet::from(["schedule", "unschedule"]), ..FakeSink::default() };
    let order = placed(1, 90);
    let after = cancelled(&order);
    let records = [record(0, None, Some(&order)), record(1, Some(&order), Some(&after))];
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert_eq!(sink.published(), event_ids(&[&order, &after]));
    assert_eq!(sink.expiries(), [format!("send {} at 90", order.id)], "the queue takes it");
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_hangs_is_asked_no_more_and_holds_up_nothing() {
    let sink =
        FakeSink { broken: HashSet::from(["answer of the scheduler"]), ..FakeSink::default() };
    let orders: Vec<_> = (0..49).map(|byte| placed(byte, 90)).collect();
    let last = placed(49, 90);
    let mut records = placements(&orders);
    records.push(record(49, Some(&last), Some(&cancelled(&last))));
    let deadline = Instant::now() + Duration::from_secs(9);
    assert_eq!(relay(&sink, at(0), deadline, &records).await, None);
    let sent: Vec<_> = orders.iter().map(|order| format!("send {} at 90", order.id)).collect();
    assert_eq!(sink.expiries(), sent, "the queue takes them");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_takes_too_long_is_left_where_it_is() {
    let orders: Vec<_> = (0..11).map(|byte| placed(byte, 30)).collect();
    let sink = FakeSink { broken: HashSet::from(["answer"]), ..FakeSink::default() };
    let not_done = relay(&sink, at(0), later(), &placements(&orders)).await;
    assert_eq!(not_done.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_poison_record_is_buried_whole_and_the_others_are_relayed() {
    let sink = FakeSink::default();
    let (one, two) = (placed(1, 30), placed(2, 30));
    let records = [record(0, None, Some(&one)), poison(1), record(2, None, Some(&two))];
    assert_eq!(relay(&sink, at(0), later(), &records).await, None);
    assert_eq!(*sink.buried.lock().unwrap(), ["poison"]);
    assert_eq!(sink.published(), event_ids(&[&one, &two]));
}

#[tokio::test]
async fn a_poison_record_that_cannot_be_buried_stays() {
    let sink = FakeSink { broken: HashSet::from(["dead_letter"]), ..FakeSink::default() };
    let records = [record(0, None, Some(&placed(1, 30))), poison(1)];
    assert_eq!(relay(&sink, at(0), later(), &records).await.as_deref(), Some("1"));
    assert_eq!(sink.published().len(), 1);
}

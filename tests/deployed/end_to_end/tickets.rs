//! The ticket service's events, late, twice and jumbled.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use uuid::Uuid;

use orders_tests::buyers::{TestStack, eventually, new_buyer, ticket};

#[tokio::test]
async fn events_shuffled_and_repeated_end_at_the_newest_and_never_go_back() {
    const NEWEST: u64 = 20;
    let test_stack = Arc::new(TestStack::connect().await);
    let ids: Vec<_> = (0..20).map(|_| format!("jumbled-{}", Uuid::new_v4())).collect();
    let mut events: Vec<Value> =
        ids.iter().flat_map(|id| (0..=NEWEST).map(|version| ticket(id, version))).collect();
    events = [events.clone(), events.clone(), events].concat();
    fastrand::Rng::with_seed(20).shuffle(&mut events);

    let settled = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(test_stack.clone(), ids.clone(), settled.clone()));
    test_stack.announce(&events).await;
    for id in &ids {
        eventually(async || version_of(&test_stack, id).await == Some(NEWEST)).await;
        let row = test_stack.ticket_row(id).await.unwrap();
        assert_eq!(row, json!({"id": id, "title": "Version 20", "price": 2050, "version": 20}));
    }
    settled.store(true, Ordering::SeqCst);
    let went_back: Vec<String> = watcher.await.unwrap();
    assert_eq!(went_back, Vec::<String>::new());
}

async fn version_of(test_stack: &TestStack, id: &str) -> Option<u64> {
    test_stack.ticket_row(id).await.and_then(|row| row["version"].as_u64())
}

/// Looks at the tickets again and again, and notes every version that is older than the one before.
async fn watch(test_stack: Arc<TestStack>, ids: Vec<String>, end: Arc<AtomicBool>) -> Vec<String> {
    let mut newest: HashMap<&str, Option<u64>> = HashMap::new();
    let mut went_back = Vec::new();
    while !end.load(Ordering::SeqCst) {
        for id in &ids {
            let now = version_of(&test_stack, id).await;
            let before = newest.insert(id, now).flatten();
            if now < before {
                went_back.push(format!("{id} from {before:?} to {now:?}"));
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    went_back
}

#[tokio::test]
async fn an_order_keeps_the_price_it_was_placed_at() {
    let test_stack = TestStack::connect().await;
    let id = test_stack.new_ticket().await;
    let alice = new_buyer();
    let order = alice.order(&id).await.json();
    test_stack.announce(&[ticket(&id, 1)]).await;
    eventually(async || version_of(&test_stack, &id).await == Some(1)).await;
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    assert_eq!(alice.get(&path).await.json()["ticket"], order["ticket"]);
    assert_eq!(alice.cancel(order["id"].as_str().unwrap()).await.status, 204);
    assert_eq!(alice.order(&id).await.json()["ticket"]["price"], 1.5);
}

#[tokio::test]
async fn a_malformed_message_ends_whole_in_the_dead_letter_queue_and_its_batch_mates_are_applied() {
    let test_stack = TestStack::connect().await;
    let good: Vec<_> = (0..5).map(|_| format!("batch-mate-{}", Uuid::new_v4())).collect();
    let bad = format!("{{\"malformed\": \"{}\", ", Uuid::new_v4());
    let mates =
        good.iter().map(|id| json!({"detail-type": "TicketCreated", "detail": ticket(id, 0)}));
    let bodies = [vec![bad.clone()], mates.map(|mate| mate.to_string()).collect()].concat();
    for body in bodies {
        test_stack.send("TicketEventsQueueUrl", &body).await;
    }
    for id in &good {
        eventually(async || test_stack.ticket_row(id).await.is_some()).await;
    }
    let dead_letters = "TicketEventsDeadLetterQueueUrl";
    eventually(async || test_stack.take(dead_letters, &bad).await).await;
    let others = test_stack.look_into(dead_letters).await;
    assert!(!others.iter().any(|message| message.contains("batch-mate")), "{others:?}");
}

//! Ticket events: late, repeated and reordered.

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
async fn shuffled_ticket_events_end_at_the_newest_version() {
    const NEWEST: u64 = 20;
    let test_stack = Arc::new(TestStack::connect().await);
    let ids: Vec<_> = (0..20).map(|_| format!("jumbled-{}", Uuid::new_v4())).collect();
    let mut events: Vec<Value> =
        ids.iter().flat_map(|id| (0..=NEWEST).map(|version| ticket(id, version))).collect();
    events = [events.clone(), events.clone(), events].concat();
    fastrand::Rng::with_seed(20).shuffle(&mut events);

    let stop = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(test_stack.clone(), ids.clone(), stop.clone()));
    test_stack.publish_tickets(&events).await;
    for id in &ids {
        eventually(async || version_of(&test_stack, id).await == Some(NEWEST)).await;
        let row = test_stack.ticket_row(id).await.unwrap();
        assert_eq!(row, json!({"id": id, "title": "Version 20", "price": 2050, "version": 20}));
    }
    stop.store(true, Ordering::SeqCst);
    let decreases: Vec<String> = watcher.await.unwrap();
    assert_eq!(decreases, Vec::<String>::new());
}

async fn version_of(test_stack: &TestStack, id: &str) -> Option<u64> {
    test_stack.ticket_row(id).await.and_then(|row| row["version"].as_u64())
}

/// Polls the tickets and returns every decrease of a version.
async fn watch(test_stack: Arc<TestStack>, ids: Vec<String>, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut newest: HashMap<&str, Option<u64>> = HashMap::new();
    let mut decreases = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        for id in &ids {
            let now = version_of(&test_stack, id).await;
            let before = newest.insert(id, now).flatten();
            if now < before {
                decreases.push(format!("{id} from {before:?} to {now:?}"));
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    decreases
}

#[tokio::test]
async fn order_keeps_its_original_price() {
    let test_stack = TestStack::connect().await;
    let id = test_stack.new_ticket().await;
    let alice = new_buyer();
    let order = alice.order(&id).await.json();
    test_stack.publish_tickets(&[ticket(&id, 1)]).await;
    eventually(async || version_of(&test_stack, &id).await == Some(1)).await;
    let path = format!("/api/orders/{}", order["id"].as_str().unwrap());
    assert_eq!(alice.get(&path).await.json()["ticket"], order["ticket"]);
    assert_eq!(alice.cancel(order["id"].as_str().unwrap()).await.status, 204);
    assert_eq!(alice.order(&id).await.json()["ticket"]["price"], 1.5);
}

#[tokio::test]
async fn malformed_message_is_dead_lettered_alone() {
    let test_stack = TestStack::connect().await;
    let valid: Vec<_> = (0..5).map(|_| format!("batch-mate-{}", Uuid::new_v4())).collect();
    let invalid = format!("{{\"malformed\": \"{}\", ", Uuid::new_v4());
    let mates = valid.iter().map(
        |id| json!({"source": "tickets", "detail-type": "TicketCreated", "detail": ticket(id, 0)}),
    );
    let bodies = [vec![invalid.clone()], mates.map(|mate| mate.to_string()).collect()].concat();
    for body in bodies {
        test_stack.send("TicketEventsQueueUrl", &body).await;
    }
    for id in &valid {
        eventually(async || test_stack.ticket_row(id).await.is_some()).await;
    }
    let dead_letters = "TicketEventsDeadLetterQueueUrl";
    eventually(async || test_stack.delete_message(dead_letters, &invalid).await).await;
    let others = test_stack.peek(dead_letters).await;
    assert!(!others.iter().any(|message| message.contains("batch-mate")), "{others:?}");
}

#[tokio::test]
async fn event_that_contradicts_its_version_is_dead_lettered() {
    let test_stack = TestStack::connect().await;
    let id = test_stack.new_ticket().await;
    let mut other = ticket(&id, 0);
    other["price"] = json!(7);
    let body = json!({"source": "tickets", "detail-type": "TicketCreated", "detail": other});
    test_stack.send("TicketEventsQueueUrl", &body.to_string()).await;
    let dead_letters = "TicketEventsDeadLetterQueueUrl";
    eventually(async || test_stack.delete_message(dead_letters, &body.to_string()).await).await;
    assert_eq!(test_stack.ticket_row(&id).await.unwrap()["price"], 50);
}

#[tokio::test]
async fn price_computed_in_floats_is_rounded_to_cents() {
    let test_stack = TestStack::connect().await;
    let id = format!("ticket-{}", Uuid::new_v4());
    let detail =
        format!(r#"{{"id":"{id}","title":"Concert","price":59.970000000000006,"version":0}}"#);
    test_stack.publish("tickets", "TicketCreated", &detail).await;
    eventually(async || test_stack.ticket_row(&id).await.is_some()).await;
    assert_eq!(new_buyer().order(&id).await.json()["ticket"]["price"], 59.97);
}

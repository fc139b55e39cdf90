//! Expiry on time, by the queue and by the scheduler.

use std::env;

use aws_sdk_scheduler::Client as Scheduler;
use chrono::DateTime;
use orders_tests::{
    bus::{Listener, ReceivedEvent, check_event_sequences, kinds},
    buyers::{TestStack, eventually, new_buyer},
    stack::stack,
};
use serde_json::json;

use crate::holds::Hold;

// The short holds use the queue, the long ones the scheduler.
const HOLDS_SECONDS: [u64; 5] = [5, 20, 45, 75, 90];
const ORDERS_PER_HOLD: usize = 40;

#[tokio::test]
async fn every_hold_expires_on_time_and_leaves_no_schedule() {
    let test_stack = TestStack::connect().await;
    let tickets = test_stack.new_tickets(HOLDS_SECONDS.len() * ORDERS_PER_HOLD).await;
    let alice = new_buyer();
    let hold = Hold::take().await;
    let listener = Listener::start().await;
    let mut orders = Vec::new();
    for (seconds, tickets) in HOLDS_SECONDS.into_iter().zip(tickets.chunks(ORDERS_PER_HOLD)) {
        hold.set(seconds).await;
        for ticket in tickets {
            let placed = alice.order(ticket).await;
            assert_eq!(placed.status, 201, "{placed:?}");
            let order = placed.json();
            // Rounded down, at the time of the response.
            assert!(order["expiresIn"].as_u64().unwrap() < seconds, "{order}");
            orders.push(order["id"].as_str().unwrap().to_owned());
        }
    }
    let histories =
        listener.collect(&orders, |all| all.values().all(|history| history.len() >= 2)).await;
    check_event_sequences(&histories);
    let mut late_ms = Vec::new();
    for history in histories.values() {
        assert_eq!(kinds(history), ["OrderCreated", "OrderExpired"]);
        late_ms.push(lateness_ms(&history[1]));
    }
    late_ms.sort_unstable();
    assert!(late_ms[0] >= 0, "an order expired early: {late_ms:?}");
    report(&late_ms);
    assert_eq!(schedules().await, Vec::<String>::new());
    for ticket in &tickets {
        let row = test_stack.ticket_row(ticket).await.unwrap();
        assert_eq!(row.get("locked_by"), None, "{row}");
    }
    hold.set(30).await;
}

#[tokio::test]
async fn extended_hold_expires_on_time_by_its_own_schedule() {
    const ORDERS: usize = 100;
    // Shorter than the default of 300 s, to save time, and long enough for a schedule.
    let seconds_to_pay = env::var("ORDERS_SECONDS_TO_PAY").map_or(90, |text| text.parse().unwrap());
    let test_stack = TestStack::connect().await;
    let tickets = test_stack.new_tickets(ORDERS).await;
    let alice = new_buyer();
    let hold = Hold::take().await;
    hold.set(30).await;
    hold.set_time_to_pay(seconds_to_pay).await;
    let listener = Listener::start().await;
    let mut orders = Vec::new();
    for ticket in &tickets {
        let order = alice.order(ticket).await.json();
        let id = order["id"].as_str().unwrap().to_owned();
        let started = json!({"orderId": id}).to_string();
        test_stack.publish("payments", "PaymentStarted", &started).await;
        orders.push(id);
    }
    eventually(async || schedules().await.len() >= ORDERS).await;
    let names = schedules().await;
    for id in &orders {
        let row = test_stack.order_row(id).await.unwrap();
        assert!(names.contains(&format!("{id}-{}", row["expires_at"])), "{row}");
    }
    let histories =
        listener.collect(&orders, |all| all.values().all(|history| history.len() >= 3)).await;
    check_event_sequences(&histories);
    let mut late_ms = Vec::new();
    for history in histories.values() {
        assert_eq!(kinds(history), ["OrderCreated", "OrderExtended", "OrderExpired"]);
        late_ms.push(lateness_ms(&history[2]));
    }
    late_ms.sort_unstable();
    assert!(late_ms[0] >= 0, "an order expired early: {late_ms:?}");
    report(&late_ms);
    assert_eq!(schedules().await, Vec::<String>::new());
    hold.set_time_to_pay(300).await;
}

/// Time from `expiresAt` to the delivery of the event.
fn lateness_ms(expired: &ReceivedEvent) -> i64 {
    let expires_at = expired.detail()["expiresAt"].as_str().unwrap();
    expired.at_ms - DateTime::parse_from_rfc3339(expires_at).unwrap().timestamp_millis()
}

#[expect(clippy::print_stdout, reason = "figures of the run, with --nocapture")]
fn report(late_ms: &[i64]) {
    let percentile = |percent| late_ms[(late_ms.len() - 1) * percent / 100];
    println!(
        "OrderExpired after expiresAt, {} orders: p50 {} ms, p99 {} ms, max {} ms",
        late_ms.len(),
        percentile(50),
        percentile(99),
        percentile(100)
    );
}

async fn schedules() -> Vec<String> {
    let scheduler = Scheduler::new(&stack().sdk_config().await);
    let group = stack().output("ScheduleGroupName");
    let pages = scheduler.list_schedules().group_name(group).into_paginator().items().send();
    let left = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    left.into_iter().filter_map(|schedule| schedule.name).collect()
}

//! Case 5: DynamoDB does not respond for two hours. Buyers have placed orders before, and pay in time.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_local, time::sleep};

use super::{Case, Scale};
use crate::{
    gateway::{THROTTLED, TIMED_OUT},
    report::Report,
    run::{finish, simulate},
    settings::Settings,
    world::World,
};

pub(super) const CASE: Case = Case { number: 5, title: "DynamoDB hangs for two hours", run, check };

/// Time at which DynamoDB stops to respond.
const STOPS_S: u64 = 60;
/// Time after the recovery in which each payment must be booked.
const BOOKED_WITHIN_MS: u64 = 600_000;

fn hangs_ms(scale: Scale) -> std::ops::Range<u64> {
    let seconds = scale.of(7_200, 1_200);
    STOPS_S * 1_000..(STOPS_S + seconds) * 1_000
}

fn run(settings: Settings, seed: u64, scale: Scale) -> Vec<Report> {
    let (before, during) = scale.of((50.0, 5.0), (5.0, 0.2));
    vec![simulate(CASE.title, settings, seed, async |world| {
        let outage = hangs_ms(scale);
        world.dynamo().hangs_ms = outage.clone();
        let (mut at_s, mut tasks) = (0.0, Vec::new());
        while world.now_ms() < outage.end + BOOKED_WITHIN_MS {
            let rate = if outage.contains(&world.now_ms()) { during } else { before };
            world.next_arrival(&mut at_s, rate).await;
            tasks.push(spawn_local(buy(Arc::clone(&world), tasks.len())));
        }
        finish(tasks).await;
        world.drain(Duration::from_hours(2)).await;
    })]
}

/// Orders a ticket of one's own and pays at a random time of the hold.
async fn buy(world: Arc<World>, number: usize) {
    let ticket = format!("t{number}");
    world.put_ticket(&ticket);
    let response = world.order(&format!("b{number}"), &ticket).await;
    if let Some(order) = response.order {
        sleep(Duration::from_secs(1) + world.up_to(Duration::from_secs(27))).await;
        world.pay(order);
    }
}

fn check(reports: &[Report], scale: Scale) {
    let [report] = reports else { panic!("one run") };
    assert_eq!((report.dead, report.left, report.refunds_due), (0, 0, 0));
    assert_eq!(report.bought, report.responded(&["201"]), "each payment buys");
    assert_eq!(report.responded(&[THROTTLED, TIMED_OUT, "other"]), 0, "503 without Retry-After");
    // The longest wait is that of a payment sent just before the outage.
    let outage = hangs_ms(scale);
    let longest_ms = outage.end - outage.start + BOOKED_WITHIN_MS;
    assert!(u64::from(report.payments.max) <= longest_ms, "{:?}", report.payments);
}

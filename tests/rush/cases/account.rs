//! Case 6: a new account, with 10 concurrent executions, and 50 orders a second.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_local, time::sleep};

use super::{Case, Scale};
use crate::{
    gateway::{THROTTLED, TIMED_OUT},
    limits,
    report::Report,
    run::{finish, simulate},
    settings::Settings,
    world::World,
};

pub(super) const CASE: Case =
    Case { number: 6, title: "a new account (10 concurrent) with 50 orders/s", run, check };

fn run(settings: Settings, seed: u64, scale: Scale) -> Vec<Report> {
    let seconds = scale.of(300.0, 20.0);
    let settings = Settings {
        account_concurrency: limits::NEW_ACCOUNT_CONCURRENCY,
        ..settings.for_a_new_account()
    };
    vec![simulate(CASE.title, settings, seed, async |world| {
        let (mut at_s, mut tasks) = (0.0, Vec::new());
        while at_s < seconds {
            world.next_arrival(&mut at_s, 50.0).await;
            tasks.push(spawn_local(buy(Arc::clone(&world), tasks.len())));
        }
        finish(tasks).await;
        world.drain(Duration::from_hours(2)).await;
    })]
}

/// Of the orders, 60 % are paid and 15 % cancelled, each is shown once, and the others lapse
/// (docs/costs.md).
async fn buy(world: Arc<World>, number: usize) {
    let (buyer, ticket) = (format!("b{number}"), format!("t{number}"));
    world.put_ticket(&ticket);
    let Some(order) = world.order(&buyer, &ticket).await.order else { return };
    sleep(Duration::from_secs(1)).await;
    world.show(&buyer, order).await;
    sleep(world.up_to(Duration::from_secs(20))).await;
    let kind = world.rng().u32(0..100);
    match kind {
        0..60 => world.pay(order),
        60..75 => {
            world.cancel(&buyer, order).await;
        }
        _ => {}
    }
}

fn check(reports: &[Report], _: Scale) {
    let [report] = reports else { panic!("one run") };
    assert_eq!((report.dead, report.left, report.refunds_due), (0, 0, 0));
    assert_eq!(report.responded(&[THROTTLED, TIMED_OUT, "other"]), 0, "503 without Retry-After");
    // No order is lost: each has its events, and its hold has ended.
    assert!(report.responded(&["201"]) > 0);
}

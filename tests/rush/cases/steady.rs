//! Case 4: holds of 10 minutes, 500 orders a second for 15 minutes, each paid or cancelled.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_local, time::sleep};

use super::{Case, Scale, insist, wait_for_retry};
use crate::{
    report::Report,
    run::{finish, simulate},
    settings::Settings,
    world::World,
};

pub(super) const CASE: Case = Case {
    number: 4,
    title: "holds of 10 minutes, 500 orders/s, each paid or cancelled",
    run,
    check,
};

const ORDERS_PER_SECOND: f64 = 500.0;
const HOLD: Duration = Duration::from_mins(10);
/// Share of the orders that are paid.
const PAID: f64 = 0.7;

fn run(settings: Settings, seed: u64, scale: Scale) -> Vec<Report> {
    let seconds = scale.of(900.0, 8.0);
    let settings = Settings { hold: HOLD, ..settings.without_throttles() };
    vec![simulate(CASE.title, settings, seed, async |world| {
        let (mut at_s, mut tasks) = (0.0, Vec::new());
        while at_s < seconds {
            world.next_arrival(&mut at_s, ORDERS_PER_SECOND).await;
            let buyer = buy(Arc::clone(&world), tasks.len(), scale);
            tasks.push(spawn_local(buyer));
        }
        finish(tasks).await;
        world.drain(Duration::from_hours(6)).await;
    })]
}

async fn buy(world: Arc<World>, number: usize, scale: Scale) {
    let (buyer, ticket) = (format!("b{number}"), format!("t{number}"));
    world.put_ticket(&ticket);
    let Some(order) = insist(&world, &buyer, &ticket, 5).await.order else { return };
    sleep(
        Duration::from_secs(5)
            + world.up_to(scale.of(Duration::from_mins(2), Duration::from_secs(5))),
    )
    .await;
    if world.random() < PAID {
        world.pay(order);
        return;
    }
    let mut response = world.cancel(&buyer, order).await;
    while !response.is("204") {
        wait_for_retry(&world, &response).await;
        response = world.cancel(&buyer, order).await;
    }
}

fn check(reports: &[Report], _: Scale) {
    let [report] = reports else { panic!("one run") };
    assert!(report.events.p99 <= 2_000, "events: {:?}", report.events);
    assert!(report.timers.p99 <= 2_000, "timers: {:?}", report.timers);
    assert_eq!(report.server_errors(), 0, "5xx");
    assert_eq!((report.dead, report.left, report.refunds_due), (0, 0, 0));
}

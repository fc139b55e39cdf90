//! Case 1: 50,000 buyers come in 10 seconds for 2,000 tickets.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_local, time::sleep};

use super::{Case, Scale, insist};
use crate::{
    report::Report,
    run::{finish, simulate},
    settings::Settings,
    world::World,
};

pub(super) const CASE: Case =
    Case { number: 1, title: "opening: 50,000 buyers in 10 s for 2,000 tickets", run, check };

/// Requests of a buyer for one ticket, until the function has responded.
const INSISTS: u32 = 8;
/// Tickets that a buyer tries.
const TRIES: u32 = 3;
const ARRIVALS: Duration = Duration::from_secs(10);

fn run(settings: Settings, seed: u64, scale: Scale) -> Vec<Report> {
    let (buyers, tickets) = scale.of((50_000, 2_000), (5_000, 200));
    vec![simulate(CASE.title, settings, seed, async |world| {
        (0..tickets).for_each(|number| world.put_ticket(&format!("t{number}")));
        let tasks = (0..buyers)
            .map(|number| spawn_local(buy(Arc::clone(&world), number, tickets)))
            .collect();
        finish(tasks).await;
        world.drain(Duration::from_mins(5)).await;
    })]
}

async fn buy(world: Arc<World>, number: u32, tickets: u32) {
    sleep(world.up_to(ARRIVALS)).await;
    let buyer = format!("b{number}");
    for _ in 0..TRIES {
        let ticket = format!("t{}", world.rng().u32(0..tickets));
        let response = insist(&world, &buyer, &ticket, INSISTS).await;
        if let Some(order) = response.order {
            sleep(Duration::from_secs(5) + world.up_to(Duration::from_secs(20))).await;
            world.pay(order);
            return;
        }
    }
}

fn check(reports: &[Report], _: Scale) {
    let [report] = reports else { panic!("one run") };
    assert_eq!(report.server_errors(), 0, "5xx");
    assert!(report.successes.p99 < 1_000, "p99 of the successful: {:?}", report.successes);
    assert_eq!((report.dead, report.left, report.refunds_due), (0, 0, 0));
    assert_eq!(report.bought, report.responded(&["201"]));
}

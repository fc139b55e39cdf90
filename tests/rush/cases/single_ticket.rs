//! Case 2: one ticket at a rising rate. Each buyer who gets it gives it back after a moment, so that many
//! transactions meet the requests of the others.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

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

pub(super) const CASE: Case = Case { number: 2, title: "one ticket at a rising rate", run, check };

const TICKET: &str = "t0";
/// Requests a second of each run.
const RATES: [f64; 6] = [250.0, 1_000.0, 2_000.0, 2_900.0, 4_000.0, 6_000.0];
/// Rate of the last run, whose requests are throttled as the template does.
const THROTTLED_RATE: f64 = 20_000.0;
/// Highest rate whose requests are all answered: each reads the ticket, one read unit, and its item carries
/// [`limits::PARTITION_READS`].
const CARRIED: f64 = 2_900.0;

fn run(settings: Settings, seed: u64, scale: Scale) -> Vec<Report> {
    let seconds = scale.of(10.0, 1.5);
    let rates: &[f64] = scale.of(&RATES, &[1_000.0, 6_000.0]);
    let one = |rate: f64, settings: Settings| {
        let title = format!("{}: {rate} requests a second", CASE.title);
        simulate(title, settings, seed, async |world| {
            world.put_ticket(TICKET);
            let refusals = Rc::new(RefCell::new(Vec::new()));
            let (mut at_s, mut tasks) = (0.0, Vec::new());
            while at_s < seconds {
                world.next_arrival(&mut at_s, rate).await;
                let buyer = format!("b{}", tasks.len());
                let (world, refusals) = (Arc::clone(&world), Rc::clone(&refusals));
                tasks.push(spawn_local(order(world, buyer, refusals)));
            }
            finish(tasks).await;
            check_refusals(&world, &refusals.borrow());
            world.drain(Duration::from_mins(2)).await;
        })
    };
    let carried = rates.iter().map(|rate| one(*rate, settings.clone().without_throttles()));
    let mut reports: Vec<Report> = carried.collect();
    reports.push(one(THROTTLED_RATE, settings));
    reports
}

/// Orders the ticket, and cancels the order after half a second.
async fn order(world: Arc<World>, buyer: String, refusals: Rc<RefCell<Vec<(u64, u64)>>>) {
    let from_ms = world.now_ms();
    let response = world.order(&buyer, TICKET).await;
    if response.is("409 reserved") {
        refusals.borrow_mut().push((from_ms, world.now_ms()));
    }
    if let Some(order) = response.order {
        sleep(Duration::from_millis(500)).await;
        world.cancel(&buyer, order).await;
    }
}

/// A buyer is refused only if the ticket was locked at some time of the request.
fn check_refusals(world: &World, refusals: &[(u64, u64)]) {
    let locks = world.seen().locks.clone();
    for (from_ms, to_ms) in refusals {
        let is_before = |at: &u64| at <= from_ms;
        let before =
            locks.iter().rev().find(|(at, _)| is_before(at)).is_some_and(|(_, locked)| *locked);
        let during = locks.iter().any(|(at, locked)| *locked && (*from_ms..=*to_ms).contains(at));
        assert!(before || during, "refused from {from_ms} to {to_ms} although the ticket was free");
    }
}

fn check(reports: &[Report], scale: Scale) {
    let Some((throttled, reports)) = reports.split_last() else { panic!("no run") };
    assert_eq!(throttled.server_errors(), 0, "{}", throttled.title);
    assert!(throttled.responded(&["201"]) > 0 && throttled.responded(&["429"]) > 0);
    let rates: &[f64] = scale.of(&RATES, &[1_000.0, 6_000.0]);
    for (rate, report) in rates.iter().zip(reports) {
        let title = &report.title;
        assert_eq!(report.responded(&[THROTTLED, TIMED_OUT, "other"]), 0, "{title}");
        assert!(report.responded(&["201"]) > 0, "{title}");
        if *rate <= CARRIED {
            assert_eq!(report.server_errors(), 0, "{title}");
        }
        if *rate >= 2.0 * limits::PARTITION_READS {
            assert!(report.responded(&["503"]) > 0, "{title}: nothing above the limit");
            assert!(report.bottleneck().name.starts_with("Tickets hottest partition"), "{title}");
        }
        assert_eq!((report.dead, report.left), (0, 0), "{title}");
    }
}

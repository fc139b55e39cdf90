//! Cases 7 and 8: buyers, with and without a seller who lists 20,000 tickets in a minute, and with and
//! without a bot that sends 200 orders a second beyond its hold limit.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_local, time::sleep};

use super::{Case, Scale};
use crate::{
    gateway::BOT,
    report::Report,
    run::{finish, simulate},
    settings::Settings,
    world::World,
};

pub(super) const SELLER: Case = Case {
    number: 7,
    title: "a seller lists 20,000 tickets in a minute while buyers buy",
    run: run_with_seller,
    check: check_seller,
};

pub(super) const BOT_TITLE: &str = "one bot, 200 POST/s beyond its hold limit, beside 100 buyers/s";

pub(super) const OF_BOT: Case =
    Case { number: 8, title: BOT_TITLE, run: run_with_bot, check: check_bot };

const BUYERS_PER_SECOND: f64 = 100.0;
const LISTED: u32 = 20_000;
const BOT_PER_SECOND: f64 = 200.0;

fn run_with_seller(settings: Settings, seed: u64, scale: Scale) -> Vec<Report> {
    let seconds = scale.of(60.0, 8.0);
    let alone = simulate("buyers without the seller", settings.clone(), seed, async |world| {
        buyers(&world, seconds).await;
    });
    let beside = simulate(SELLER.title, settings, seed, async |world| {
        let seller =
            spawn_local(list_tickets(Arc::clone(&world), scale.of(LISTED, LISTED / 8), seconds));
        buyers(&world, seconds).await;
        finish(vec![seller]).await;
        world.drain(Duration::from_mins(2)).await;
    });
    vec![alone, beside]
}

fn run_with_bot(settings: Settings, seed: u64, scale: Scale) -> Vec<Report> {
    let seconds = scale.of(60.0, 8.0);
    let alone = simulate("buyers without the bot", settings.clone(), seed, async |world| {
        buyers(&world, seconds).await;
    });
    let beside = simulate(BOT_TITLE, settings, seed, async |world| {
        let bot = spawn_local(run_bot(Arc::clone(&world), seconds));
        buyers(&world, seconds).await;
        finish(vec![bot]).await;
    });
    vec![alone, beside]
}

/// Buyers, each with a ticket of their own, who pay.
async fn buyers(world: &Arc<World>, seconds: f64) {
    let (mut at_s, mut tasks) = (0.0, Vec::new());
    while at_s < seconds {
        world.next_arrival(&mut at_s, BUYERS_PER_SECOND).await;
        tasks.push(spawn_local(buy(Arc::clone(world), tasks.len())));
    }
    finish(tasks).await;
    world.drain(Duration::from_mins(2)).await;
}

async fn buy(world: Arc<World>, number: usize) {
    let ticket = format!("t{number}");
    world.put_ticket(&ticket);
    let Some(order) = world.order(&format!("b{number}"), &ticket).await.order else { return };
    sleep(Duration::from_secs(2) + world.up_to(Duration::from_secs(10))).await;
    world.pay(order);
}

async fn list_tickets(world: Arc<World>, tickets: u32, seconds: f64) {
    let mut at_s = 0.0;
    for number in 0..tickets {
        world.next_arrival(&mut at_s, f64::from(tickets) / seconds).await;
        world.list_ticket(&format!("listed-{number}"));
    }
}

/// Orders available tickets, a different one each time.
async fn run_bot(world: Arc<World>, seconds: f64) {
    let (mut at_s, mut tasks) = (0.0, Vec::new());
    while at_s < seconds {
        world.next_arrival(&mut at_s, BOT_PER_SECOND).await;
        let (world, number) = (Arc::clone(&world), tasks.len());
        tasks.push(spawn_local(async move {
            let ticket = format!("of-bot-{number}");
            world.put_ticket(&ticket);
            world.order(BOT, &ticket).await;
        }));
    }
    finish(tasks).await;
}

/// The buyers' p99 is within this factor of their p99 alone; more in a short run, with few samples.
fn is_as_fast(alone: &Report, beside: &Report, scale: Scale) {
    let longest = f64::from(alone.successes.p99) * scale.of(1.1, 1.3);
    let p99 = f64::from(beside.successes.p99);
    assert!(p99 <= longest, "p99 {:?} beside {:?} alone", beside.successes, alone.successes);
    // Nobody is refused because of the other.
    for report in [alone, beside] {
        assert_eq!(
            report.responded(&["201"]),
            report.statuses.values().sum::<u64>(),
            "{}",
            report.title
        );
        assert_eq!((report.dead, report.refunds_due), (0, 0), "{}", report.title);
    }
}

fn check_seller(reports: &[Report], scale: Scale) {
    let [alone, beside] = reports else { panic!("two runs") };
    is_as_fast(alone, beside, scale);
    assert!(beside.tickets.p99 <= 2_000, "tickets on sale: {:?}", beside.tickets);
}

fn check_bot(reports: &[Report], scale: Scale) {
    let [alone, beside] = reports else { panic!("two runs") };
    is_as_fast(alone, beside, scale);
    // The bot holds no more than its limit.
    assert!(beside.of_bot.get("201").copied().unwrap_or_default() <= 20, "{:?}", beside.of_bot);
}

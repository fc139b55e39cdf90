//! Case 3: 10,000 holds lapse in one second, and every refused buyer returns as `Retry-After` asks. The
//! tables have carried the placement of these orders in one second, so they are not new, and the quotas of
//! the account are those for 100,000 buyers.

use std::{sync::Arc, time::Duration};

use orders_contracts::ExpiryMessage;
use orders_domain::{NewOrder, Order, OrderId, Sale, Slot, Slots, TicketReplica};
use tokio::task::spawn_local;

use super::{Case, Scale, insist};
use crate::{
    lambda::Function,
    report::Report,
    run::{finish, simulate},
    settings::Settings,
    sqs::QueueName,
    world::{World, timestamp},
};

pub(super) const CASE: Case = Case {
    number: 3,
    title: "10,000 holds lapse in one second, and every refused buyer returns",
    run,
    check,
};

/// Time at which the first hold lapses.
const LAPSE_MS: u64 = 30_000;
/// Refused buyers of most tickets (docs/costs.md, cost of a million orders), and of the first one.
const REFUSED: u32 = 4;
const REFUSED_OF_FIRST: u32 = 1_000;

fn run(settings: Settings, seed: u64, scale: Scale) -> Vec<Report> {
    let holds = scale.of(10_000, 500);
    let settings = settings.without_throttles().with_higher_quotas();
    let provisioned = settings.clone().with_provisioned_pollers();
    let one = |title: &str, settings: &Settings, returns: Returns| {
        simulate(title, settings.clone(), seed, async |world| {
            (0..holds).for_each(|number| hold(&world, number));
            // Those of the buyers who placed the orders.
            world.lambda().warm(Function::CreateOrder, 1_000);
            let mut tasks = Vec::new();
            for number in (0..holds).filter(|_| returns != Returns::Nobody) {
                let refused = if number == 0 { REFUSED_OF_FIRST } else { REFUSED };
                for buyer in 0..refused {
                    let at_ms = return_ms(&world, number, returns);
                    tasks.push(spawn_local(return_at(Arc::clone(&world), number, buyer, at_ms)));
                }
            }
            finish(tasks).await;
            world.drain(Duration::from_mins(5)).await;
        })
    };
    vec![
        one(CASE.title, &settings, Returns::AsAsked),
        one(
            "the same, and the 1,000 refused buyers of one ticket return at once",
            &settings,
            Returns::AtOnce,
        ),
        one("10,000 holds lapse in one second, and nobody returns", &settings, Returns::Nobody),
        one("the same, with 100 provisioned pollers", &provisioned, Returns::Nobody),
    ]
}

/// How refused buyers return.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Returns {
    /// After the time of `Retry-After`.
    AsAsked,
    /// As asked, but those of the first ticket when its hold lapses, all in the same millisecond.
    AtOnce,
    Nobody,
}

/// End of a hold.
fn end_ms(number: u64) -> u64 {
    LAPSE_MS + number * 7 % 1_000
}

/// A held ticket with its timer in the queue, as the relay sent it: delays are whole seconds.
fn hold(world: &World, number: u64) {
    let ticket = orders_testing::ticket(&format!("t{number}"), 0);
    let new = NewOrder {
        id: OrderId::from_bytes(world.rng().u128(..).to_be_bytes()),
        user_id: format!("h{number}").parse().expect("a user id"),
        now: timestamp(
            end_ms(number) - u64::try_from(world.settings.hold.as_millis()).unwrap_or(0),
        ),
        hold: world.settings.hold,
        correlation_id: "rush".parse().expect("a correlation id"),
        traceparent: None,
    };
    let slot = Slot::new(0);
    let order = Order { slot, ..Order::new(new, ticket.clone()) };
    let mut slots = Slots::default();
    if let Some(slot) = slot {
        slots.occupy(slot, order.expires_at);
    }
    world.store.put_slots(order.user_id.clone(), slots);
    let (lock, locked_for) = (order.lock(), Some(order.user_id.clone()));
    world.store.put_ticket(TicketReplica { sale: Sale::Open(ticket), lock, locked_for });
    let timer = ExpiryMessage { order_id: order.id, expires_at: Some(order.expires_at) };
    let early_ms = world.rng().u64(0..1_000);
    let body = timer.to_text().expect("a message");
    world.send(QueueName::Expiry, body, end_ms(number) - early_ms);
    world.store.put_order(order);
}

/// Time at which a buyer returns who was refused at some time of the hold.
fn return_ms(world: &World, number: u64, returns: Returns) -> u64 {
    if number == 0 && returns == Returns::AtOnce {
        return end_ms(number);
    }
    let refused_ms = world.rng().u64(LAPSE_MS - 25_000..LAPSE_MS - 1_000);
    // Rounded up, with up to one random second: shared/lambda/src/problem.rs.
    let wait_ms = end_ms(number) - refused_ms + world.rng().u64(0..=1_000);
    refused_ms + wait_ms.div_ceil(1_000) * 1_000
}

async fn return_at(world: Arc<World>, number: u64, buyer: u32, at_ms: u64) {
    world.sleep_until(at_ms).await;
    insist(&world, &format!("b{number}-{buyer}"), &format!("t{number}"), 5).await;
}

/// Lateness if nobody returns, so that only the timers expire the orders: in the standard mode a mapping
/// starts with 5 batches at once and adds 5 a second, so 10,000 messages take longer than 2 seconds.
const BY_TIMERS_MS: u32 = 4_000;

fn check(reports: &[Report], _: Scale) {
    let [as_asked, at_once, nobody, provisioned] = reports else { panic!("four runs") };
    for report in [as_asked, at_once, provisioned] {
        assert!(report.expiries.p99 <= 2_000, "{}: {:?}", report.title, report.expiries);
    }
    assert!(nobody.expiries.p99 <= BY_TIMERS_MS, "{:?}", nobody.expiries);
    for report in reports {
        let title = &report.title;
        assert!(report.of_hottest_ticket <= 50, "{title}: {}", report.of_hottest_ticket);
        assert_eq!((report.dead, report.left), (0, 0), "{title}");
        assert_eq!(report.server_errors(), 0, "{title}");
    }
}

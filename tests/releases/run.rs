//! A run, from its seed to its result.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use aws_sdk_dynamodb::Client;
use dynoxide::Database;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use orders_tests::{dynamodb, stores};
use tokio::{
    runtime::Builder,
    task::{JoinHandle, LocalSet, spawn_local},
};

use crate::{
    deliveries::{Service, consume, relay},
    reads,
    release::{Pair, Release, number, text},
    tables::Tables,
    this,
    traffic::{BUYERS, TICKETS, list, run_buyer, run_deployments, run_seller},
    world::{QueueName, Shared, State, World},
    writes,
};

/// Longest time until all messages are done or dead: half a day of retries.
const DRAIN_TIMEOUT: Duration = Duration::from_hours(13);
/// Longest time until the next deployment if it comes soon.
const LONGEST_DELAY_OF_THE_NEXT_MS: u64 = 1_200_000;
/// Number of redrives after which no dead letter is left: a redriven payment can precede its refund.
const REDRIVES: usize = 3;

/// Result of a run.
pub(crate) struct Run {
    pub(crate) violation: Option<String>,
    pub(crate) seen: BTreeMap<&'static str, u64>,
    pub(crate) log: Vec<String>,
}

/// Runs a seed with two releases.
pub(crate) fn run(seed: u64, pair: Pair, with_log: bool) -> Run {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let _inside = runtime.enter();
    // Seeds the jitter of the functions.
    fastrand::seed(seed);
    let database = Database::memory().expect("an engine");
    let counted = Arc::new(AtomicU64::new(0));
    let local = LocalSet::new();
    let mut world = None;
    let simulation = || {
        local.block_on(&runtime, async {
            let client = Client::new(&dynamodb::sdk_config(database.clone()));
            let tables = stores::make_tables(&client).await;
            let new = World::new(seed, pair, database, tables, with_log);
            let world = world.insert(Arc::new(new));
            simulate(Arc::clone(world)).await;
        });
    };
    let metrics = UnreadableItems(Arc::clone(&counted));
    let finished = catch_unwind(AssertUnwindSafe(|| {
        metrics::with_local_recorder(&metrics, simulation);
    }));
    let world: Shared = world.expect("tables");
    let mut state = world.state();
    if let Err(panic) = finished {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        state.report(format!("panic: {text}"));
    }
    let counted = counted.load(Relaxed);
    if counted != state.unreadable {
        let found = state.unreadable;
        state.report(format!("{found} items could not be read; the metric counts {counted}"));
    }
    let log = state.log.take().unwrap_or_default();
    Run { violation: state.violation.take(), seen: std::mem::take(&mut state.seen), log }
}

/// Runs sellers, buyers and deployments, and handles all messages. After a skipped step the next
/// deployment follows, soon or after half a day, and all dead letters are redriven.
async fn simulate(world: Shared) {
    let client = Client::new(&dynamodb::sdk_config_on(Tables(Arc::clone(&world))));
    let service = Rc::new(Service {
        this: this::functions::Functions::new(Release::This, client.clone(), &world),
        reads: reads::functions::Functions::new(Release::Reads, client.clone(), &world),
        writes: writes::functions::Functions::new(Release::Writes, client, &world),
        world: Arc::clone(&world),
    });
    for queue in QueueName::ALL {
        spawn_local(consume(Rc::clone(&service), queue));
        spawn_local(consume(Rc::clone(&service), queue));
    }
    spawn_local(relay(Rc::clone(&service)));
    let sellers = (0..TICKETS).map(|ticket| spawn_local(run_seller(Rc::clone(&service), ticket)));
    let buyers = BUYERS.iter().map(|buyer| spawn_local(run_buyer(Rc::clone(&service), buyer)));
    let deployments = [spawn_local(run_deployments(Rc::clone(&service)))];
    for task in sellers.chain(buyers).chain(deployments).collect::<Vec<JoinHandle<()>>>() {
        task.await.expect("no panic");
    }
    if world.pair == Pair::StepSkipped && world.chance(70) {
        world.sleep_ms(0..=LONGEST_DELAY_OF_THE_NEXT_MS).await;
    } else {
        drain(&world).await;
        check_lists(&service).await;
    }
    if world.pair == Pair::StepSkipped {
        let next = if world.chance(50) { Release::Reads } else { Release::Writes };
        world.log(|| format!("{next:?} is deployed everywhere"));
        world.state().shares = vec![(next, 100)];
        for _ in 0..REDRIVES {
            redrive(&service, next).await;
            drain(&world).await;
        }
        check_lists(&service).await;
    }
    check_end(&mut world.state());
}

/// Waits until all messages and records are done or dead.
async fn drain(world: &World) {
    let is_done = |state: &State| {
        state.violation.is_some()
            || (state.relayed == state.records.len() && state.queues.iter().all(Vec::is_empty))
    };
    let done = async {
        while !is_done(&world.state()) {
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
    };
    if tokio::time::timeout(DRAIN_TIMEOUT, done).await.is_err() {
        world.report("messages are neither done nor dead".to_owned());
    }
}

/// Moves the dead letters back to their queues, and relays the dead records.
async fn redrive(service: &Service, release: Release) {
    let world = &service.world;
    let dead = std::mem::take(&mut world.state().dead);
    for (queue, body) in dead {
        world.state().see("a message is redriven");
        world.send(queue, body, Duration::ZERO);
    }
    let records = std::mem::take(&mut world.state().dead_records);
    for record in records {
        world.state().see("a record is redriven");
        let relayed = service.invoke_in(release, async |release| {
            service.relay(release, std::slice::from_ref(&record)).await
        });
        if relayed.await.outcome.is_some() {
            world.report(format!("the relay does not finish {record}"));
        }
    }
}

/// Checks that the lists have all orders that the release can read, in both releases.
async fn check_lists(service: &Service) {
    let world = &service.world;
    for release in world.pair.releases() {
        for buyer in BUYERS {
            let mut listed = list(service, Some(release), buyer).await;
            listed.sort_unstable();
            let mut state = world.state();
            let items = state.items.iter().filter(|((table, _), item)| {
                *table == world.tables.orders && text(item, "user_id") == buyer
            });
            let readable = items.filter(|(_, item)| release.can_read(item));
            let readable: Vec<String> = readable.map(|((_, id), _)| id.clone()).collect();
            if listed != readable {
                state.report(format!("{release:?} lists {listed:?} for {buyer}: not {readable:?}"));
            }
        }
    }
}

/// Checks that everything is complete.
fn check_end(state: &mut State) {
    let mut missing = Vec::new();
    missing.extend(state.dead.iter().map(|(_, body)| format!("dead letter {body}")));
    missing.extend(state.dead_records.iter().map(|record| format!("dead record {record}")));
    let orders = state.items.values().filter(|item| !item["ticket"].is_null());
    for order in orders {
        let (id, status) = (text(order, "id"), text(order, "status"));
        if status == "awaiting_payment" {
            missing.push(format!("expiry of order {id}"));
        }
        for version in 0..=number(order, "version").expect("a version") {
            if !state.published.contains(&(id.to_owned(), version)) {
                missing.push(format!("event {id}:{version}"));
            }
        }
    }
    for (id, order, is_refunded) in &state.payments {
        let is_item = |table: &str, id: &str| {
            let mut items = state.items.iter();
            items.find(|((of, key), _)| of.ends_with(table) && key == id).map(|(_, item)| item)
        };
        if is_item("payments", id).is_none() {
            missing.push(format!("result of payment {id}"));
        }
        let order = is_item("orders", order).expect("an order");
        let mut refunds = order["refunds_due"]["L"].as_array().into_iter().flatten();
        let is_settled = refunds.any(|refund| {
            text(&refund["M"], "payment_id") == id && text(&refund["M"], "state") == "settled"
        });
        let is_void = text(order, "status") == "refunded" && text(order, "payment_id") == id;
        if *is_refunded && !is_settled && !is_void {
            missing.push(format!("refund of payment {id}"));
        }
    }
    if !missing.is_empty() {
        state.report(format!("incomplete at the end: {}", missing.join(", ")));
    }
}

/// Counts the metric `UnreadableItems`.
struct UnreadableItems(Arc<AtomicU64>);

impl Recorder for UnreadableItems {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match key.name() {
            "UnreadableItems" => Counter::from_arc(Arc::clone(&self.0)),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

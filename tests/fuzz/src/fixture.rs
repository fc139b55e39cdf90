//! Store, clock and runtime of the fuzz targets, the same for every input.

use lambda_http::Context;
use orders_domain::{NewOrder, Order, OrderStore, TicketRule, Timestamp};
use orders_testing::{
    MemoryStore, START_MS as NOW_MS, at, commit, new_order, order_id, pay, place as put, ticket,
};
use tokio::runtime::{Builder, Runtime};

pub(crate) use orders_testing::HOLD;

pub(crate) fn now() -> Timestamp {
    at(0)
}

/// An invocation with a deadline in 10 s.
pub(crate) fn context() -> Context {
    let mut context = Context::default();
    context.request_id = String::from("8476a536-e9f4-11e8-9739-2dfe598c3fcd");
    context.deadline = NOW_MS + 10_000;
    context
}

/// Runs a future to its end, with a paused clock: no timer takes real time.
pub(crate) fn run<T>(function: impl Future<Output = T>) -> T {
    thread_local! {
        /// Shared by all inputs, because its creation is slower than most inputs.
        static RUNTIME: Runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(function))
}

/// The store: order 1 of alice holds `held`, her order 2 is paid (`sold`), her order 3 has lapsed
/// (`lapsed`), order 4 of bob holds `bobs`, and `free` is free.
pub(crate) async fn store() -> MemoryStore {
    let store = MemoryStore::default();
    store.apply_ticket(&ticket("free", 0), TicketRule::FirstOrNext).await.expect("a working store");
    place(&store, 1, "alice", "held", 1).await;
    let sold = place(&store, 2, "alice", "sold", 2).await;
    place(&store, 3, "alice", "lapsed", 31).await;
    place(&store, 4, "bob", "bobs", 1).await;
    commit(&store, &sold, &pay("payment-1", &sold, 0)).await;
    store
}

/// Places an order with this number, `ago` seconds before now.
async fn place(store: &MemoryStore, number: u8, buyer: &str, title: &str, ago: u64) -> Order {
    let placed_at =
        Timestamp::from_epoch_ms(NOW_MS - ago * 1_000).expect("a time before the year 9999");
    let user_id = buyer.parse().expect("a user id");
    let request = NewOrder { user_id, ..new_order(order_id(number), placed_at) };
    let order = Order::new(request, ticket(title, 0));
    put(store, &order).await;
    order
}

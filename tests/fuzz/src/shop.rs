//! A small shop, the same for every input: what the functions find when they are called.

use lambda_http::Context;
use orders_domain::{Command, NewOrder, Order, OrderStore, TicketRule, Timestamp};
use orders_testing::{
    MemoryStore, START_MS as NOW_MS, commit, new_order, order_id, place as put, ticket,
};
use tokio::runtime::{Builder, Runtime};

pub(crate) use orders_testing::HOLD;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_epoch_ms(NOW_MS).expect("it is before the year 9999")
}

/// An invocation that may take ten seconds.
pub(crate) fn context() -> Context {
    let mut context = Context::default();
    context.request_id = String::from("8476a536-e9f4-11e8-9739-2dfe598c3fcd");
    context.deadline = NOW_MS + 10_000;
    context
}

/// Runs a function to its end. Its clock jumps to the next thing to wait for, so nothing takes time.
pub(crate) fn run<T>(function: impl Future<Output = T>) -> T {
    thread_local! {
        /// One for all inputs: making one takes longer than most inputs do.
        static RUNTIME: Runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime needs nothing");
    }
    RUNTIME.with(|runtime| runtime.block_on(function))
}

/// The shop: alice holds `held` with order 1, has bought `sold` with order 2 and let order 3, of
/// `lapsed`, lapse; bob holds `bobs` with order 4; nobody has `free`.
pub(crate) async fn open() -> MemoryStore {
    let store = MemoryStore::default();
    store.apply_ticket(&ticket("free", 0), TicketRule::FirstOrNext).await.expect("a working store");
    place(&store, 1, "alice", "held", 1).await;
    let sold = place(&store, 2, "alice", "sold", 2).await;
    place(&store, 3, "alice", "lapsed", 31).await;
    place(&store, 4, "bob", "bobs", 1).await;
    let payment_id = "payment-1".parse().expect("it is an id");
    let pay = Command::Pay { payment_id, ticket_is_free: false };
    commit(&store, &sold, &pay).await;
    store
}

/// Places the order with this number some seconds before now.
async fn place(store: &MemoryStore, number: u8, buyer: &str, title: &str, ago: u64) -> Order {
    let placed_at = Timestamp::from_epoch_ms(NOW_MS - ago * 1_000).expect("before the year 9999");
    let user_id = buyer.parse().expect("a user id");
    let request = NewOrder { user_id, ..new_order(order_id(number), placed_at) };
    let order = Order::new(request, ticket(title, 0));
    put(store, &order).await;
    order
}

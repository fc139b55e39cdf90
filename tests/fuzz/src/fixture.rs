//! Store, clock and runtime of the fuzz targets, the same for every input.

use std::time::Duration;

use lambda_http::Context;
use orders_domain::{
    NewOrder, Order, OrderStore, Price, Sale, Slot, SlotCount, Ticket, TicketRule, TicketVersion,
    Timestamp,
};
use orders_testing::{
    HOLD, LATE_LIMIT, MemoryStore, START_MS as NOW_MS, after, at, commit, new_order, order_id, pay,
    place as put, ticket,
};
use tokio::runtime::{Builder, Runtime};

/// Limits of new orders.
pub(crate) const ORDER_LIMITS: create_order::Limits =
    create_order::Limits { hold: HOLD, holds_per_buyer: SlotCount::DEFAULT };

/// Limits of payments.
pub(crate) const PAYMENT_LIMITS: payment_events::Limits =
    payment_events::Limits { late_payment: LATE_LIMIT, time_to_pay: Duration::from_mins(5) };

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

/// The store: order 1 of alice holds `held`, her order 2 is paid (`sold`) and has a refund due,
/// her order 3 has lapsed (`lapsed`), and order 4 of bob holds `bobs`. `free` is free, `gift` costs
/// nothing, and `withdrawn` is withdrawn. Carol holds as many tickets as allowed.
pub(crate) async fn store() -> MemoryStore {
    let store = MemoryStore::default();
    let gift = Ticket { price: Price::from_minor(0).expect("a price"), ..ticket("gift", 0) };
    let id = "withdrawn".parse().expect("a ticket id");
    let withdrawn = Sale::Withdrawn { id, version: TicketVersion::new(1) };
    for sale in [Sale::Open(ticket("free", 0)), Sale::Open(gift), withdrawn] {
        store.apply_ticket(&sale, TicketRule::AnyNewer).await.expect("a working store");
    }
    place(&store, 1, "alice", "held", 1).await;
    let sold = place(&store, 2, "alice", "sold", 2).await;
    place(&store, 3, "alice", "lapsed", 31).await;
    place(&store, 4, "bob", "bobs", 1).await;
    let payment = pay("payment-1", &sold, 0);
    commit(&store, &sold, &payment).await;
    commit(&store, &after(&sold, &payment), &pay("payment-0", &sold, 0)).await;
    let slots = (0..SlotCount::MAX).filter_map(Slot::new).map(|slot| (slot, at(60)));
    store.put_slots("carol".parse().expect("a user id"), slots.collect());
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

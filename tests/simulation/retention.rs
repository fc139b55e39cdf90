//! Time to live of the orders table: orders without a sale are removed some time after their hold.
//!
//! The real time is at least 60 days, longer than any message about an order can wait. Here an order is
//! removed only while nothing is on its way.

use std::{sync::Arc, time::Duration};

use orders_domain::OrderStore;

use crate::{
    coverage::Observed,
    world::{World, ready, timestamp},
};

/// Longest time from the end of an order's retention to its removal.
const LONGEST_DELAY_MS: u64 = 120_000;

/// Starts the removals for the whole run.
pub(crate) fn start_removals(world: &Arc<World>) {
    if let Some(kept) = world.plan.kept {
        tokio::task::spawn_local(remove_orders(Arc::clone(world), kept));
    }
}

async fn remove_orders(world: Arc<World>, kept: Duration) {
    loop {
        world.sleep_ms(1..=LONGEST_DELAY_MS).await;
        if world.state().is_idle() {
            world.forget(kept);
        }
    }
}

impl World {
    fn forget(&self, kept: Duration) {
        let now_ms = self.now_ms();
        self.store.forget(kept, timestamp(now_ms));
        let orders = self.state().promises.all_orders();
        for order in orders {
            let is_stored = ready(self.store.find(order.id)).is_ok_and(|stored| stored.is_some());
            let mut state = self.state();
            state.promises.check_retention(&order, is_stored, kept, now_ms);
            if !is_stored {
                state.promises.order_forgotten(&order, now_ms);
                state.external.published.push(Vec::new());
                state.coverage.observed(Observed::Forgotten);
                state.stream.push_removal(&order, now_ms);
                drop(state);
                self.log(|| format!("forgotten: {}", order.id));
                self.records.notify_waiters();
            }
        }
    }
}

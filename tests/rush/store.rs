//! The store of the functions: the store in memory behind the limits of DynamoDB, with the retries of the
//! SDK (shared/lambda/src/aws.rs) and of conflicts (shared/dynamo/src/retry.rs).

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use orders_domain::{
    BookedPayment, CommitOutcome, ListQuery, LockChange, Order, OrderId, OrderStore, Page,
    PaymentId, PlaceOutcome, Placement, Sale, Slots, StoreError, Takeover, TicketId, TicketOutcome,
    TicketReplica, TicketRule, Transition, UserId,
};
use tokio::time::{Instant, sleep};

use crate::{
    dynamo::{Item, Table, item},
    latency::{ITEMS_IN_USE, Latency, READ, TRANSACTION, WRITE},
    limits::TRANSACTIONAL_WRITE,
    world::World,
};

/// Access to the tables.
pub(crate) struct LimitedStore(pub(crate) Arc<World>);

/// A write request with the units that it takes.
type Write = (Item, f64);

/// An attempt without an outcome: throttled, or in conflict with a transaction.
struct Repeatable;

impl LimitedStore {
    /// A call with the retries of the SDK. `sent` is called when the request arrives.
    async fn call<T>(
        &self,
        latency: Latency,
        sent: impl Fn(&World) -> Result<Result<T, StoreError>, Repeatable> + Send + Sync,
    ) -> Result<T, StoreError>
    where
        T: Send,
    {
        let (world, settings) = (&self.0, &self.0.settings);
        let deadline = Instant::now() + settings.operation_timeout;
        let mut backoff = settings.sdk_backoff;
        for _ in 0..settings.sdk_attempts {
            if self.hangs(deadline).await? {
                let latency = world.sample(latency);
                sleep(latency / 2).await;
                let outcome = sent(world);
                sleep(latency / 2).await;
                if let Ok(outcome) = outcome {
                    return outcome;
                }
            }
            let wait = backoff.mul_f64(world.random());
            backoff *= 2;
            if Instant::now() + wait >= deadline {
                break;
            }
            sleep(wait).await;
        }
        Err(unavailable())
    }

    /// Waits for the timeout of an attempt if DynamoDB hangs. Returns whether it does not.
    async fn hangs(&self, deadline: Instant) -> Result<bool, StoreError> {
        let world = &self.0;
        let works = !world.dynamo().hangs_ms.contains(&world.now_ms());
        if !works {
            let left = deadline.saturating_duration_since(Instant::now());
            sleep(left.min(world.settings.attempt_timeout)).await;
            if Instant::now() >= deadline {
                return Err(unavailable());
            }
        }
        Ok(works)
    }

    /// A strongly consistent read of an item below 4 KB.
    async fn read<T: Send>(
        &self,
        item: Item,
        find: impl Fn(&World) -> Result<T, StoreError> + Send + Sync,
    ) -> Result<T, StoreError> {
        self.call(READ, |world| {
            let allowed = world.dynamo().read(item, 1.0, world.now_ms());
            if allowed { Ok(find(world)) } else { Err(Repeatable) }
        })
        .await
    }

    /// A transaction, repeated after throttling and conflicts.
    async fn transact<T: Send>(
        &self,
        writes: &[Write],
        effect: impl Fn(&World) -> Result<T, StoreError> + Send + Sync,
    ) -> Result<T, StoreError> {
        let world = &self.0;
        let deadline = Instant::now() + world.settings.conflict_budget;
        let mut max_wait = world.settings.first_conflict_wait;
        loop {
            if let Some(outcome) = self.attempt(writes, &effect).await? {
                return Ok(outcome);
            }
            let wait = max_wait.mul_f64(world.random());
            if Instant::now() + wait >= deadline {
                return Err(unavailable());
            }
            sleep(wait).await;
            max_wait = (max_wait * 2).min(world.settings.longest_conflict_wait);
        }
    }

    /// One attempt of a transaction. Its items are in use while it is prepared and committed.
    async fn attempt<T: Send>(
        &self,
        writes: &[Write],
        effect: &(impl Fn(&World) -> Result<T, StoreError> + Sync),
    ) -> Result<Option<T>, StoreError> {
        let world = &self.0;
        self.until_reached().await?;
        let latency = world.sample(TRANSACTION);
        let (in_use, way) =
            (latency.mul_f64(ITEMS_IN_USE), latency.mul_f64((1.0 - ITEMS_IN_USE) / 2.0));
        sleep(way).await;
        let Some(items_in_use) = ItemsInUse::new(world, writes) else {
            sleep(way).await;
            return Ok(None);
        };
        sleep(in_use).await;
        let outcome = effect(world);
        drop(items_in_use);
        sleep(way).await;
        outcome.map(Some)
    }

    /// Waits while DynamoDB hangs, with the retries of the SDK.
    async fn until_reached(&self) -> Result<(), StoreError> {
        let world = &self.0;
        if !world.dynamo().hangs_ms.contains(&world.now_ms()) {
            return Ok(());
        }
        self.call(Latency::NONE, |_| Ok(Ok(()))).await
    }
}

/// The items of a transaction in progress.
struct ItemsInUse<'a> {
    world: &'a World,
    writes: &'a [Write],
}

impl<'a> ItemsInUse<'a> {
    /// `None` if the transaction is cancelled: an item is in use, or a table has no capacity left.
    fn new(world: &'a World, writes: &'a [Write]) -> Option<Self> {
        let now_ms = world.now_ms();
        let mut dynamo = world.dynamo();
        dynamo.transactions += 1;
        for ((table, key), _) in writes {
            if *table == Table::Tickets {
                *dynamo.of_ticket.entry(*key).or_default() += 1;
            }
        }
        if !dynamo.write(writes, now_ms) {
            return None;
        }
        if writes.iter().any(|(item, _)| dynamo.is_in_use(item)) {
            dynamo.conflicts += 1;
            return None;
        }
        for (item, _) in writes {
            dynamo.use_item(*item);
        }
        Some(Self { world, writes })
    }
}

impl Drop for ItemsInUse<'_> {
    fn drop(&mut self) {
        let mut dynamo = self.world.dynamo();
        for (item, _) in self.writes {
            dynamo.leave_item(*item);
        }
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("DynamoDB is overloaded or does not respond".into())
}

/// The writes of an order: its item, and its entry in the index.
fn order_writes(order: &Order) -> [Write; 2] {
    let entry = item(Table::OrdersByUser, order.user_id.as_str());
    [(order_item(order.id), TRANSACTIONAL_WRITE), (entry, 1.0)]
}

fn order_item(id: OrderId) -> Item {
    item(Table::Orders, id.to_bytes())
}

fn ticket_item(id: &TicketId) -> Item {
    item(Table::Tickets, id.as_str())
}

fn buyer_item(id: &UserId) -> Item {
    item(Table::Buyers, id.as_str())
}

fn takeover_writes(takeover: Option<&Takeover>) -> Vec<Write> {
    match takeover {
        None => Vec::new(),
        Some(Takeover::Expire(expiry)) => order_writes(expiry.order()).to_vec(),
        Some(Takeover::Ended(id)) => vec![(order_item(*id), TRANSACTIONAL_WRITE)],
    }
}

fn placement_writes(Placement { order, takeover }: &Placement) -> Vec<Write> {
    let mut writes = order_writes(order).to_vec();
    writes.push((ticket_item(&order.ticket.id), TRANSACTIONAL_WRITE));
    writes.extend(order.slot.map(|_| (buyer_item(&order.user_id), TRANSACTIONAL_WRITE)));
    writes.extend(takeover_writes(takeover.as_ref()));
    writes
}

/// The writes of a transition. A slot that has changed costs a second transaction, which is not counted.
fn transition_writes(transition: &Transition) -> Vec<Write> {
    let order = transition.order();
    let mut writes = order_writes(order).to_vec();
    if let Some(booked) = transition.booked() {
        writes.push((item(Table::Payments, booked.payment.id.as_str()), TRANSACTIONAL_WRITE));
    }
    match transition.lock() {
        LockChange::Unchanged => {}
        LockChange::NotOwn | LockChange::Release | LockChange::Sell | LockChange::Extend => {
            writes.push((ticket_item(&order.ticket.id), TRANSACTIONAL_WRITE));
        }
        LockChange::BuyBack { takeover, .. } => {
            writes.push((ticket_item(&order.ticket.id), TRANSACTIONAL_WRITE));
            writes.extend(takeover_writes(takeover.as_ref()));
        }
    }
    writes.extend(transition.slot().map(|_| (buyer_item(&order.user_id), TRANSACTIONAL_WRITE)));
    writes
}

/// Result of a call of the store in memory, which never waits.
pub(crate) fn ready<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("an immediate result")
}

impl OrderStore for LimitedStore {
    async fn find_ticket(&self, id: &TicketId) -> Result<Option<TicketReplica>, StoreError> {
        self.read(ticket_item(id), |world| ready(world.store.find_ticket(id))).await
    }

    async fn find(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.read(order_item(id), |world| ready(world.store.find(id))).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let item = item(Table::OrdersByUser, query.user_id.as_str());
        self.read(item, |world| ready(world.store.list(query))).await
    }

    async fn find_payment(&self, id: &PaymentId) -> Result<Option<BookedPayment>, StoreError> {
        let item = item(Table::Payments, id.as_str());
        self.read(item, |world| ready(world.store.find_payment(id))).await
    }

    async fn find_slots(&self, user_id: &UserId) -> Result<Slots, StoreError> {
        self.read(buyer_item(user_id), |world| ready(world.store.find_slots(user_id))).await
    }

    async fn place(&self, placement: &Placement) -> Result<PlaceOutcome, StoreError> {
        let writes = placement_writes(placement);
        // Not repeated after a conflict.
        let effect = |world: &World| {
            let evicted = placement.takeover.as_ref().and_then(|takeover| world.evicted(takeover));
            let outcome = ready(world.store.place(placement))?;
            if outcome == PlaceOutcome::Placed {
                world.push_changes(evicted, None, &placement.order);
            }
            Ok(outcome)
        };
        Ok(self.attempt(&writes, &effect).await?.unwrap_or(PlaceOutcome::Conflict))
    }

    async fn commit(&self, transition: &Transition) -> Result<CommitOutcome, StoreError> {
        let writes = transition_writes(transition);
        self.transact(&writes, |world| {
            let evicted = match transition.lock() {
                LockChange::BuyBack { takeover: Some(takeover), .. } => world.evicted(takeover),
                _ => None,
            };
            let before = ready(world.store.find(transition.order().id))?;
            let outcome = ready(world.store.commit(transition))?;
            if outcome == CommitOutcome::Committed {
                world.push_changes(evicted, before, transition.order());
                if transition.booked().is_some() {
                    world.count_booking(transition.refund().is_some());
                }
            }
            Ok(outcome)
        })
        .await
    }

    async fn make_permanent(&self, order: &Order) -> Result<CommitOutcome, StoreError> {
        let writes = [(ticket_item(&order.ticket.id), 2.0), (order_item(order.id), 2.0)];
        self.transact(&writes, |world| ready(world.store.make_permanent(order))).await
    }

    async fn apply_ticket(
        &self,
        sale: &Sale,
        rule: TicketRule,
    ) -> Result<TicketOutcome, StoreError> {
        let item = ticket_item(sale.id());
        self.call(WRITE, |world| {
            let mut dynamo = world.dynamo();
            if dynamo.is_in_use(&item) || !dynamo.write(&[(item, 1.0)], world.now_ms()) {
                return Err(Repeatable);
            }
            drop(dynamo);
            Ok(ready(world.store.apply_ticket(sale, rule)))
        })
        .await
    }
}

impl World {
    /// The order of a takeover, before and after it.
    fn evicted(&self, takeover: &Takeover) -> Option<(Option<Order>, Order)> {
        let Takeover::Expire(expiry) = takeover else { return None };
        let after = expiry.order().clone();
        Some((ready(self.store.find(after.id)).ok().flatten(), after))
    }

    fn push_changes(
        &self,
        evicted: Option<(Option<Order>, Order)>,
        before: Option<Order>,
        after: &Order,
    ) {
        let is_locked = after.status.is_live();
        self.seen().locks.push((self.now_ms(), is_locked));
        if let Some((before, after)) = evicted {
            self.stream.push(before, after, self.now_ms());
        }
        self.stream.push(before, after.clone(), self.now_ms());
    }

    fn count_booking(&self, is_refund: bool) {
        let mut seen = self.seen();
        *if is_refund { &mut seen.refunds_due } else { &mut seen.bought } += 1;
    }
}

/// Longest time of a call, for the tests.
#[cfg(test)]
const LONGEST: Duration = Duration::from_secs(7);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[tokio::test(start_paused = true)]
    async fn call_during_an_outage_fails_after_the_operation_timeout() {
        let world = Arc::new(World::new(Settings::before(), 1));
        world.dynamo().hangs_ms = 0..60_000;
        let started = Instant::now();
        let found = LimitedStore(Arc::clone(&world)).find(orders_testing::order_id(1)).await;
        assert!(matches!(found, Err(StoreError::Unavailable(_))));
        let elapsed = started.elapsed();
        assert!(elapsed >= Duration::from_secs(4) && elapsed < LONGEST, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn placement_takes_the_units_of_the_costs() {
        let world = Arc::new(World::new(Settings::before(), 1));
        let order = orders_testing::order(1);
        orders_testing::place(&LimitedStore(Arc::clone(&world)), &order).await;
        // The ticket's event takes 1 unit. docs/costs.md: a placement without a slot takes 5.
        assert!((world.dynamo().units().0 - 6.0).abs() < 1e-9);
    }
}

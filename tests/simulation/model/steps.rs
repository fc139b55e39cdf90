//! What an operation does from one call of the store to the next: the functions' ways through the
//! domain, with its own decisions and the store's own conditions.

use orders_domain::{
    Availability, Command, CommitOutcome, Decision, LockChange, OrderStore, PlaceOutcome,
    Placement, RefundReason, Refusal, Status, StoreError, Transition, decide,
};
use orders_testing::MemoryStore;
use orders_tests::memory::at_once;

use crate::{
    promises,
    state::{
        Ask, ChargeNumber, ORDERS, OrderNumber, Pending, Row, Stage, State, Tick, id, new_order,
        number, payment, time,
    },
};

/// What begins an operation. Each may come any number of times, at once as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Place { order: OrderNumber },
    Cancel { order: OrderNumber },
    Expire { order: OrderNumber },
    Pay { charge: ChargeNumber, order: OrderNumber },
}

/// What can come next: an operation makes its first call, or the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Tick,
    Begin { message: Message },
    Continue { pending: usize },
}

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    Placed,
    PlacedByTakeover,
    PlacedBefore,
    Reserved,
    Sold,
    Overtaken,
    Cancelled,
    CancelledBefore,
    CancelRefused,
    Expired,
    ExpiredBefore,
    ExpiryTooEarly,
    Paid,
    PaidWhenDue,
    PaidLate,
    BookedBefore,
    AlreadyPaid,
    OrderCancelled,
    TicketTaken,
}

impl State {
    /// The state after an action, and what has happened, if it is more than a read.
    pub(crate) fn after(&self, action: Action) -> (Self, Option<Observed>) {
        let mut after = self.clone();
        let observed = match action {
            Action::Tick => {
                after.now += 1;
                None
            }
            Action::Begin { message } => after.begin(message),
            Action::Continue { pending } => {
                let pending = after.pending.remove(pending);
                after.go_on(pending)
            }
        };
        after.pending.sort();
        (after, observed)
    }

    fn begin(&mut self, message: Message) -> Option<Observed> {
        let now = self.now;
        match message {
            Message::Place { order } => self.begin_to_place(order, now),
            Message::Cancel { order } => self.ask(order, Ask::Cancel),
            Message::Expire { order } => self.ask(order, Ask::Expire { now }),
            Message::Pay { charge, order } => {
                self.charge(charge, order);
                let read = *self.order(order)?;
                if read.status == Stage::Expired {
                    self.pending.push(Pending::ReadLock { charge, now, read });
                    return None;
                }
                self.ask(order, Ask::Pay { charge, ticket_is_free: false })
            }
        }
    }

    /// A ticket that somebody has is answered from the read alone.
    fn begin_to_place(&mut self, order: OrderNumber, now: Tick) -> Option<Observed> {
        let lock = self.replica().lock;
        let is_repeat = self.order(order).is_some();
        let refused = |why| Some(if is_repeat { Observed::PlacedBefore } else { why });
        if lock.holder().map(number) == Some(order) {
            return Some(Observed::PlacedBefore);
        }
        let next = match lock.availability(time(now)) {
            Availability::Free => Pending::Place { order, now, lapsed: None },
            Availability::Lapsed(by) => Pending::ReadLapsed { order, now, lapsed: number(by) },
            Availability::Reserved { .. } => return refused(Observed::Reserved),
            Availability::Sold => return refused(Observed::Sold),
        };
        self.pending.push(next);
        None
    }

    fn go_on(&mut self, pending: Pending) -> Option<Observed> {
        match pending {
            Pending::ReadLapsed { order, now, lapsed } => {
                let read = *self.order(lapsed)?;
                // If it has changed since its lock was read, the operation begins anew.
                decided(lapsed, &read, Ask::Expire { now }).ok()?;
                self.pending.push(Pending::Place { order, now, lapsed: Some((lapsed, read)) });
                None
            }
            Pending::Place { order, now, lapsed } => self.place(order, now, lapsed),
            Pending::ReadLock { charge, now, read } => self.pay_late(charge, now, read),
            Pending::Commit { order, read, ask } => self.commit(order, &read, ask),
        }
    }

    fn pay_late(&mut self, charge: ChargeNumber, now: Tick, read: Row) -> Option<Observed> {
        let order = self.charged(charge)?;
        let lock = self.replica().lock;
        if lock.holder().map(number) == Some(order) {
            return None;
        }
        let ticket_is_free = match lock.availability(time(now)) {
            Availability::Free => true,
            Availability::Reserved { .. } | Availability::Sold => false,
            // The lapsed hold is in the way until its order has expired; then this begins anew.
            Availability::Lapsed(by) => return self.ask(number(by), Ask::Expire { now }),
        };
        self.decide_on(order, read, Ask::Pay { charge, ticket_is_free })
    }

    /// Reads the order and decides.
    fn ask(&mut self, order: OrderNumber, ask: Ask) -> Option<Observed> {
        let read = *self.order(order)?;
        self.decide_on(order, read, ask)
    }

    fn decide_on(&mut self, order: OrderNumber, read: Row, ask: Ask) -> Option<Observed> {
        match decided(order, &read, ask) {
            Ok(_) => {
                self.pending.push(Pending::Commit { order, read, ask });
                None
            }
            Err(nothing_to_do) => {
                self.broken = promises::broken_by_leaving(&read, ask, nothing_to_do);
                Some(nothing_to_do)
            }
        }
    }

    fn place(
        &mut self,
        order: OrderNumber,
        now: Tick,
        lapsed: Option<(OrderNumber, Row)>,
    ) -> Option<Observed> {
        let takeover = match lapsed {
            Some((lapsed, read)) => Some(decided(lapsed, &read, Ask::Expire { now }).ok()?),
            None => None,
        };
        let observed =
            if takeover.is_some() { Observed::PlacedByTakeover } else { Observed::Placed };
        let store = self.store();
        Some(match answered(store.place(&Placement { order: new_order(order, now), takeover })) {
            PlaceOutcome::Placed => {
                self.read_all(&store);
                observed
            }
            PlaceOutcome::AlreadyPlaced(_) => Observed::PlacedBefore,
            PlaceOutcome::Conflict => Observed::Overtaken,
        })
    }

    fn commit(&mut self, order: OrderNumber, read: &Row, ask: Ask) -> Option<Observed> {
        let transition = decided(order, read, ask).ok()?;
        let store = self.store();
        Some(match answered(store.commit(&transition)) {
            CommitOutcome::Committed => {
                self.read_all(&store);
                committed(&transition, read.is_due(self.now))
            }
            CommitOutcome::Conflict => Observed::Overtaken,
        })
    }

    /// A store that holds what there is, for one transaction.
    fn store(&self) -> MemoryStore {
        let orders = self.orders().map(|(number, row)| row.to_order(number));
        MemoryStore::holding([self.replica()], orders)
    }

    /// Takes over what the transaction has made of it all.
    fn read_all(&mut self, store: &MemoryStore) {
        let ticket = answered(store.find_ticket(&self.replica().ticket.id)).expect("it is there");
        self.set_lock(ticket.lock);
        for number in 0..ORDERS {
            let now = answered(store.find(id(number))).as_ref().map(Row::of);
            let before = std::mem::replace(self.order_mut(number), now);
            let broken = promises::broken_by_writing(before, now, self.now);
            self.broken = self.broken.or(broken);
        }
    }
}

/// What the service decides, as a change to commit or as what has happened without one.
fn decided(order: OrderNumber, read: &Row, ask: Ask) -> Result<Transition, Observed> {
    let command = match ask {
        Ask::Cancel => Command::Cancel,
        Ask::Expire { now } => Command::Expire { now: time(now) },
        Ask::Pay { charge, ticket_is_free } => {
            Command::Pay { payment_id: payment(charge), ticket_is_free }
        }
    };
    match (decide(&read.to_order(order), &command), ask) {
        (Decision::Apply(transition), _) => Ok(transition),
        (Decision::AlreadyDone, Ask::Cancel) => Err(Observed::CancelledBefore),
        (Decision::AlreadyDone, Ask::Expire { .. }) => Err(Observed::ExpiredBefore),
        (Decision::AlreadyDone, Ask::Pay { .. }) => Err(Observed::BookedBefore),
        (Decision::Refuse(Refusal::Paid), _) => Err(Observed::CancelRefused),
        (Decision::Refuse(Refusal::NotDue { .. }), _) => Err(Observed::ExpiryTooEarly),
    }
}

fn committed(transition: &Transition, was_due: bool) -> Observed {
    let order = transition.order();
    match (transition.lock(), &order.status) {
        (LockChange::Sell, _) if was_due => Observed::PaidWhenDue,
        (LockChange::Sell, _) => Observed::Paid,
        (LockChange::Relock, _) => Observed::PaidLate,
        (LockChange::Release, Status::Expired) => Observed::Expired,
        (LockChange::Release, _) => Observed::Cancelled,
        (LockChange::Unchanged, _) => match order.refunds_due.last().map(|refund| refund.reason) {
            Some(RefundReason::AlreadyPaid) => Observed::AlreadyPaid,
            Some(RefundReason::OrderCancelled) => Observed::OrderCancelled,
            _ => Observed::TicketTaken,
        },
    }
}

/// What the store in memory answers, which never fails.
fn answered<T>(answer: impl Future<Output = Result<T, StoreError>>) -> T {
    at_once(answer).expect("nothing fails in memory")
}

//! The calls of each operation: the functions' sequence of reads and writes, with the domain's
//! decisions and the store's conditions.

use futures_util::FutureExt;
use orders_domain::{
    Availability, Command, CommitOutcome, Decision, LockChange, OrderStore, PlaceOutcome,
    Placement, RefundReason, Refusal, Status, StoreError, Transition, decide,
};
use orders_testing::MemoryStore;

use crate::{
    promises,
    state::{
        ORDERS, OrderNumber, OrderStatus, PaymentNumber, Pending, Request, State, StoredOrder,
        Tick, id, new_order, number, payment_id, time,
    },
};

/// Start of an operation. Each can come any number of times, also concurrently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Place { order: OrderNumber },
    Cancel { order: OrderNumber },
    Expire { order: OrderNumber },
    Pay { payment: PaymentNumber, order: OrderNumber },
}

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Tick,
    Begin { message: Message },
    Continue { pending: usize },
}

/// Result of an operation.
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
    /// Returns the state after an action, and the result of an operation that has ended.
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
                after.continue_pending(pending)
            }
        };
        after.pending.sort();
        (after, observed)
    }

    fn begin(&mut self, message: Message) -> Option<Observed> {
        let now = self.now;
        match message {
            Message::Place { order } => self.begin_place(order, now),
            Message::Cancel { order } => self.read_and_decide(order, Request::Cancel),
            Message::Expire { order } => self.read_and_decide(order, Request::Expire { now }),
            Message::Pay { payment, order } => {
                self.set_order_of_payment(payment, order);
                let read = *self.order(order)?;
                if read.status == OrderStatus::Expired {
                    self.pending.push(Pending::ReadLock { payment, now, read });
                    return None;
                }
                self.read_and_decide(order, Request::Pay { payment, ticket_is_free: false })
            }
        }
    }

    /// Rejects a locked ticket after a single read.
    fn begin_place(&mut self, order: OrderNumber, now: Tick) -> Option<Observed> {
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

    fn continue_pending(&mut self, pending: Pending) -> Option<Observed> {
        match pending {
            Pending::ReadLapsed { order, now, lapsed } => {
                let read = *self.order(lapsed)?;
                // If the order has changed since the read of the lock, the operation starts again.
                decided(lapsed, &read, Request::Expire { now }).ok()?;
                self.pending.push(Pending::Place { order, now, lapsed: Some((lapsed, read)) });
                None
            }
            Pending::Place { order, now, lapsed } => self.place(order, now, lapsed),
            Pending::ReadLock { payment, now, read } => self.pay_late(payment, now, read),
            Pending::Commit { order, read, request } => self.commit(order, &read, request),
        }
    }

    fn pay_late(
        &mut self,
        payment: PaymentNumber,
        now: Tick,
        read: StoredOrder,
    ) -> Option<Observed> {
        let order = self.order_of_payment(payment)?;
        let lock = self.replica().lock;
        if lock.holder().map(number) == Some(order) {
            return None;
        }
        let ticket_is_free = match lock.availability(time(now)) {
            Availability::Free => true,
            Availability::Reserved { .. } | Availability::Sold => false,
            // The lapsed order is expired first; then the operation starts again.
            Availability::Lapsed(by) => {
                return self.read_and_decide(number(by), Request::Expire { now });
            }
        };
        self.decide(order, read, Request::Pay { payment, ticket_is_free })
    }

    /// Reads the order and decides.
    fn read_and_decide(&mut self, order: OrderNumber, request: Request) -> Option<Observed> {
        let read = *self.order(order)?;
        self.decide(order, read, request)
    }

    fn decide(
        &mut self,
        order: OrderNumber,
        read: StoredOrder,
        request: Request,
    ) -> Option<Observed> {
        match decided(order, &read, request) {
            Ok(_) => {
                self.pending.push(Pending::Commit { order, read, request });
                None
            }
            Err(result) => {
                self.violation = promises::violation_of_no_op(&read, request, result);
                Some(result)
            }
        }
    }

    fn place(
        &mut self,
        order: OrderNumber,
        now: Tick,
        lapsed: Option<(OrderNumber, StoredOrder)>,
    ) -> Option<Observed> {
        let takeover = match lapsed {
            Some((lapsed, read)) => Some(decided(lapsed, &read, Request::Expire { now }).ok()?),
            None => None,
        };
        let observed =
            if takeover.is_some() { Observed::PlacedByTakeover } else { Observed::Placed };
        let store = self.store();
        Some(match result_of(store.place(&Placement { order: new_order(order, now), takeover })) {
            PlaceOutcome::Placed => {
                self.load(&store);
                observed
            }
            PlaceOutcome::AlreadyPlaced(_) => Observed::PlacedBefore,
            PlaceOutcome::Conflict => Observed::Overtaken,
        })
    }

    fn commit(
        &mut self,
        order: OrderNumber,
        read: &StoredOrder,
        request: Request,
    ) -> Option<Observed> {
        let transition = decided(order, read, request).ok()?;
        let store = self.store();
        Some(match result_of(store.commit(&transition)) {
            CommitOutcome::Committed => {
                self.load(&store);
                committed(&transition, read.is_due(self.now))
            }
            CommitOutcome::Conflict => Observed::Overtaken,
        })
    }

    /// Returns a store with the current state, for one transaction.
    fn store(&self) -> MemoryStore {
        let orders = self.orders().map(|(number, row)| row.to_order(number));
        MemoryStore::holding([self.replica()], orders)
    }

    /// Loads the state after the transaction.
    fn load(&mut self, store: &MemoryStore) {
        let ticket = result_of(store.find_ticket(&self.replica().ticket.id)).expect("the ticket");
        self.set_lock(ticket.lock);
        for number in 0..ORDERS {
            let now = result_of(store.find(id(number))).as_ref().map(StoredOrder::new);
            let before = std::mem::replace(self.order_mut(number), now);
            let violation = promises::violation_of_write(before, now, self.now);
            self.violation = self.violation.or(violation);
        }
    }
}

/// Returns the transition of a request, or the result if there is none.
fn decided(
    order: OrderNumber,
    read: &StoredOrder,
    request: Request,
) -> Result<Transition, Observed> {
    let command = match request {
        Request::Cancel => Command::Cancel,
        Request::Expire { now } => Command::Expire { now: time(now) },
        Request::Pay { payment, ticket_is_free } => {
            Command::Pay { payment_id: payment_id(payment), ticket_is_free }
        }
    };
    match (decide(&read.to_order(order), &command), request) {
        (Decision::Apply(transition), _) => Ok(transition),
        (Decision::AlreadyDone, Request::Cancel) => Err(Observed::CancelledBefore),
        (Decision::AlreadyDone, Request::Expire { .. }) => Err(Observed::ExpiredBefore),
        (Decision::AlreadyDone, Request::Pay { .. }) => Err(Observed::BookedBefore),
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

/// Runs a call of the in-memory store.
fn result_of<T>(call: impl Future<Output = Result<T, StoreError>>) -> T {
    call.now_or_never().expect("an immediate result").expect("a working store")
}

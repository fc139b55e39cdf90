//! The calls of each operation: the functions' sequence of reads and writes, with the domain's
//! decisions and the store's conditions.

use futures_util::FutureExt;
use orders_domain::{
    Availability, Change, Command, CommitOutcome, Decision, FoundTicket, LapsedHolds, Lock,
    LockChange, Order, OrderStore, PaymentResult, PlaceOutcome, Placement, Price, RefundReason,
    Refusal, SlotCount, Status, StoreError, Takeover, TicketReplica, TicketRule, TicketState,
    Timestamp, Transition, decide,
};
use orders_testing::MemoryStore;

use crate::{
    promises,
    state::{
        Available, FIRST, Found, Kind, LATE_LIMIT, ORDERS, Operation, OrderNumber, OrderStatus,
        PAYMENTS, Part, PaymentNumber, Pending, Request, SlotState, State, StoredOrder,
        TIME_TO_PAY, Tick, Version, buyer, id, new_order, number, payment_id, sale, slot, ticket,
        time,
    },
};

/// Start of an operation. Each can come any number of times, also concurrently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Place {
        order: OrderNumber,
    },
    Cancel {
        order: OrderNumber,
    },
    Expire {
        order: OrderNumber,
    },
    Pay {
        payment: PaymentNumber,
        order: OrderNumber,
    },
    /// The buyer has just started to pay. A start sent a tick earlier gives no later end: a hold that
    /// is not extended lasts one tick.
    Start {
        order: OrderNumber,
    },
    Refund {
        payment: PaymentNumber,
        order: OrderNumber,
        part: Part,
    },
    /// Reconcile finds the ticket in its scan, which may lag behind. Here a hold counts as forgotten from its
    /// end on: earlier than in the service, where a hold is left to its timer for a while.
    Reconcile,
}

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Tick,
    /// The ticket service changes the price, or withdraws the ticket.
    ChangeSale {
        version: Version,
    },
    /// The buyer pays: the message can come from now on.
    Send {
        payment: PaymentNumber,
        order: OrderNumber,
        kind: Kind,
    },
    Begin {
        message: Message,
    },
    Continue {
        pending: usize,
    },
}

/// Result of an operation, or of its first transition of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    Placed,
    PlacedByTakeover,
    PlacedBefore,
    Reserved,
    Sold,
    Withdrawn,
    TooManyHolds,
    Overtaken,
    Cancelled,
    GivenBack,
    CancelledWhenExpired,
    CancelledBefore,
    CancelRefused,
    Expired,
    ExpiredFirst,
    EndedBefore,
    ExpiryTooEarly,
    Paid,
    PaidWhenDue,
    PaidWhenExpired,
    PaidByTakeover,
    BookedBefore,
    BookedForAnother,
    WrongAmountOfHold,
    AlreadyPaid,
    OrderCancelled,
    WrongAmount,
    TooLate,
    TicketChanged,
    TicketTaken,
    OrderRefunded,
    NothingToPay,
    Extended,
    NotExtended,
    Refunded,
    RefundSettled,
    RefundedBefore,
    RefundTooSmall,
    RefundTooEarly,
    NothingLapsed,
    FoundPaid,
    Released,
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
            Action::ChangeSale { version } => {
                after.change_sale(version);
                None
            }
            Action::Send { payment, order, kind } => {
                after.send(payment, order, kind);
                None
            }
            Action::Begin { message } => after.begin(message),
            Action::Continue { pending } => {
                let pending = after.pending.remove(pending);
                after.continue_pending(pending)
            }
        };
        after.drop_outdated();
        after.pending.sort();
        (after, observed)
    }

    /// Ends the operations that have read an order or a ticket of an older version. They must write
    /// nothing, now or later: versions only grow.
    fn drop_outdated(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let (outdated, current) =
            pending.into_iter().partition(|pending| self.is_outdated(pending));
        for pending in outdated {
            let changed = self.after_alone(pending) != *self;
            self.violation = self.violation.or(changed.then_some(promises::READ_IS_CURRENT));
        }
        self.pending = current;
    }

    fn is_outdated(&self, pending: &Pending) -> bool {
        let (operation, found) = match *pending {
            Pending::ReadTicket { payment: operation } | Pending::ReadLapsed { operation, .. } => {
                (operation, None)
            }
            Pending::ReadSlot { placement, found } | Pending::Place { placement, found } => {
                (placement, Some(found))
            }
            Pending::Release { repair } => (repair, None),
            Pending::Commit { command, found } => (command, found),
        };
        let is_old = |number: OrderNumber, read: Option<StoredOrder>| {
            read.is_some_and(|read| self.order(number) != Some(read))
        };
        let has_old_ticket = found.is_some_and(|found| found.ticket != self.ticket);
        let is_placed = self.order(operation.order).is_some();
        (operation.request == Request::Place && (is_placed || has_old_ticket))
            || is_old(operation.order, operation.read)
            || found.is_some_and(|found| match found.availability {
                Available::Lapsed { by, read } => is_old(by, read),
                Available::Own | Available::Free | Available::Reserved | Available::Sold => false,
            })
    }

    /// Returns the state after an operation, without any other operation.
    fn after_alone(&self, pending: Pending) -> Self {
        let mut after = self.clone();
        after.pending = vec![pending];
        while let Some(pending) = after.pending.pop() {
            after.continue_pending(pending);
        }
        after
    }

    fn change_sale(&mut self, version: Version) {
        let store = self.store();
        result_of(store.apply_ticket(sale(version), TicketRule::AnyNewer));
        self.load(&store);
    }

    fn begin(&mut self, message: Message) -> Option<Observed> {
        let now = self.now;
        let (order, request, now) = match message {
            Message::Place { order } => {
                let request = Request::Place;
                return self.read_ticket(Operation { order, request, now, read: None });
            }
            Message::Cancel { order } => (order, Request::Cancel, 0),
            Message::Expire { order } => (order, Request::Expire, now),
            Message::Pay { payment, order } => (order, Request::Pay { payment }, now),
            Message::Start { order } => (order, Request::Start, now),
            Message::Refund { payment, order, part } => {
                (order, Request::Refund { payment, part }, 0)
            }
            Message::Reconcile => return self.reconcile(now),
        };
        let read = Some(self.order(order)?);
        self.decide(Operation { order, request, now, read }, None)
    }

    fn continue_pending(&mut self, pending: Pending) -> Option<Observed> {
        match pending {
            Pending::ReadTicket { payment } => self.read_ticket(payment),
            Pending::ReadLapsed { operation, ticket, lapsed } => {
                self.read_lapsed(operation, ticket, lapsed)
            }
            Pending::ReadSlot { placement, found } => self.read_slot(placement, found),
            Pending::Place { placement, found } => Some(self.place(placement, found)),
            Pending::Release { repair } => Some(self.release(repair)),
            Pending::Commit { command, found } => self.commit(command, found),
        }
    }

    fn read_ticket(&mut self, operation: Operation) -> Option<Observed> {
        let lock = self.replica().lock;
        let ticket = self.ticket;
        let availability = match lock.availability(id(operation.order), time(operation.now)) {
            Availability::Own => Available::Own,
            Availability::Free => Available::Free,
            Availability::Reserved { .. } => Available::Reserved,
            Availability::Sold => Available::Sold,
            Availability::Lapsed(by) => {
                let lapsed = number(by);
                self.pending.push(Pending::ReadLapsed { operation, ticket, lapsed });
                return None;
            }
        };
        self.proceed(operation, Found { ticket, availability })
    }

    fn read_lapsed(
        &mut self,
        operation: Operation,
        ticket: Version,
        by: OrderNumber,
    ) -> Option<Observed> {
        if operation.request == Request::Reconcile {
            return self.repair(operation);
        }
        let read = self.order(by);
        let availability = match lapsed(by, read, time(operation.now)) {
            Availability::Lapsed(Takeover::Expire(_)) => Available::Lapsed { by, read },
            Availability::Lapsed(Takeover::Ended(_)) => Available::Lapsed { by, read: None },
            // The order has paid since the read of its lock.
            Availability::Sold => {
                self.make_permanent(by);
                Available::Sold
            }
            Availability::Own | Availability::Free | Availability::Reserved { .. } => {
                Available::Reserved
            }
        };
        self.proceed(operation, Found { ticket, availability })
    }

    /// Reads the ticket for reconcile.
    fn reconcile(&mut self, now: Tick) -> Option<Observed> {
        let lapsed = Some(self.replica().lock).filter(|lock| lock.has_lapsed(time(now)));
        let Some(lapsed) = lapsed.and_then(Lock::holder).map(number) else {
            return Some(Observed::NothingLapsed);
        };
        let operation = Operation { order: lapsed, request: Request::Reconcile, now, read: None };
        self.pending.push(Pending::ReadLapsed { operation, ticket: self.ticket, lapsed });
        None
    }

    /// Reads the order that the lapsed lock names, for reconcile. An expiry goes on like that of a timer.
    fn repair(&mut self, repair: Operation) -> Option<Observed> {
        let Operation { order, now, .. } = repair;
        let read = self.order(order);
        match lapsed(order, read, time(now)) {
            Availability::Lapsed(Takeover::Expire(_)) => {
                self.decide(Operation { request: Request::Expire, read, ..repair }, None)
            }
            Availability::Lapsed(Takeover::Ended(_)) => {
                self.pending.push(Pending::Release { repair: Operation { read, ..repair } });
                None
            }
            Availability::Sold => {
                self.make_permanent(order);
                Some(Observed::FoundPaid)
            }
            Availability::Own | Availability::Free | Availability::Reserved { .. } => {
                Some(Observed::NothingLapsed)
            }
        }
    }

    fn release(&mut self, repair: Operation) -> Observed {
        let store = self.store();
        let ticket = sale(self.ticket).id();
        match result_of(store.release(ticket, id(repair.order), time(repair.now))) {
            CommitOutcome::Committed => {
                self.load(&store);
                Observed::Released
            }
            CommitOutcome::Conflict | CommitOutcome::PaymentOfAnotherOrder(_) => {
                Observed::Overtaken
            }
        }
    }

    fn make_permanent(&mut self, number: OrderNumber) {
        let Some(paid) = self.order(number) else { return };
        let store = self.store();
        result_of(store.make_permanent(&paid.to_order(number)));
        self.load(&store);
    }

    fn read_slot(&mut self, placement: Operation, found: Found) -> Option<Observed> {
        let slots = result_of(self.store().find_slots(buyer()));
        match slots.free_slots(SlotCount::try_from(1).unwrap(), time(placement.now)) {
            Ok(_) => {
                self.pending.push(Pending::Place { placement, found });
                None
            }
            Err(_) => Some(Observed::TooManyHolds),
        }
    }

    /// Goes on with the ticket as found. A locked ticket is refused without a write.
    fn proceed(&mut self, operation: Operation, found: Found) -> Option<Observed> {
        if operation.read.is_some() {
            return self.decide(operation, Some(found));
        }
        let is_on_sale = sale(found.ticket).ticket().is_some();
        let refused = match found.availability {
            Available::Own => Observed::PlacedBefore,
            _ if !is_on_sale => Observed::Withdrawn,
            Available::Free | Available::Lapsed { .. } => {
                let placement = operation;
                self.pending.push(match self.slot {
                    SlotState::Unlimited => Pending::Place { placement, found },
                    SlotState::Free | SlotState::Occupied { .. } => {
                        Pending::ReadSlot { placement, found }
                    }
                });
                return None;
            }
            Available::Reserved => Observed::Reserved,
            Available::Sold => Observed::Sold,
        };
        let is_repeat = self.order(operation.order).is_some();
        Some(if is_repeat { Observed::PlacedBefore } else { refused })
    }

    fn decide(&mut self, command: Operation, found: Option<Found>) -> Option<Observed> {
        let decision = self.decision(command, found)?;
        let result = match decision {
            Decision::Apply(_) | Decision::ApplyFirst(_) => {
                let (command, found) = self.simplest(command, found, &decision);
                self.pending.push(Pending::Commit { command, found });
                return None;
            }
            Decision::ReadTicket => {
                self.pending.push(Pending::ReadTicket { payment: command });
                return None;
            }
            Decision::AlreadyDone => match command.request {
                Request::Place => Observed::PlacedBefore,
                Request::Cancel => Observed::CancelledBefore,
                Request::Expire => Observed::EndedBefore,
                Request::Pay { payment } => match command.read {
                    Some(read) if read.bookings(payment) == 0 => Observed::NothingToPay,
                    Some(_) | None => Observed::BookedBefore,
                },
                Request::Start => Observed::NotExtended,
                Request::Refund { .. } => Observed::RefundedBefore,
                Request::Reconcile => Observed::NothingLapsed,
            },
            Decision::Refuse(Refusal::NotDue { .. }) => Observed::ExpiryTooEarly,
            Decision::Refuse(Refusal::Paid | Refusal::TooManyRefunds) => Observed::CancelRefused,
            Decision::Refuse(Refusal::UnknownPayment) => Observed::RefundTooEarly,
            Decision::Refuse(Refusal::PartialRefund) => Observed::RefundTooSmall,
        };
        let violation = promises::violation_of_no_op(self, command, result);
        self.violation = self.violation.or(violation);
        Some(result)
    }

    /// Returns the simplest input of a decision: fewer states. A sale keeps its input, which its
    /// properties depend on.
    fn simplest(
        &self,
        command: Operation,
        found: Option<Found>,
        decision: &Decision,
    ) -> (Operation, Option<Found>) {
        let is_sale = matches!(decision, Decision::Apply(transition)
            if transition.booked().is_some_and(|booked| booked.result == PaymentResult::Bought));
        let earlier = (0..command.now).map(|now| Operation { now, ..command });
        let simpler = found.map(|found| Found { availability: Available::Sold, ..found });
        earlier
            .flat_map(|earlier| [(earlier, simpler), (earlier, found)])
            .chain([(command, simpler)])
            .filter(|_| !is_sale)
            .find(|(command, found)| self.decision(*command, *found).as_ref() == Some(decision))
            .unwrap_or((command, found))
    }

    /// Returns the decision of the domain; `None` for a placement.
    fn decision(&self, operation: Operation, found: Option<Found>) -> Option<Decision> {
        let read = operation.read?;
        let now = time(operation.now);
        let command = match operation.request {
            Request::Place | Request::Reconcile => return None,
            Request::Cancel => Command::Cancel,
            Request::Expire => Command::Expire { now },
            Request::Pay { payment } => Command::Pay {
                payment: self.to_payment(payment, operation.order, read),
                late_limit: LATE_LIMIT,
                now,
            },
            Request::Start => Command::StartPayment { sent_at: now, time_to_pay: TIME_TO_PAY, now },
            Request::Refund { payment, part } => Command::Refund {
                payment_id: payment_id(payment),
                amount: match part {
                    Part::Whole => None,
                    Part::Less => Price::from_minor(0).ok(),
                },
            },
        };
        let ticket = found.map_or(TicketState::Unread, |found| {
            TicketState::Found(found.to_found_ticket(now).into())
        });
        Some(decide(&read.to_order(operation.order), &command, &ticket))
    }

    fn place(&mut self, placement: Operation, found: Found) -> Observed {
        let Operation { order, now, .. } = placement;
        let takeover = match found.to_found_ticket(time(now)).availability {
            Availability::Lapsed(takeover) => Some(takeover),
            Availability::Own
            | Availability::Free
            | Availability::Reserved { .. }
            | Availability::Sold => None,
        };
        let placed = if takeover.is_some() { Observed::PlacedByTakeover } else { Observed::Placed };
        let slot = (self.slot != SlotState::Unlimited).then(slot);
        let order = Order { slot, ..new_order(order, found.ticket, now) };
        let placement = Placement { order, takeover };
        let store = self.store();
        match result_of(store.place(&placement)) {
            PlaceOutcome::Placed => {
                self.load(&store);
                placed
            }
            PlaceOutcome::AlreadyPlaced(_) => Observed::PlacedBefore,
            PlaceOutcome::Conflict => Observed::Overtaken,
        }
    }

    fn commit(&mut self, command: Operation, found: Option<Found>) -> Option<Observed> {
        let (transition, is_last) = match self.decision(command, found)? {
            Decision::Apply(transition) => (transition, true),
            Decision::ApplyFirst(transition) => (transition, false),
            Decision::AlreadyDone | Decision::Refuse(_) | Decision::ReadTicket => return None,
        };
        let store = self.store();
        match result_of(store.commit(&transition)) {
            CommitOutcome::Committed => {}
            CommitOutcome::PaymentOfAnotherOrder(_) => return Some(Observed::BookedForAnother),
            // A retry is the same message again.
            CommitOutcome::Conflict => return Some(Observed::Overtaken),
        }
        let observed = committed(&transition, command);
        let violation = promises::violation_of_transition(self, command, &transition);
        self.load(&store);
        self.violation = self.violation.or(violation);
        if !is_last {
            let read = Some(StoredOrder::new(transition.order()));
            self.decide(Operation { read, ..command }, found);
        }
        Some(observed)
    }

    /// Returns a store with the current state, for one transaction.
    fn store(&self) -> MemoryStore {
        let orders = self.orders().map(|(number, row)| row.to_order(number));
        let store = MemoryStore::holding([self.replica()], orders);
        self.booked().for_each(|booked| store.put_payment(booked));
        store.put_slots(buyer().clone(), self.slots());
        store
    }

    /// Loads the state after the transaction.
    fn load(&mut self, store: &MemoryStore) {
        let replica = result_of(store.find_ticket(sale(self.ticket).id())).expect("the ticket");
        self.set_slots(&result_of(store.find_slots(buyer())));
        self.set_replica(&replica);
        let has_hint = replica.locked_for == self.replica().locked_for;
        let mut violation = (!has_hint).then_some(promises::LOCK_NAMES_ITS_BUYER);
        for number in 0..ORDERS {
            let now = result_of(store.find(id(number)));
            let before = self.order(number);
            violation = violation.or(promises::violation_of_write(self, before, now.as_ref()));
            *self.order_mut(number) = now.as_ref().map(StoredOrder::new);
        }
        self.forget_kinds();
        for payment in 0..PAYMENTS {
            let row = result_of(store.find_payment(&payment_id(payment)));
            violation = violation.or(promises::violation_of_row(self, payment, row.as_ref()));
        }
        self.violation = self.violation.or(violation);
    }
}

impl Found {
    fn to_found_ticket(self, now: Timestamp) -> FoundTicket {
        let availability = match self.availability {
            Available::Own => Availability::Own,
            Available::Free => Availability::Free,
            Available::Reserved => Availability::Reserved { until: now },
            Available::Sold => Availability::Sold,
            Available::Lapsed { by, read } => lapsed(by, read, now),
        };
        // No decision depends on the lock itself.
        let sale = sale(self.ticket).clone();
        let replica = TicketReplica { sale, lock: Lock::Free, locked_for: None };
        FoundTicket { replica, availability }
    }
}

/// Returns the availability of a ticket whose lapsed lock names this order.
fn lapsed(by: OrderNumber, read: Option<StoredOrder>, now: Timestamp) -> Availability {
    let read = read.map(|read| read.to_order(by));
    Takeover::availability(&ticket(FIRST).id, id(by), read.as_ref(), now)
}

fn committed(transition: &Transition, command: Operation) -> Observed {
    let order = transition.order();
    let was = |status| command.read.is_some_and(|read| read.status == status);
    let was_expired = was(OrderStatus::Expired);
    match (transition.booked().map(|booked| booked.result), &order.status) {
        (Some(PaymentResult::Bought), _) => match transition.lock() {
            LockChange::BuyBack { takeover: Some(_), .. } => Observed::PaidByTakeover,
            LockChange::BuyBack { takeover: None, .. } if was_expired => Observed::PaidWhenExpired,
            LockChange::BuyBack { takeover: None, .. } => Observed::PaidWhenDue,
            LockChange::Sell
            | LockChange::Unchanged
            | LockChange::NotOwn
            | LockChange::Release
            | LockChange::Extend => Observed::Paid,
        },
        (Some(PaymentResult::RefundDue(reason)), status) => match reason {
            RefundReason::WrongAmount if *status == Status::AwaitingPayment => {
                Observed::WrongAmountOfHold
            }
            RefundReason::WrongAmount => Observed::WrongAmount,
            RefundReason::TooLate => Observed::TooLate,
            RefundReason::TicketChanged => Observed::TicketChanged,
            RefundReason::TicketTaken => Observed::TicketTaken,
            RefundReason::AlreadyPaid => Observed::AlreadyPaid,
            RefundReason::OrderCancelled => Observed::OrderCancelled,
            RefundReason::OrderRefunded => Observed::OrderRefunded,
        },
        (None, _) if *transition.change() == Change::Extended => Observed::Extended,
        (None, _) if matches!(transition.change(), Change::Settled(_)) => Observed::RefundSettled,
        (None, Status::Refunded { .. }) => Observed::Refunded,
        (None, Status::Cancelled) if was(OrderStatus::Free) => Observed::GivenBack,
        (None, Status::Cancelled) if was_expired => Observed::CancelledWhenExpired,
        (None, Status::Cancelled) => Observed::Cancelled,
        (None, _) if matches!(command.request, Request::Pay { .. }) => Observed::ExpiredFirst,
        (None, _) => Observed::Expired,
    }
}

/// Runs a call of the in-memory store.
fn result_of<T>(call: impl Future<Output = Result<T, StoreError>>) -> T {
    call.now_or_never().expect("an immediate result").expect("a working store")
}

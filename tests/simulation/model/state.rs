//! State of the model: a ticket, its orders and the operations in progress. Small, for a fast
//! search.

use std::{sync::LazyLock, time::Duration};

use orders_domain::{
    BookedPayment, Lock, NewOrder, Order, OrderId, OrderVersion, Payment, PaymentId, PaymentResult,
    Price, RefundDue, RefundReason, RefundState, Sale, Slot, Slots, Status, Ticket, TicketReplica,
    Timestamp, UserId,
};

/// Number of an order, from 0.
pub(crate) type OrderNumber = u8;
/// Number of a payment, from 0.
pub(crate) type PaymentNumber = u8;
/// Version of the ticket: one of the four below, each with its own price or none.
pub(crate) type Version = u8;
/// Number of clock ticks. A hold lasts one tick.
pub(crate) type Tick = u8;

/// Largest number of orders for the ticket.
pub(crate) const ORDERS: OrderNumber = 3;
/// Largest number of payments, for one order or for several.
pub(crate) const PAYMENTS: PaymentNumber = 2;
/// The ticket costs nothing.
pub(crate) const FREE: Version = 0;
/// The ticket has its first price.
pub(crate) const FIRST: Version = 1;
/// The ticket has another price.
pub(crate) const CHANGED: Version = 2;
/// The ticket is withdrawn.
pub(crate) const WITHDRAWN: Version = 3;
/// Time to pay from the start of a payment on: longer than a hold.
pub(crate) const TIME_TO_PAY: Duration = TICK.saturating_mul(2);
/// The longest hold, in ticks: an extended one.
pub(crate) const LONGEST_HOLD: Tick = 2;
/// Time after the end of a hold in which a payment can still be sent.
pub(crate) const LATE_LIMIT: Duration = Duration::ZERO;

/// State of the model at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) now: Tick,
    /// Current version of the ticket.
    pub(crate) ticket: Version,
    pub(crate) lock: LockState,
    /// Slot of the buyer of every order.
    pub(crate) slot: SlotState,
    orders: [Option<StoredOrder>; ORDERS as usize],
    payments: [Option<Sent>; PAYMENTS as usize],
    /// Operations in progress, sorted.
    pub(crate) pending: Vec<Pending>,
    /// Property violated by the last step.
    pub(crate) violation: Option<&'static str>,
}

/// Lock of the ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LockState {
    Free,
    Held { by: OrderNumber, until: Tick },
    Sold { to: OrderNumber },
}

/// The only slot of a buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SlotState {
    /// Buyers may hold any number of tickets.
    Unlimited,
    /// No order has occupied the slot since it was last freed.
    Free,
    /// An order occupies the slot until this tick.
    Occupied { until: Tick },
}

/// Stored order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StoredOrder {
    pub(crate) status: OrderStatus,
    pub(crate) version: u8,
    /// `None` if the order is paid, cancelled or refunded: no later decision depends on the terms.
    pub(crate) terms: Option<Terms>,
    /// `None` if the order no longer needs a slot.
    slot: Option<Slot>,
    /// Refunds of each payment.
    pub(crate) refunds: [Refunds; PAYMENTS as usize],
}

/// Price and end of a hold: only an extension changes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Terms {
    /// Version of the ticket at the time of placing.
    pub(crate) ticket: Version,
    /// 0 if the order has expired: no decision depends on the time, only on the kind of a payment.
    pub(crate) expires_at: Tick,
    /// `false` if the order has expired.
    pub(crate) extended: bool,
}

/// Numbers of refunds of one payment. No decision depends on their reasons, and none on their
/// amounts: a refund in part is one of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Refunds {
    pub(crate) due: u8,
    pub(crate) settled: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum OrderStatus {
    AwaitingPayment,
    Paid { payment: PaymentNumber },
    Free,
    Cancelled,
    Expired,
    Refunded { payment: PaymentNumber },
}

/// A payment that has been sent, for one order or for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sent {
    pub(crate) kind: Kind,
    names: [bool; ORDERS as usize],
}

/// What decides on a payment, besides the order and the ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Amount and time are right.
    Right,
    /// The amount is not the price of the order.
    WrongAmount,
    /// The payment was sent too long after the end of the hold.
    TooLate,
}

/// An operation between two calls of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Pending {
    /// Next: read the ticket.
    ReadTicket { payment: Operation },
    /// Has read the ticket with a lapsed lock; next: read the order that the lock names.
    ReadLapsed { operation: Operation, ticket: Version, lapsed: OrderNumber },
    /// Has found the ticket available; next: read the buyer's slot.
    ReadSlot { placement: Operation, found: Found },
    /// Next: place the order.
    Place { placement: Operation, found: Found },
    /// Has found the order of a lapsed lock ended; next: release the lock.
    Release { repair: Operation },
    /// Has decided; next: commit the transition.
    Commit { command: Operation, found: Option<Found> },
}

impl Pending {
    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::ReadTicket { payment: operation }
            | Self::ReadLapsed { operation, .. }
            | Self::ReadSlot { placement: operation, .. }
            | Self::Place { placement: operation, .. }
            | Self::Release { repair: operation }
            | Self::Commit { command: operation, .. } => operation,
        }
    }
}

/// An operation on an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Operation {
    pub(crate) order: OrderNumber,
    pub(crate) request: Request,
    /// Time of its start; 0 if no decision depends on it.
    pub(crate) now: Tick,
    /// The order as read; `None` for a new order.
    pub(crate) read: Option<StoredOrder>,
}

/// A request to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    Place,
    Cancel,
    Expire,
    Pay {
        payment: PaymentNumber,
    },
    Start,
    Refund {
        payment: PaymentNumber,
        part: Part,
    },
    /// The work of reconcile for a ticket. The order is the one that the lapsed lock names.
    Reconcile,
}

/// How much of a payment is refunded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Whole,
    Less,
}

/// The ticket as an operation found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Found {
    pub(crate) ticket: Version,
    pub(crate) availability: Available,
}

/// [`orders_domain::Availability`], in small types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Available {
    Own,
    Free,
    /// `read` is the order to expire; `None` if it has ended.
    Lapsed {
        by: OrderNumber,
        read: Option<StoredOrder>,
    },
    Reserved,
    Sold,
}

impl State {
    pub(crate) fn first(ticket: Version, slot: SlotState) -> Self {
        Self {
            now: 0,
            ticket,
            lock: LockState::Free,
            slot,
            orders: [None; ORDERS as usize],
            payments: [None; PAYMENTS as usize],
            pending: Vec::new(),
            violation: None,
        }
    }

    /// Returns a placed order.
    pub(crate) fn order(&self, number: OrderNumber) -> Option<StoredOrder> {
        self.orders[usize::from(number)]
    }

    pub(crate) fn order_mut(&mut self, number: OrderNumber) -> &mut Option<StoredOrder> {
        &mut self.orders[usize::from(number)]
    }

    /// Returns the placed orders.
    pub(crate) fn orders(&self) -> impl Iterator<Item = (OrderNumber, StoredOrder)> {
        (0..ORDERS).filter_map(|number| Some((number, self.order(number)?)))
    }

    /// Returns a payment that has been sent.
    pub(crate) fn payment(&self, payment: PaymentNumber) -> Option<Sent> {
        self.payments[usize::from(payment)]
    }

    /// Returns the payments that have been sent, with each order that they name.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (PaymentNumber, OrderNumber)> {
        let names = |payment, order| self.payment(payment).is_some_and(|sent| sent.names(order));
        let pairs =
            (0..PAYMENTS).flat_map(|payment| (0..ORDERS).map(move |order| (payment, order)));
        pairs.filter(move |(payment, order)| names(*payment, *order))
    }

    /// Sends a payment, or sends it for one more order.
    pub(crate) fn send(&mut self, payment: PaymentNumber, order: OrderNumber, kind: Kind) {
        let new = Sent { kind, names: [false; ORDERS as usize] };
        let sent = self.payments[usize::from(payment)].get_or_insert(new);
        sent.names[usize::from(order)] = true;
    }

    /// Forgets the kinds of the booked payments: no later decision depends on them.
    pub(crate) fn forget_kinds(&mut self) {
        for payment in 0..PAYMENTS {
            let is_booked = self.bookings(payment).next().is_some();
            if let Some(sent) = self.payments[usize::from(payment)].as_mut().filter(|_| is_booked) {
                sent.kind = Kind::Right;
            }
        }
    }

    /// Returns the orders for which a payment is booked, with the number of its bookings.
    pub(crate) fn bookings(
        &self,
        payment: PaymentNumber,
    ) -> impl Iterator<Item = (OrderNumber, usize)> {
        self.orders()
            .map(move |(number, order)| (number, order.bookings(payment)))
            .filter(|(_, bookings)| *bookings > 0)
    }

    pub(crate) fn replica(&self) -> TicketReplica {
        let lock = match self.lock {
            LockState::Free => Lock::Free,
            LockState::Held { by, until } => Lock::Held { by: id(by), until: time(until) },
            LockState::Sold { to } => Lock::Sold { to: id(to) },
        };
        let locked_for = lock.holder().map(|_| buyer().clone());
        TicketReplica { sale: sale(self.ticket).clone(), lock, locked_for }
    }

    pub(crate) fn set_replica(&mut self, replica: &TicketReplica) {
        self.ticket = replica.sale.version().number().try_into().unwrap();
        self.lock = match replica.lock {
            Lock::Free => LockState::Free,
            Lock::Held { by, until } => LockState::Held { by: number(by), until: tick(until) },
            Lock::Sold { to } => LockState::Sold { to: number(to) },
        };
    }

    pub(crate) fn slots(&self) -> Slots {
        match self.slot {
            SlotState::Unlimited | SlotState::Free => Slots::default(),
            SlotState::Occupied { until } => Slots::from_iter([(slot(), time(until))]),
        }
    }

    pub(crate) fn set_slots(&mut self, slots: &Slots) {
        self.slot = match slots.occupied_until(slot()) {
            Some(until) => SlotState::Occupied { until: tick(until) },
            None if self.slot == SlotState::Unlimited => SlotState::Unlimited,
            None => SlotState::Free,
        };
    }

    /// The booked payments, as the payments table has them.
    pub(crate) fn booked(&self) -> impl Iterator<Item = BookedPayment> {
        (0..PAYMENTS).flat_map(move |payment| {
            self.bookings(payment).filter_map(move |(number, _)| {
                let order = self.order(number)?;
                let result = order.result_of(payment);
                Some(BookedPayment { payment: self.to_payment(payment, number, order), result })
            })
        })
    }

    /// A payment, as the message for this order has it.
    pub(crate) fn to_payment(
        &self,
        payment: PaymentNumber,
        number: OrderNumber,
        order: StoredOrder,
    ) -> Payment {
        let Terms { ticket: version, expires_at, .. } = order.terms.unwrap_or(Terms::ANY);
        let kind = self.payment(payment).map_or(Kind::Right, |sent| sent.kind);
        let latest = time(expires_at).plus(LATE_LIMIT);
        Payment {
            id: payment_id(payment),
            order_id: id(number),
            amount: Some(match kind {
                Kind::Right | Kind::TooLate => ticket(version).price,
                Kind::WrongAmount => Price::from_minor(1).unwrap(),
            }),
            sent_at: match kind {
                Kind::Right | Kind::WrongAmount => latest,
                Kind::TooLate => latest.plus(TICK),
            },
        }
    }
}

impl Sent {
    /// Whether the payment can name one more order. Only a payment that could buy is a danger.
    pub(crate) fn can_name(self, order: OrderNumber) -> bool {
        self.kind == Kind::Right && !self.names(order)
    }

    pub(crate) fn names(self, order: OrderNumber) -> bool {
        self.names[usize::from(order)]
    }
}

impl StoredOrder {
    pub(crate) fn new(order: &Order) -> Self {
        let status = match &order.status {
            Status::AwaitingPayment => OrderStatus::AwaitingPayment,
            Status::Paid { payment_id } => {
                OrderStatus::Paid { payment: payment_number(payment_id) }
            }
            Status::Free => OrderStatus::Free,
            Status::Cancelled => OrderStatus::Cancelled,
            Status::Expired => OrderStatus::Expired,
            Status::Refunded { payment_id } => {
                OrderStatus::Refunded { payment: payment_number(payment_id) }
            }
        };
        let terms = Terms::new(order);
        let (terms, slot) = match status {
            OrderStatus::AwaitingPayment | OrderStatus::Free => (Some(terms), order.slot),
            OrderStatus::Expired => (Some(Terms { ticket: terms.ticket, ..Terms::ANY }), None),
            OrderStatus::Paid { .. } | OrderStatus::Cancelled | OrderStatus::Refunded { .. } => {
                (None, None)
            }
        };
        let mut refunds = [Refunds::default(); PAYMENTS as usize];
        for refund in &order.refunds_due {
            let refunds = &mut refunds[usize::from(payment_number(&refund.payment_id))];
            match refund.state {
                RefundState::Due => refunds.due += 1,
                RefundState::Settled => refunds.settled += 1,
            }
        }
        Self { status, version: order.version.number().try_into().unwrap(), terms, slot, refunds }
    }

    pub(crate) fn to_order(self, number: OrderNumber) -> Order {
        let status = match self.status {
            OrderStatus::AwaitingPayment => Status::AwaitingPayment,
            OrderStatus::Paid { payment } => Status::Paid { payment_id: payment_id(payment) },
            OrderStatus::Free => Status::Free,
            OrderStatus::Cancelled => Status::Cancelled,
            OrderStatus::Expired => Status::Expired,
            OrderStatus::Refunded { payment } => {
                Status::Refunded { payment_id: payment_id(payment) }
            }
        };
        let refunds_due = (0..PAYMENTS).flat_map(|payment| {
            let (payment_id, amount) = (payment_id(payment), Price::from_minor(1).ok());
            let due = RefundDue { payment_id, amount, reason: ANY_REASON, state: RefundState::Due };
            let settled = RefundDue { state: RefundState::Settled, ..due.clone() };
            let refunds = self.refunds(payment);
            let settled = std::iter::repeat_n(settled, refunds.settled.into());
            std::iter::repeat_n(due, refunds.due.into()).chain(settled)
        });
        let Terms { ticket: version, expires_at, extended } = self.terms.unwrap_or(Terms::ANY);
        Order {
            ticket: ticket(version).clone(),
            status,
            version: OrderVersion::new(self.version.into()),
            expires_at: time(expires_at),
            extended,
            slot: self.slot,
            refunds_due: refunds_due.collect(),
            ..NEW_ORDERS[usize::from(number)].clone()
        }
    }

    pub(crate) fn is_due(self, now: Tick) -> bool {
        self.terms.is_some_and(|terms| terms.expires_at <= now)
    }

    pub(crate) fn is_live(self) -> bool {
        match self.status {
            OrderStatus::AwaitingPayment | OrderStatus::Paid { .. } | OrderStatus::Free => true,
            OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::Refunded { .. } => false,
        }
    }

    /// End of the hold, if the order occupies a slot until then.
    pub(crate) fn slot_until(self) -> Option<Tick> {
        self.slot.and(self.terms).map(|terms| terms.expires_at)
    }

    pub(crate) fn refunds(self, payment: PaymentNumber) -> Refunds {
        self.refunds[usize::from(payment)]
    }

    /// Whether the payment bought the order, which may have been refunded since.
    pub(crate) fn was_bought_by(self, payment: PaymentNumber) -> bool {
        [OrderStatus::Paid { payment }, OrderStatus::Refunded { payment }].contains(&self.status)
    }

    /// Number of bookings of a payment: as payment or as refund.
    pub(crate) fn bookings(self, payment: PaymentNumber) -> usize {
        let Refunds { due, settled } = self.refunds(payment);
        usize::from(due + settled) + usize::from(self.was_bought_by(payment))
    }

    fn result_of(self, payment: PaymentNumber) -> PaymentResult {
        if self.was_bought_by(payment) {
            PaymentResult::Bought
        } else {
            PaymentResult::RefundDue(ANY_REASON)
        }
    }
}

impl Terms {
    /// The terms of an order on which no decision depends.
    const ANY: Self = Self { ticket: FIRST, expires_at: 0, extended: false };

    pub(crate) fn new(order: &Order) -> Self {
        Self {
            ticket: order.ticket.version.number().try_into().unwrap(),
            expires_at: tick(order.expires_at),
            extended: order.extended,
        }
    }
}

/// Reason of every refund in the state.
const ANY_REASON: RefundReason = RefundReason::AlreadyPaid;

/// A new order with this number, for this version of the ticket, placed at this time.
pub(crate) fn new_order(number: OrderNumber, version: Version, now: Tick) -> Order {
    let mut request = REQUEST.clone();
    (request.id, request.now) = (id(number), time(now));
    Order::new(request, ticket(version).clone())
}

static NEW_ORDERS: LazyLock<Vec<Order>> =
    LazyLock::new(|| (0..ORDERS).map(|number| new_order(number, FIRST, 0)).collect());

static REQUEST: LazyLock<NewOrder> =
    LazyLock::new(|| NewOrder { hold: TICK, ..orders_testing::new_order(id(0), time(0)) });

static SALES: LazyLock<Vec<Sale>> = LazyLock::new(|| {
    let price = |version: Version| Price::from_minor(1_000 * u64::from(version)).unwrap();
    let ticket = |version: Version| orders_testing::ticket("t", version.into());
    let open = |version| Sale::Open(Ticket { price: price(version), ..ticket(version) });
    let Ticket { id, version, .. } = ticket(WITHDRAWN);
    vec![open(FREE), open(FIRST), open(CHANGED), Sale::Withdrawn { id, version }]
});

/// The sale of the ticket at this version.
pub(crate) fn sale(version: Version) -> &'static Sale {
    &SALES[usize::from(version)]
}

/// The ticket on sale at this version.
pub(crate) fn ticket(version: Version) -> &'static Ticket {
    sale(version).ticket().expect("a ticket on sale")
}

/// The buyer's only slot.
pub(crate) fn slot() -> Slot {
    Slot::new(0).expect("a slot")
}

/// Buyer of every order: no command depends on the buyer.
pub(crate) fn buyer() -> &'static UserId {
    &REQUEST.user_id
}

pub(crate) fn id(number: OrderNumber) -> OrderId {
    OrderId::from_bytes([number; 16])
}

/// Returns the number of an order id.
pub(crate) fn number(id: OrderId) -> OrderNumber {
    id.to_bytes()[0]
}

pub(crate) fn payment_id(payment: PaymentNumber) -> PaymentId {
    payment.to_string().parse().unwrap()
}

fn payment_number(payment: &PaymentId) -> PaymentNumber {
    payment.as_str().parse().unwrap()
}

/// A tick is a millisecond, the smallest unit of the domain.
const TICK: Duration = Duration::from_millis(1);

pub(crate) fn time(tick: Tick) -> Timestamp {
    Timestamp::from_epoch_ms(tick.into()).unwrap()
}

fn tick(time: Timestamp) -> Tick {
    time.epoch_ms().try_into().unwrap()
}

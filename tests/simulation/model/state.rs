//! State of the model: a ticket, its orders and the operations in progress. Small, for a fast
//! search.

use std::{sync::LazyLock, time::Duration};

use orders_domain::{
    Lock, NewOrder, Order, OrderId, OrderVersion, PaymentId, RefundDue, RefundReason, Status,
    Ticket, TicketReplica, Timestamp,
};

/// Number of an order, from 0.
pub(crate) type OrderNumber = u8;
/// Number of a payment, from 0.
pub(crate) type PaymentNumber = u8;
/// Number of clock ticks. A hold lasts one tick.
pub(crate) type Tick = u8;

/// Largest number of orders for the ticket.
pub(crate) const ORDERS: OrderNumber = 3;
/// Largest number of payments, for one order or for several.
pub(crate) const PAYMENTS: PaymentNumber = 2;

/// State of the model at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) now: Tick,
    pub(crate) lock: LockState,
    orders: [Option<StoredOrder>; ORDERS as usize],
    /// Order of each payment made.
    payments: [Option<OrderNumber>; PAYMENTS as usize],
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

/// Stored order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StoredOrder {
    pub(crate) status: OrderStatus,
    pub(crate) version: u8,
    /// `None` unless the order awaits payment: no later decision depends on it.
    pub(crate) expires_at: Option<Tick>,
    /// Refunds due, with room for one too many.
    refunds: [Option<(PaymentNumber, Reason)>; PAYMENTS as usize + 1],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum OrderStatus {
    AwaitingPayment,
    Paid { payment: PaymentNumber },
    Cancelled,
    Expired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reason {
    AlreadyPaid,
    OrderCancelled,
    TicketTaken,
}

/// An operation between two calls of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Pending {
    /// Has read a lapsed lock; next: read the order named by the lock.
    ReadLapsed { order: OrderNumber, now: Tick, lapsed: OrderNumber },
    /// Has read a free lock, or a lapsed lock and its order; next: place the order.
    Place { order: OrderNumber, now: Tick, lapsed: Option<(OrderNumber, StoredOrder)> },
    /// Has read its expired order; next: read the lock.
    ReadLock { payment: PaymentNumber, now: Tick, read: StoredOrder },
    /// Has read the order; next: commit the transition.
    Commit { order: OrderNumber, read: StoredOrder, request: Request },
}

/// A command of the domain, in small types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    Cancel,
    Expire { now: Tick },
    Pay { payment: PaymentNumber, ticket_is_free: bool },
}

impl State {
    pub(crate) fn first() -> Self {
        Self {
            now: 0,
            lock: LockState::Free,
            orders: [None; ORDERS as usize],
            payments: [None; PAYMENTS as usize],
            pending: Vec::new(),
            violation: None,
        }
    }

    /// Returns a placed order.
    pub(crate) fn order(&self, number: OrderNumber) -> Option<&StoredOrder> {
        self.orders[usize::from(number)].as_ref()
    }

    pub(crate) fn order_mut(&mut self, number: OrderNumber) -> &mut Option<StoredOrder> {
        &mut self.orders[usize::from(number)]
    }

    /// Returns the placed orders.
    pub(crate) fn orders(&self) -> impl Iterator<Item = (OrderNumber, &StoredOrder)> {
        (0..ORDERS).filter_map(|number| Some((number, self.order(number)?)))
    }

    /// Returns the order of a payment.
    pub(crate) fn order_of_payment(&self, payment: PaymentNumber) -> Option<OrderNumber> {
        self.payments[usize::from(payment)]
    }

    pub(crate) fn set_order_of_payment(&mut self, payment: PaymentNumber, order: OrderNumber) {
        self.payments[usize::from(payment)] = Some(order);
    }

    pub(crate) fn replica(&self) -> TicketReplica {
        let lock = match self.lock {
            LockState::Free => Lock::Free,
            LockState::Held { by, until } => Lock::Held { by: id(by), until: time(until) },
            LockState::Sold { to } => Lock::Sold { to: id(to) },
        };
        TicketReplica { ticket: REQUEST.1.clone(), lock }
    }

    pub(crate) fn set_lock(&mut self, lock: Lock) {
        self.lock = match lock {
            Lock::Free => LockState::Free,
            Lock::Held { by, until } => LockState::Held { by: number(by), until: tick(until) },
            Lock::Sold { to } => LockState::Sold { to: number(to) },
        };
    }
}

impl StoredOrder {
    pub(crate) fn new(order: &Order) -> Self {
        let status = match &order.status {
            Status::AwaitingPayment => OrderStatus::AwaitingPayment,
            Status::Paid { payment_id } => {
                OrderStatus::Paid { payment: payment_number(payment_id) }
            }
            Status::Cancelled => OrderStatus::Cancelled,
            Status::Expired => OrderStatus::Expired,
        };
        let refund =
            |refund: &RefundDue| (payment_number(&refund.payment_id), refund.reason.into());
        let mut refunds = order.refunds_due.iter().map(refund);
        Self {
            status,
            version: order.version.number().try_into().unwrap(),
            expires_at: (status == OrderStatus::AwaitingPayment).then(|| tick(order.expires_at)),
            refunds: std::array::from_fn(|_| refunds.next()),
        }
    }

    pub(crate) fn to_order(self, number: OrderNumber) -> Order {
        let status = match self.status {
            OrderStatus::AwaitingPayment => Status::AwaitingPayment,
            OrderStatus::Paid { payment } => Status::Paid { payment_id: payment_id(payment) },
            OrderStatus::Cancelled => Status::Cancelled,
            OrderStatus::Expired => Status::Expired,
        };
        let refund = |(payment, reason): &(PaymentNumber, Reason)| RefundDue {
            payment_id: payment_id(*payment),
            reason: (*reason).into(),
        };
        Order {
            status,
            version: OrderVersion::new(self.version.into()),
            expires_at: time(self.expires_at.unwrap_or_default()),
            refunds_due: self.refunds.iter().flatten().map(refund).collect(),
            ..NEW_ORDERS[usize::from(number)].clone()
        }
    }

    pub(crate) fn is_due(&self, now: Tick) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.status, OrderStatus::AwaitingPayment | OrderStatus::Paid { .. })
    }

    /// Number of bookings of a payment: as payment or as refund due.
    pub(crate) fn bookings(&self, payment: PaymentNumber) -> usize {
        let refunds =
            self.refunds.iter().flatten().filter(|(refunded, _)| *refunded == payment).count();
        refunds + usize::from(self.status == OrderStatus::Paid { payment })
    }
}

/// A new order with this number, placed at this time.
pub(crate) fn new_order(number: OrderNumber, now: Tick) -> Order {
    let (mut request, ticket) = REQUEST.clone();
    (request.id, request.now) = (id(number), time(now));
    Order::new(request, ticket)
}

static NEW_ORDERS: LazyLock<Vec<Order>> =
    LazyLock::new(|| (0..ORDERS).map(|number| new_order(number, 0)).collect());

static REQUEST: LazyLock<(NewOrder, Ticket)> = LazyLock::new(|| {
    let hold = Duration::from_millis(1);
    (NewOrder { hold, ..orders_testing::new_order(id(0), time(0)) }, orders_testing::ticket("t", 0))
});

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
pub(crate) fn time(tick: Tick) -> Timestamp {
    Timestamp::from_epoch_ms(tick.into()).unwrap()
}

fn tick(time: Timestamp) -> Tick {
    time.epoch_ms().try_into().unwrap()
}

impl From<RefundReason> for Reason {
    fn from(reason: RefundReason) -> Self {
        match reason {
            RefundReason::AlreadyPaid => Self::AlreadyPaid,
            RefundReason::OrderCancelled => Self::OrderCancelled,
            RefundReason::TicketTaken => Self::TicketTaken,
        }
    }
}

impl From<Reason> for RefundReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::AlreadyPaid => Self::AlreadyPaid,
            Reason::OrderCancelled => Self::OrderCancelled,
            Reason::TicketTaken => Self::TicketTaken,
        }
    }
}

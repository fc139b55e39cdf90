//! One ticket, the orders for it and what is under way, small enough to be told apart a million times.

use std::{sync::LazyLock, time::Duration};

use orders_domain::{
    Lock, NewOrder, Order, OrderId, OrderVersion, PaymentId, RefundDue, RefundReason, Status,
    Ticket, TicketReplica, Timestamp,
};

/// Which order, from 0 on.
pub(crate) type OrderNumber = u8;
/// Which charge, from 0 on.
pub(crate) type ChargeNumber = u8;
/// How often the clock has ticked. A hold lasts one tick.
pub(crate) type Tick = u8;

/// How many orders there may be for the ticket.
pub(crate) const ORDERS: OrderNumber = 3;
/// How many charges there may be for them, all for one or each for another.
pub(crate) const CHARGES: ChargeNumber = 2;

/// All there is at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) now: Tick,
    pub(crate) lock: Locked,
    orders: [Option<Row>; ORDERS as usize],
    /// The order that each charge is for, once it is made.
    charges: [Option<OrderNumber>; CHARGES as usize],
    /// What the operations that are under way have read and will do next, sorted.
    pub(crate) pending: Vec<Pending>,
    /// The promise that the last step has broken.
    pub(crate) broken: Option<&'static str>,
}

/// The ticket's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Locked {
    Free,
    Held { by: OrderNumber, until: Tick },
    Sold { to: OrderNumber },
}

/// An order, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Row {
    pub(crate) status: Stage,
    pub(crate) version: u8,
    /// Of an order that awaits payment: nothing that comes after depends on it.
    pub(crate) expires_at: Option<Tick>,
    /// The charges to give back; room for one too many.
    refunds: [Option<(ChargeNumber, Reason)>; CHARGES as usize + 1],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    AwaitingPayment,
    Paid { charge: ChargeNumber },
    Cancelled,
    Expired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reason {
    AlreadyPaid,
    OrderCancelled,
    TicketTaken,
}

/// An operation between two of its calls of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Pending {
    /// The lock has lapsed; it will read the order that the lock names.
    ReadLapsed { order: OrderNumber, now: Tick, lapsed: OrderNumber },
    /// It will lock the ticket, from the one whose row it has read.
    Place { order: OrderNumber, now: Tick, lapsed: Option<(OrderNumber, Row)> },
    /// Its order has expired; it will read the ticket's lock.
    ReadLock { charge: ChargeNumber, now: Tick, read: Row },
    /// It will change the order whose row it has read.
    Commit { order: OrderNumber, read: Row, ask: Ask },
}

/// A command, small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Ask {
    Cancel,
    Expire { now: Tick },
    Pay { charge: ChargeNumber, ticket_is_free: bool },
}

impl State {
    pub(crate) fn first() -> Self {
        Self {
            now: 0,
            lock: Locked::Free,
            orders: [None; ORDERS as usize],
            charges: [None; CHARGES as usize],
            pending: Vec::new(),
            broken: None,
        }
    }

    /// The order of this number, if it is placed.
    pub(crate) fn order(&self, number: OrderNumber) -> Option<&Row> {
        self.orders[usize::from(number)].as_ref()
    }

    pub(crate) fn order_mut(&mut self, number: OrderNumber) -> &mut Option<Row> {
        &mut self.orders[usize::from(number)]
    }

    /// The orders that are placed.
    pub(crate) fn orders(&self) -> impl Iterator<Item = (OrderNumber, &Row)> {
        (0..ORDERS).filter_map(|number| Some((number, self.order(number)?)))
    }

    /// The order that a charge is for, once it is made.
    pub(crate) fn charged(&self, charge: ChargeNumber) -> Option<OrderNumber> {
        self.charges[usize::from(charge)]
    }

    pub(crate) fn charge(&mut self, charge: ChargeNumber, order: OrderNumber) {
        self.charges[usize::from(charge)] = Some(order);
    }

    pub(crate) fn replica(&self) -> TicketReplica {
        let lock = match self.lock {
            Locked::Free => Lock::Free,
            Locked::Held { by, until } => Lock::Held { by: id(by), until: time(until) },
            Locked::Sold { to } => Lock::Sold { to: id(to) },
        };
        TicketReplica { ticket: WANTED.1.clone(), lock }
    }

    pub(crate) fn set_lock(&mut self, lock: Lock) {
        self.lock = match lock {
            Lock::Free => Locked::Free,
            Lock::Held { by, until } => Locked::Held { by: number(by), until: tick(until) },
            Lock::Sold { to } => Locked::Sold { to: number(to) },
        };
    }
}

impl Row {
    pub(crate) fn of(order: &Order) -> Self {
        let status = match &order.status {
            Status::AwaitingPayment => Stage::AwaitingPayment,
            Status::Paid { payment_id } => Stage::Paid { charge: charge(payment_id) },
            Status::Cancelled => Stage::Cancelled,
            Status::Expired => Stage::Expired,
        };
        let refund = |refund: &RefundDue| (charge(&refund.payment_id), refund.reason.into());
        let mut refunds = order.refunds_due.iter().map(refund);
        Self {
            status,
            version: order.version.number().try_into().unwrap(),
            expires_at: (status == Stage::AwaitingPayment).then(|| tick(order.expires_at)),
            refunds: std::array::from_fn(|_| refunds.next()),
        }
    }

    pub(crate) fn to_order(self, number: OrderNumber) -> Order {
        let status = match self.status {
            Stage::AwaitingPayment => Status::AwaitingPayment,
            Stage::Paid { charge } => Status::Paid { payment_id: payment(charge) },
            Stage::Cancelled => Status::Cancelled,
            Stage::Expired => Status::Expired,
        };
        let refund = |(charge, reason): &(ChargeNumber, Reason)| RefundDue {
            payment_id: payment(*charge),
            reason: (*reason).into(),
        };
        Order {
            status,
            version: OrderVersion::new(self.version.into()),
            expires_at: time(self.expires_at.unwrap_or_default()),
            refunds_due: self.refunds.iter().flatten().map(refund).collect(),
            ..NEW[usize::from(number)].clone()
        }
    }

    pub(crate) fn is_due(&self, now: Tick) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.status, Stage::AwaitingPayment | Stage::Paid { .. })
    }

    /// How often a charge has bought the order or is to be given back.
    pub(crate) fn bookings(&self, charge: ChargeNumber) -> usize {
        let refunds =
            self.refunds.iter().flatten().filter(|(refunded, _)| *refunded == charge).count();
        refunds + usize::from(self.status == Stage::Paid { charge })
    }
}

/// The order of this number, as it is when it is placed at this moment.
pub(crate) fn new_order(number: OrderNumber, now: Tick) -> Order {
    let (mut request, ticket) = WANTED.clone();
    (request.id, request.now) = (id(number), time(now));
    Order::new(request, ticket)
}

static NEW: LazyLock<Vec<Order>> =
    LazyLock::new(|| (0..ORDERS).map(|number| new_order(number, 0)).collect());

static WANTED: LazyLock<(NewOrder, Ticket)> = LazyLock::new(|| {
    let hold = Duration::from_millis(1);
    (NewOrder { hold, ..orders_testing::new_order(id(0), time(0)) }, orders_testing::ticket("t", 0))
});

pub(crate) fn id(number: OrderNumber) -> OrderId {
    OrderId::from_bytes([number; 16])
}

/// The number of an order.
pub(crate) fn number(id: OrderId) -> OrderNumber {
    id.to_bytes()[0]
}

pub(crate) fn payment(charge: ChargeNumber) -> PaymentId {
    charge.to_string().parse().unwrap()
}

fn charge(payment: &PaymentId) -> ChargeNumber {
    payment.as_str().parse().unwrap()
}

/// A tick is a millisecond, the least that the domain tells apart.
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

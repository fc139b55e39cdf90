//! Checks of promise 8: refunds, due and made.

use orders_domain::{
    Lock, Order, OrderId, PaymentId, Price, RefundDue, RefundReason, RefundState, Sale, Status,
};
use orders_tests::history::Refund;

use super::{CommandTime, Promises, orders::asks_price};
use crate::coverage::Observed;

impl Promises {
    pub(crate) fn payment_refunded(&mut self, refund: &Refund, body: &str) {
        self.refunds.push((refund.clone(), body.to_owned()));
    }

    /// Returns the amount of a payment for an order, in cents.
    pub(crate) fn charge_of(&self, payment: &str, order: &str) -> Option<u64> {
        let (made, _) = self.payments.get(&(payment.to_owned(), order.to_owned()))?;
        made.amount_cents.or_else(|| self.price_of(order).map(Price::minor))
    }

    /// Whether the refund is that of the whole charge, as far as it is known.
    pub(crate) fn is_whole_charge(&self, refund: &Refund) -> bool {
        let charge = self.charge_of(&refund.payment, &refund.order);
        refund.amount_cents.is_none_or(|amount| charge.is_none_or(|charge| amount >= charge))
    }

    /// Whether a refund message can only be dead-lettered: it names an order without the payment,
    /// or only a part went back.
    pub(super) fn is_undeliverable_refund(&self, refund: &Refund) -> bool {
        !self.is_whole_charge(refund) || !self.is_booked_for(&refund.payment, &refund.order)
    }

    fn is_booked_for(&self, payment: &str, order: &str) -> bool {
        let id: Option<PaymentId> = payment.parse().ok();
        let booked = id.and_then(|id| self.booked.get(&id));
        match booked {
            Some(booked) => booked.payment.order_id.to_string() == order,
            None => self.can_be_booked(payment, order),
        }
    }

    /// Whether the payment has been made for an existing order, and its message is on the way.
    fn can_be_booked(&self, payment: &str, order: &str) -> bool {
        let id: Option<OrderId> = order.parse().ok();
        let made = self.payments.get(&(payment.to_owned(), order.to_owned()));
        made.is_some_and(|(made, _)| !self.is_nothing_to_pay(made))
            && id.is_some_and(|id| self.orders.contains_key(&id))
    }

    /// Whether the whole payment has been refunded for this order.
    fn is_made(&self, payment: &PaymentId, order: OrderId) -> bool {
        let order = order.to_string();
        self.refunds.iter().any(|(refund, _)| {
            refund.payment == payment.as_str()
                && refund.order == order
                && self.is_whole_charge(refund)
        })
    }

    /// Checks the refund of the payment that bought the order.
    pub(super) fn refunded(
        &mut self,
        before: &Order,
        after: &Order,
        payment: &PaymentId,
    ) -> Observed {
        let was_bought = before.status == Status::Paid { payment_id: payment.clone() };
        let is_made = self.is_made(payment, after.id);
        self.require(was_bought && is_made, || {
            format!("promise 3: {before:?} was refunded as {after:?}")
        });
        Observed::Refunded
    }

    /// Checks a new refund, or the settlement of one.
    pub(super) fn refund_changed(
        &mut self,
        before: &Order,
        after: &Order,
        command: CommandTime,
        now_ms: u64,
    ) -> Vec<Observed> {
        if after.refunds_due.len() == before.refunds_due.len() {
            return vec![self.settled(before, after)];
        }
        let one_more = after.refunds_due.len() == before.refunds_due.len() + 1
            && after.refunds_due.starts_with(&before.refunds_due);
        self.require(one_more, || format!("promise 8: {before:?} became {after:?}"));
        match after.refunds_due.last() {
            Some(refund) => self.refund_due(before, refund, command, now_ms),
            None => Vec::new(),
        }
    }

    /// Checks that one refund that was due is settled, and has been made.
    fn settled(&mut self, before: &Order, after: &Order) -> Observed {
        let pairs = before.refunds_due.iter().zip(&after.refunds_due);
        let changed: Vec<_> = pairs.filter(|(before, after)| before != after).collect();
        let is_settled = matches!(changed.as_slice(), [(due, settled)]
            if due.state == RefundState::Due
                && **settled == RefundDue { state: RefundState::Settled, ..(*due).clone() }
                && self.is_made(&settled.payment_id, after.id));
        self.require(is_settled, || format!("promise 8: {before:?} became {after:?}"));
        Observed::RefundSettled
    }

    fn refund_due(
        &mut self,
        before: &Order,
        refund: &RefundDue,
        command: CommandTime,
        now_ms: u64,
    ) -> Vec<Observed> {
        let is_repeated = before.refunds_due.iter().any(|it| it.payment_id == refund.payment_id)
            || paid_by(before) == Some(&refund.payment_id);
        self.require(!is_repeated && refund.state == RefundState::Due, || {
            format!("promise 8: {} is counted twice", refund.payment_id)
        });
        let reasons = self.possible_reasons(before, &refund.payment_id, command, now_ms);
        self.require(reasons.contains(&refund.reason), || {
            format!("promise 8: {refund:?} instead of {reasons:?} of {before:?}")
        });
        let observed = match refund.reason {
            RefundReason::AlreadyPaid if before.status == Status::Free => Observed::RefundFree,
            RefundReason::AlreadyPaid => Observed::RefundAlreadyPaid,
            RefundReason::OrderCancelled => Observed::RefundCancelled,
            RefundReason::OrderRefunded => Observed::RefundOrderRefunded,
            RefundReason::WrongAmount if before.status == Status::AwaitingPayment => {
                Observed::RefundWrongAmountInTime
            }
            RefundReason::WrongAmount => Observed::RefundWrongAmount,
            RefundReason::TooLate => Observed::RefundTooLate,
            RefundReason::TicketChanged if self.is_withdrawn(before) => {
                Observed::RefundTicketWithdrawn
            }
            RefundReason::TicketChanged => Observed::RefundTicketChanged,
            RefundReason::TicketTaken => Observed::RefundTicketTaken,
        };
        let is_made = self.is_made(&refund.payment_id, before.id);
        [Some(observed), is_made.then_some(Observed::RefundEarly)].into_iter().flatten().collect()
    }

    fn pays_nothing(&self, payment: &PaymentId, order: OrderId) -> bool {
        let made = self.payments.get(&(payment.to_string(), order.to_string()));
        made.is_some_and(|(made, _)| self.is_nothing_to_pay(made))
    }

    fn is_withdrawn(&self, order: &Order) -> bool {
        let replica = self.tickets.get(&order.ticket.id);
        replica.is_some_and(|replica| matches!(replica.sale, Sale::Withdrawn { .. }))
    }

    /// Reasons for a refund of the payment: the first condition of the buy-back rule that fails.
    /// The ticket was read at some time since the command began.
    fn possible_reasons(
        &mut self,
        order: &Order,
        payment: &PaymentId,
        command: CommandTime,
        now_ms: u64,
    ) -> Vec<RefundReason> {
        let Some((pays_price, sent_at)) = self.payment_of(order, payment) else {
            return Vec::new();
        };
        match order.status {
            // A payment of nothing is done: the ticket costs nothing.
            Status::Free if self.pays_nothing(payment, order.id) => return Vec::new(),
            Status::Paid { .. } | Status::Free => return vec![RefundReason::AlreadyPaid],
            Status::Cancelled => return vec![RefundReason::OrderCancelled],
            Status::Refunded { .. } => return vec![RefundReason::OrderRefunded],
            Status::AwaitingPayment if order.is_due(command.now) => return Vec::new(),
            Status::AwaitingPayment | Status::Expired if !pays_price => {
                return vec![RefundReason::WrongAmount];
            }
            Status::AwaitingPayment => return Vec::new(),
            Status::Expired if sent_at > order.expires_at.plus(self.late_limit) => {
                return vec![RefundReason::TooLate];
            }
            Status::Expired => {}
        }
        let states = self.ticket_states_since(&order.ticket.id, command.since_ms, now_ms);
        let reason = |(sale, lock): (Sale, Lock)| {
            if !asks_price(&sale, order) {
                return Some(RefundReason::TicketChanged);
            }
            let is_taken = match lock {
                Lock::Free => false,
                Lock::Held { by, until } => by != order.id && until > command.now,
                Lock::Sold { to } => to != order.id,
            };
            is_taken.then_some(RefundReason::TicketTaken)
        };
        states.into_iter().filter_map(reason).collect()
    }
}

/// The payment that bought the order, also after its refund.
pub(super) fn paid_by(order: &Order) -> Option<&PaymentId> {
    match &order.status {
        Status::Paid { payment_id } | Status::Refunded { payment_id } => Some(payment_id),
        Status::AwaitingPayment | Status::Free | Status::Cancelled | Status::Expired => None,
    }
}

//! Checks of promise 8: payments, their results, and the payments table.

use orders_domain::{
    BookedPayment, Lock, Order, OrderId, PaymentId, PaymentResult, Price, Sale, Status, TicketId,
    Timestamp,
};
use orders_tests::history::{Payment, PaymentStart};

use super::{Change, Promises, Write, ending::is_refunded};
use crate::{coverage::Observed, world::timestamp};

impl Promises {
    pub(crate) fn payment_made(&mut self, payment: &Payment, body: &str) {
        let key = (payment.id.clone(), payment.order.clone());
        self.payments.insert(key, (payment.clone(), body.to_owned()));
    }

    pub(crate) fn payment_started(&mut self, start: &PaymentStart, body: &str) {
        self.starts.push((start.clone(), body.to_owned()));
    }

    /// Returns the ends of a hold that the starts of payments for an order allow at this time. A start
    /// from the future counts from now.
    pub(super) fn ends_of_starts(
        &self,
        order: OrderId,
        now: Timestamp,
    ) -> impl Iterator<Item = Timestamp> {
        let (order, time_to_pay) = (order.to_string(), self.time_to_pay);
        let starts = self.starts.iter().filter(move |(start, _)| start.order == order);
        let starts = starts.filter(move |_| !time_to_pay.is_zero());
        starts.map(move |(start, _)| whole_seconds(start.at_ms).min(now).plus(time_to_pay))
    }

    /// Whether the payment is of nothing, for a ticket that costs nothing: nothing is booked,
    /// unless the order has been cancelled.
    pub(super) fn is_nothing_to_pay(&self, payment: &Payment) -> bool {
        payment.amount_cents == Some(0)
            && self.price_of(&payment.order).is_some_and(|price| price.minor() == 0)
    }

    /// Returns the end of the hold of an order.
    pub(crate) fn end_of_hold_ms(&self, order: &str) -> Option<u64> {
        let id: OrderId = order.parse().ok()?;
        self.orders.get(&id).map(|order| order.expires_at.epoch_ms())
    }

    /// Returns the price of an order.
    pub(crate) fn price_of(&self, order: &str) -> Option<Price> {
        self.known_order(order).map(|order| order.ticket.price)
    }

    /// Whether the payment of an order pays its price, and the time in its event.
    pub(super) fn payment_of(
        &mut self,
        order: &Order,
        payment: &PaymentId,
    ) -> Option<(bool, Timestamp)> {
        let key = (payment.to_string(), order.id.to_string());
        let Some((made, _)) = self.payments.get(&key) else {
            self.report(format!("promise 8: {payment} is not a payment of {}", order.id));
            return None;
        };
        let price = order.ticket.price.minor();
        let pays_price = made.amount_cents.is_none_or(|amount| amount == price);
        Some((pays_price, sent_at(made)))
    }

    /// Checks that the write booked exactly the payment that it counted, if any.
    pub(super) fn check_booking(&mut self, changes: &[Change], write: &Write) {
        let booked: Vec<_> = changes.iter().filter_map(booking).collect();
        let row = match write {
            Write::Transition { booked, .. } => booked.clone(),
            Write::Placement { .. } | Write::Lock => None,
        };
        match (booked.as_slice(), row) {
            ([], None) => {}
            ([], Some(row)) => {
                let is_known = self.booked.get(&row.payment.id) == Some(&row);
                self.require(is_known, || format!("promise 8: {row:?} was written alone"));
            }
            ([(order, payment, result)], Some(row)) => {
                let made = self.payments.get(&(payment.to_string(), order.to_string()));
                let is_booked = made.is_some_and(|(made, _)| is_row_of(made, &row))
                    && row.payment.order_id == *order
                    && row.result == *result;
                self.require(is_booked, || {
                    format!("promise 8: {payment} of {order} with {result:?} is booked as {row:?}")
                });
                let earlier = self.booked.insert(payment.clone(), row);
                self.require(earlier.is_none(), || {
                    format!("promise 8: {payment} was booked as {earlier:?} before")
                });
            }
            (booked, row) => {
                self.report(format!("promise 8: {booked:?} was booked as {row:?}"));
            }
        }
    }

    /// Checks that a payment was refused because it has been booked for another order.
    pub(crate) fn refused_for_another_order(
        &mut self,
        payment: &orders_domain::Payment,
        other: OrderId,
    ) {
        let booked_for = self.booked.get(&payment.id).map(|booked| booked.payment.order_id);
        self.require(booked_for == Some(other) && other != payment.order_id, || {
            format!("promise 8: {payment:?} was refused for {other}, booked for {booked_for:?}")
        });
    }

    /// Returns the payments that have been made for an order.
    pub(crate) fn payments_of(&self, order: &str) -> Vec<&Payment> {
        let made = self.payments.values().map(|(payment, _)| payment);
        made.filter(|payment| payment.order == order).collect()
    }

    /// Whether a message of the payment service names an order that has been forgotten.
    fn is_for_forgotten(&self, body: &str) -> bool {
        let payments = self.payments.values().map(|(payment, body)| (&payment.order, body));
        let starts = self.starts.iter().map(|(start, body)| (&start.order, body));
        let refunds = self.refunds.iter().map(|(refund, body)| (&refund.order, body));
        let mut all = payments.chain(starts).chain(refunds);
        let named = all.find(|(_, message)| *message == body).map(|(order, _)| order);
        let id: Option<OrderId> = named.and_then(|order| order.parse().ok());
        id.is_some_and(|id| !self.orders.contains_key(&id) && self.forgotten.contains_key(&id))
    }

    /// What a message of the payment service meets when it is received.
    pub(crate) fn payment_received(&self, body: &str, now_ms: u64) -> Option<Observed> {
        if self.is_for_forgotten(body) {
            return (!self.is_undeliverable(body)).then_some(Observed::ForgottenBooked);
        }
        let order = |id: &str| self.orders.get(&id.parse().ok()?);
        let start = self.starts.iter().find(|(_, message)| message == body);
        if let Some(order) = start.and_then(|(start, _)| order(&start.order)) {
            let is_held = order.status == Status::AwaitingPayment
                && !order.is_due(timestamp(now_ms.saturating_sub(self.skew_ms)));
            return match (order.extended, is_held) {
                (true, _) => Some(Observed::StartRepeated),
                (false, false) => Some(Observed::StartLate),
                (false, true) => None,
            };
        }
        let mut payments = self.payments.values();
        let (payment, _) = payments.find(|(_, message)| message == body)?;
        let is_refunded = is_refunded(order(&payment.order)?, &payment.id);
        is_refunded.then_some(Observed::PaidAfterRefund)
    }

    /// What a dead-lettered message is, if it is no failure.
    pub(crate) fn dead_lettered(&self, body: &str) -> Option<Observed> {
        if self.is_contradiction(body) {
            return Some(Observed::ContradictionDeadLettered);
        }
        if self.is_for_forgotten(body) {
            return Some(Observed::ForgottenDeadLettered);
        }
        let (refund, _) = self.refunds.iter().find(|(_, message)| message == body)?;
        if !self.is_undeliverable_refund(refund) {
            return None;
        }
        let is_whole = self.is_whole_charge(refund);
        Some(if is_whole { Observed::RefundForAnotherOrder } else { Observed::RefundPartial })
    }

    /// Whether a message of the payment service can only be dead-lettered: it names no existing
    /// order, or a payment of another order, or a part of a payment.
    pub(crate) fn is_undeliverable(&self, body: &str) -> bool {
        let exists = |order: &str| {
            let id: Option<OrderId> = order.parse().ok();
            id.is_some_and(|id| self.orders.contains_key(&id))
        };
        let mut starts = self.starts.iter().filter(|(_, message)| message == body);
        let mut refunds = self.refunds.iter().filter(|(_, message)| message == body);
        self.done_messages.contains(body)
            || starts.any(|(start, _)| !exists(&start.order))
            || refunds.any(|(refund, _)| self.is_undeliverable_refund(refund))
            || self.is_undeliverable_payment(body)
    }

    /// Whether the message is a payment or refund that is booked for another order, a part of a payment, or
    /// a payment for an order with as many refunds as it can store.
    pub(crate) fn is_refused_payment(&self, body: &str) -> bool {
        let is_booked_elsewhere = |payment: &str, order: &str| {
            let id: Option<PaymentId> = payment.parse().ok();
            let booked = id.and_then(|id| self.booked.get(&id));
            booked.is_some_and(|booked| booked.payment.order_id.to_string() != order)
        };
        let is_full = |order: &str| {
            let order = order.parse().ok().and_then(|id: OrderId| self.orders.get(&id));
            order.is_some_and(|order| order.refunds_due.len() == Order::MAX_REFUNDS)
        };
        let mut payments = self.payments.values().filter(|(_, message)| message == body);
        let mut refunds = self.refunds.iter().filter(|(_, message)| message == body);
        payments.any(|(payment, _)| {
            is_booked_elsewhere(&payment.id, &payment.order) || is_full(&payment.order)
        }) || refunds.any(|(refund, _)| {
            is_booked_elsewhere(&refund.payment, &refund.order) || !self.is_whole_charge(refund)
        })
    }

    fn is_undeliverable_payment(&self, body: &str) -> bool {
        self.payments.values().filter(|(_, message)| message == body).any(|(payment, _)| {
            let order: Option<OrderId> = payment.order.parse().ok();
            let id: Option<PaymentId> = payment.id.parse().ok();
            match id.and_then(|id| self.booked.get(&id)) {
                Some(booked) => Some(booked.payment.order_id) != order,
                None => order.is_none_or(|id| !self.orders.contains_key(&id)),
            }
        })
    }

    /// Returns sale and lock of a ticket at every moment between two times.
    pub(super) fn ticket_states_since(
        &self,
        ticket: &TicketId,
        since_ms: u64,
        now_ms: u64,
    ) -> Vec<(Sale, Lock)> {
        let states = self.ticket_states.get(ticket).map_or(&[][..], Vec::as_slice);
        let ends = states.iter().skip(1).map(|(from_ms, ..)| *from_ms).chain([now_ms]);
        let states = states.iter().zip(ends).filter(|(_, end_ms)| *end_ms >= since_ms);
        states.map(|((_, sale, lock), _)| (sale.clone(), *lock)).collect()
    }
}

/// The payment that a change counts, with its order and its result.
fn booking(change: &Change) -> Option<(OrderId, PaymentId, PaymentResult)> {
    let Change { before, after, .. } = change;
    let before = before.as_ref()?;
    if let Some(refund) = after.refunds_due.get(before.refunds_due.len()) {
        let result = PaymentResult::RefundDue(refund.reason);
        return Some((after.id, refund.payment_id.clone(), result));
    }
    match &after.status {
        Status::Paid { payment_id } if before.status != after.status => {
            Some((after.id, payment_id.clone(), PaymentResult::Bought))
        }
        Status::Paid { .. }
        | Status::AwaitingPayment
        | Status::Free
        | Status::Cancelled
        | Status::Expired
        | Status::Refunded { .. } => None,
    }
}

fn is_row_of(made: &Payment, row: &BookedPayment) -> bool {
    row.payment.id.as_str() == made.id
        && row.payment.amount.map(Price::minor) == made.amount_cents
        && row.payment.sent_at == sent_at(made)
}

/// The time in the event of a payment.
fn sent_at(payment: &Payment) -> Timestamp {
    whole_seconds(payment.at_ms)
}

/// The time in an envelope is in whole seconds.
fn whole_seconds(ms: u64) -> Timestamp {
    timestamp(ms / 1_000 * 1_000)
}

//! The payment service: sends the events of payments, and refunds what the order events ask for.

use std::{collections::BTreeSet, sync::Arc};

use chrono::DateTime;
use orders_domain::Price;
use orders_tests::history::{Payment, PaymentStart, Refund};
use serde::Deserialize;

use crate::{
    coverage::{Fault, Observed},
    queues::QueueName,
    world::World,
};

/// State of the payment service.
#[derive(Default)]
pub(crate) struct PaymentService {
    /// Payments that have been refunded, on demand of an order event or not.
    refunded: BTreeSet<String>,
    /// Number of order events on their way to the service.
    pub(crate) pending: u64,
}

/// The part of an order event that the service reads.
#[derive(Deserialize)]
struct OrderState {
    id: String,
    refunds: Vec<RefundState>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefundState {
    payment_id: String,
    state: String,
}

impl World {
    /// Makes a payment and delivers its event. Returns the event.
    pub(crate) fn make_payment(&self, payment: Payment) -> String {
        let event = payment_event(&payment);
        self.log(|| format!("payments: {payment:?}"));
        let mut state = self.state();
        state.promises.payment_made(&payment, &event);
        state.history.payments.push(payment);
        drop(state);
        self.deliver(QueueName::Payments, &event);
        event
    }

    /// Starts a payment for an order and delivers its event. Returns the event.
    pub(crate) fn start_payment(&self, order: &str) -> String {
        let start = PaymentStart { order: order.to_owned(), at_ms: self.now_ms() };
        let event = start_event(&start);
        self.log(|| format!("payments: {start:?}"));
        let mut state = self.state();
        state.promises.payment_started(&start, &event);
        state.history.starts.push(start);
        drop(state);
        self.deliver(QueueName::Payments, &event);
        event
    }

    /// Refunds a payment or a part of it, with this amount in the event, and delivers the event.
    /// Returns the event.
    pub(crate) fn refund(&self, payment: &str, order: &str, amount_cents: Option<u64>) -> String {
        let refund = Refund {
            payment: payment.to_owned(),
            order: order.to_owned(),
            amount_cents,
            at_ms: self.now_ms(),
        };
        let event = refund_event(&refund);
        self.log(|| format!("payments: {refund:?}"));
        let mut state = self.state();
        if state.promises.is_whole_charge(&refund) {
            state.payment_service.refunded.insert(refund.payment.clone());
        }
        state.promises.payment_refunded(&refund, &event);
        state.history.refunds.push(refund);
        drop(state);
        self.deliver(QueueName::Payments, &event);
        event
    }

    /// Delivers an order event to the payment service, late and in any order.
    pub(crate) fn notify_payment_service(self: &Arc<Self>, detail: &str) {
        let OrderState { id, refunds } =
            serde_json::from_str(detail).expect("an event with the whole order");
        let due: Vec<String> = refunds
            .into_iter()
            .filter(|refund| refund.state == "due")
            .map(|refund| refund.payment_id)
            .collect();
        if due.is_empty() {
            return;
        }
        self.state().payment_service.pending += 1;
        let world = Arc::clone(self);
        tokio::task::spawn_local(async move {
            world.sleep_ms(0..=5_000).await;
            if world.fault(Fault::DelayedDelivery) {
                world.sleep_ms(0..=120_000).await;
            }
            for payment in due {
                world.refund_due(&payment, &id);
            }
            world.state().payment_service.pending -= 1;
        });
    }

    /// Refunds a payment once. Some refunds take longer than the run.
    fn refund_due(&self, payment: &str, order: &str) {
        let is_refunded = self.state().payment_service.refunded.contains(payment);
        if is_refunded || self.chance(20) {
            return;
        }
        let charge = self.state().promises.charge_of(payment, order);
        let amount = charge.filter(|_| self.chance(50));
        self.count(Observed::RefundMade);
        self.refund(payment, order, amount);
    }
}

/// The event of a payment.
pub(crate) fn payment_event(payment: &Payment) -> String {
    let Payment { id, order, amount_cents, at_ms } = payment;
    let amount = amount(*amount_cents);
    event("PaymentCreated", *at_ms, &format!(r#""id":"{id}","orderId":"{order}"{amount}"#))
}

/// The event of the start of a payment.
pub(crate) fn start_event(start: &PaymentStart) -> String {
    let PaymentStart { order, at_ms } = start;
    event("PaymentStarted", *at_ms, &format!(r#""orderId":"{order}","at":{at_ms}"#))
}

/// The event of a refund.
pub(crate) fn refund_event(refund: &Refund) -> String {
    let Refund { payment, order, amount_cents, at_ms } = refund;
    let amount = amount(*amount_cents);
    event("PaymentRefunded", *at_ms, &format!(r#""id":"{payment}","orderId":"{order}"{amount}"#))
}

fn amount(cents: Option<u64>) -> String {
    let amount = cents.map(|cents| Price::from_minor(cents).expect("a price"));
    amount.map(|price| format!(r#","amount":{price}"#)).unwrap_or_default()
}

/// The time of an envelope is in whole seconds.
fn event(kind: &str, at_ms: u64, detail: &str) -> String {
    let sent_at = i64::try_from(at_ms / 1_000).ok().and_then(|at| DateTime::from_timestamp(at, 0));
    let time = sent_at.expect("a time before the year 9999").to_rfc3339();
    format!(
        r#"{{"version":"0","detail-type":"{kind}","source":"payments","time":"{time}","detail":{{{detail}}}}}"#
    )
}

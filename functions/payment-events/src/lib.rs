//! Books payments and refunds, and extends the hold of an order whose payment has started. Each payment has
//! exactly one result: the order is paid, or a refund is due.

use std::time::Duration;

use orders_contracts::PaymentEvent;
use orders_domain::{Command, OrderId, OrderStore, PaymentId, Refusal, Timestamp};
use orders_lambda::{
    command::{CommandOutcome, execute},
    queue::{Failure, Message, Outcome, log_ids, log_order},
};

/// Time limits of payments.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time after the end of a hold in which a payment can still be sent.
    pub late_payment: Duration,
    /// Time to pay from the start of a payment on; zero for no longer hold.
    pub time_to_pay: Duration,
}

/// Applies an event of the payment service.
///
/// # Errors
/// [`Failure::Poison`] if the message is not a payment event, if the payment has been booked for another
/// order, if the order has no room for a refund, or if only a part of a payment was refunded;
/// [`Failure::Transient`] if the store fails.
pub async fn handle(
    store: &impl OrderStore,
    limits: Limits,
    now: Timestamp,
    message: Message<'_>,
) -> Result<Outcome, Failure> {
    let event = PaymentEvent::parse(message.body).map_err(|error| Failure::Poison(error.into()))?;
    let (order_id, payment_id) = (event.order_id(), event.payment_id().cloned());
    log_ids(Some(order_id), payment_id.as_ref(), None);
    let Some(order) = store.find(order_id).await? else {
        return without_order(store, order_id, payment_id.as_ref()).await;
    };
    log_order(&order);
    match execute(store, order, &command(event, limits, now), now).await? {
        CommandOutcome::Committed(_) | CommandOutcome::AlreadyDone => Ok(Outcome::Done),
        CommandOutcome::Refused(Refusal::UnknownPayment) => {
            Ok(Outcome::Retry("the payment is unknown to its order"))
        }
        CommandOutcome::PaymentOfAnotherOrder(order_id) => Err(booked_for(order_id)),
        CommandOutcome::Refused(refusal) => {
            Err(Failure::Poison(format!("the order refused the event: {refusal:?}").into()))
        }
    }
}

fn command(event: PaymentEvent, limits: Limits, now: Timestamp) -> Command {
    match event {
        PaymentEvent::Created(payment) => {
            Command::Pay { payment, late_limit: limits.late_payment, now }
        }
        PaymentEvent::Started { sent_at, .. } => {
            Command::StartPayment { sent_at, time_to_pay: limits.time_to_pay, now }
        }
        PaymentEvent::Refunded { payment_id, amount, .. } => Command::Refund { payment_id, amount },
    }
}

/// An event whose order is unknown: its order is on the way, or has been removed after the payment was
/// booked.
async fn without_order(
    store: &impl OrderStore,
    order_id: OrderId,
    payment_id: Option<&PaymentId>,
) -> Result<Outcome, Failure> {
    let booked = match payment_id {
        Some(payment_id) => store.find_payment(payment_id).await?,
        None => None,
    };
    match booked {
        None => Ok(Outcome::Retry("the order is unknown")),
        Some(booked) if booked.payment.order_id == order_id => Ok(Outcome::Done),
        Some(booked) => Err(booked_for(booked.payment.order_id)),
    }
}

fn booked_for(order_id: OrderId) -> Failure {
    Failure::Poison(format!("the payment has been booked for order {order_id}").into())
}

#[cfg(test)]
mod tests;

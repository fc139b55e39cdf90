//! Books payments. Each payment has exactly one result: the order is paid, or a refund is due.

use std::time::Duration;

use orders_contracts::parse_payment_event;
use orders_domain::{Command, OrderId, OrderStore, Payment, Timestamp};
use orders_lambda::{
    command::{CommandOutcome, execute},
    queue::{Failure, Message, Outcome, log_ids, log_order},
};

/// Wait of a payment for an unknown order.
const WAIT_FOR_ORDER: Duration = Duration::from_secs(5);

/// Books a payment. `late_limit` is the time after the end of a hold in which a payment can still be sent.
///
/// # Errors
/// [`Failure::Poison`] if the message is not a payment event, if the payment has been booked for another
/// order, or if the order has no room for a refund; [`Failure::Transient`] if the store fails.
pub async fn handle(
    store: &impl OrderStore,
    late_limit: Duration,
    now: Timestamp,
    message: Message<'_>,
) -> Result<Outcome, Failure> {
    let payment =
        parse_payment_event(message.body).map_err(|error| Failure::Poison(error.into()))?;
    log_ids(Some(payment.order_id), Some(&payment.id), None);
    let Some(order) = store.find(payment.order_id).await? else {
        return without_order(store, &payment).await;
    };
    log_order(&order);
    let command = Command::Pay { payment, late_limit, now };
    match execute(store, order, &command, now).await? {
        CommandOutcome::Committed(_) | CommandOutcome::AlreadyDone => Ok(Outcome::Done),
        CommandOutcome::PaymentOfAnotherOrder(order_id) => Err(booked_for(order_id)),
        CommandOutcome::Refused(refusal) => {
            Err(Failure::Poison(format!("the order refused the payment: {refusal:?}").into()))
        }
    }
}

/// A payment whose order is unknown: its order is on the way, or has been removed after the payment was
/// booked.
async fn without_order(store: &impl OrderStore, payment: &Payment) -> Result<Outcome, Failure> {
    match store.find_payment(&payment.id).await? {
        None => {
            tracing::warn!("Payment for an unknown order; it will be retried");
            Ok(Outcome::RetryAfter(WAIT_FOR_ORDER))
        }
        Some(booked) if booked.payment.order_id == payment.order_id => Ok(Outcome::Done),
        Some(booked) => Err(booked_for(booked.payment.order_id)),
    }
}

fn booked_for(order_id: OrderId) -> Failure {
    Failure::Poison(format!("the payment has been booked for order {order_id}").into())
}

#[cfg(test)]
mod tests;

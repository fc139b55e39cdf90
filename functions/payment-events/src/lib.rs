//! Books payments. Each payment has exactly one result: the order is paid, or a refund is due.

use std::time::Duration;

use orders_contracts::PaymentEvent;
use orders_domain::{
    Availability, Command, CommitOutcome, Decision, Order, OrderStore, Status, StoreError,
    Timestamp, decide,
};
use orders_lambda::{
    queue::{Failure, Message, Outcome, log_ids, log_order},
    retry::{MAX_ATTEMPTS, backoff},
};

/// Wait of a payment for an unknown order.
const WAIT_FOR_ORDER: Duration = Duration::from_secs(5);

/// Books a payment.
///
/// # Errors
/// [`Failure::Poison`] if the message is not a payment event, [`Failure::Transient`] if the store fails.
pub async fn handle(
    store: &impl OrderStore,
    now: Timestamp,
    message: Message<'_>,
) -> Result<Outcome, Failure> {
    let PaymentEvent { payment_id, order_id } =
        PaymentEvent::parse(message.body).map_err(|error| Failure::Poison(error.into()))?;
    log_ids(Some(order_id), Some(&payment_id), None);
    for _ in 0..MAX_ATTEMPTS {
        let Some(order) = store.find(order_id).await? else {
            tracing::warn!("Payment for an unknown order; it will be retried");
            return Ok(Outcome::RetryAfter(WAIT_FOR_ORDER));
        };
        log_order(&order);
        let ticket_is_free = match order.status {
            Status::Expired => match free_ticket(store, &order, now).await? {
                Some(is_free) => is_free,
                None => continue,
            },
            // Read only for expired orders.
            Status::AwaitingPayment | Status::Paid { .. } | Status::Cancelled => false,
        };
        let command = Command::Pay { payment_id: payment_id.clone(), ticket_is_free };
        let transition = match decide(&order, &command) {
            Decision::Apply(transition) => transition,
            Decision::AlreadyDone => return Ok(Outcome::Done),
            Decision::Refuse(refusal) => {
                return Err(Failure::Transient(
                    format!("the order refused the payment: {refusal:?}").into(),
                ));
            }
        };
        match store.commit(&transition).await? {
            CommitOutcome::Committed => return Ok(Outcome::Done),
            // A cancellation, the expiry or another payment came first: decide on the new state.
            CommitOutcome::Conflict => backoff().await,
        }
    }
    Err(Failure::Transient("the order changed after each read".into()))
}

/// Whether an expired order's ticket can be locked again; `None` if order and ticket must be read again.
/// A lapsed hold of another order is expired here first.
async fn free_ticket(
    store: &impl OrderStore,
    order: &Order,
    now: Timestamp,
) -> Result<Option<bool>, StoreError> {
    let Some(replica) = store.find_ticket(&order.ticket.id).await? else { return Ok(Some(false)) };
    if replica.lock.holder() == Some(order.id) {
        // The order changed after its read, or its expiry is not visible as a whole yet.
        backoff().await;
        return Ok(None);
    }
    match replica.lock.availability(now) {
        Availability::Free => Ok(Some(true)),
        Availability::Reserved { .. } | Availability::Sold => Ok(Some(false)),
        Availability::Lapsed(by) => {
            // The next attempt finds the ticket free, or with another order.
            let Some(lapsed) = store.find(by).await? else { return Ok(None) };
            if let Decision::Apply(expiry) = decide(&lapsed, &Command::Expire { now }) {
                store.commit(&expiry).await?;
            }
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use orders_domain::{Lock, OrderId, RefundReason};
    use orders_testing::{MemoryStore, at, commit, order, order_at, order_id, place};
    use serde_json::json;

    use super::*;

    async fn pay(store: &MemoryStore, order: OrderId, payment: &str, now: u64) -> Outcome {
        let detail = json!({"id": payment, "orderId": order.to_string()});
        let body = json!({"source": "payments", "detail-type": "PaymentCreated", "detail": detail})
            .to_string();
        handle(store, at(now), Message { body: &body, receive_count: 1 }).await.unwrap()
    }

    async fn stored(store: &MemoryStore, order: &Order) -> Order {
        store.find(order.id).await.unwrap().unwrap()
    }

    async fn lock(store: &MemoryStore, order: &Order) -> Lock {
        store.find_ticket(&order.ticket.id).await.unwrap().unwrap().lock
    }

    fn reasons(order: &Order) -> Vec<RefundReason> {
        order.refunds_due.iter().map(|refund| refund.reason).collect()
    }

    /// A store with an order that has expired.
    async fn expired() -> (MemoryStore, Order) {
        let (store, order) = (MemoryStore::default(), order(1));
        place(&store, &order).await;
        commit(&store, &order, &Command::Expire { now: at(30) }).await;
        (store, order)
    }

    #[tokio::test]
    async fn payment_buys_its_order_once() {
        let (store, order) = (MemoryStore::default(), order(1));
        place(&store, &order).await;
        for _ in 0..2 {
            assert_eq!(pay(&store, order.id, "p1", 10).await, Outcome::Done);
        }
        let paid = stored(&store, &order).await;
        assert_eq!((paid.status.name(), paid.version.number()), ("paid", 1));
        assert_eq!(lock(&store, &order).await, Lock::Sold { to: order.id });
        assert_eq!(pay(&store, order.id, "p2", 11).await, Outcome::Done);
        assert_eq!(reasons(&stored(&store, &order).await), [RefundReason::AlreadyPaid]);
    }

    #[tokio::test]
    async fn payment_of_a_cancelled_order_makes_a_refund_due() {
        let (store, order) = (MemoryStore::default(), order(1));
        place(&store, &order).await;
        commit(&store, &order, &Command::Cancel).await;
        for _ in 0..2 {
            assert_eq!(pay(&store, order.id, "p1", 10).await, Outcome::Done);
        }
        assert_eq!(reasons(&stored(&store, &order).await), [RefundReason::OrderCancelled]);
        assert_eq!(lock(&store, &order).await, Lock::Free);
    }

    #[tokio::test]
    async fn late_payment_locks_a_free_ticket_again() {
        let (store, order) = expired().await;
        assert_eq!(pay(&store, order.id, "p1", 31).await, Outcome::Done);
        assert_eq!(stored(&store, &order).await.status.name(), "paid");
        assert_eq!(lock(&store, &order).await, Lock::Sold { to: order.id });
    }

    #[tokio::test]
    async fn late_payment_makes_a_refund_due_if_another_order_holds_the_ticket() {
        let (store, order) = expired().await;
        let other = order_at(2, 30);
        place(&store, &other).await;
        assert_eq!(pay(&store, order.id, "p1", 59).await, Outcome::Done);
        assert_eq!(reasons(&stored(&store, &order).await), [RefundReason::TicketTaken]);
        assert_eq!(lock(&store, &order).await, Lock::Held { by: other.id, until: at(60) });
    }

    #[tokio::test]
    async fn late_payment_takes_over_a_lapsed_hold() {
        let (store, order) = expired().await;
        let other = order_at(2, 30);
        place(&store, &other).await;
        assert_eq!(pay(&store, order.id, "p1", 60).await, Outcome::Done);
        assert_eq!(stored(&store, &order).await.status.name(), "paid");
        assert_eq!(stored(&store, &other).await.status.name(), "expired");
        assert_eq!(lock(&store, &order).await, Lock::Sold { to: order.id });
    }

    #[tokio::test]
    async fn payment_waits_for_an_unknown_order() {
        let outcome = pay(&MemoryStore::default(), order_id(9), "p1", 0).await;
        assert_eq!(outcome, Outcome::RetryAfter(WAIT_FOR_ORDER));
    }

    #[tokio::test]
    async fn message_without_a_payment_is_poison() {
        let message = Message { body: "{}", receive_count: 1 };
        let outcome = handle(&MemoryStore::default(), at(0), message).await;
        assert!(matches!(outcome, Err(Failure::Poison(_))));
    }
}

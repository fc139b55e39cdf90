//! Expires orders whose hold has lapsed.

use std::time::Duration;

use orders_contracts::ExpiryMessage;
use orders_domain::{Command, OrderStore, Refusal, Timestamp};
use orders_lambda::{
    command::{CommandOutcome, execute},
    queue::{Failure, Message, Outcome, log_ids, log_order},
    retry::MAX_ATTEMPTS,
};
use tokio::time::{Instant, sleep};

/// Maximum wait inside the function. SQS delays count in whole seconds, so a message arrives up to a
/// second early.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// Expires the order of the message if it is due. An early message is replaced by a delayed message. A
/// message for an unknown or final order, or for another time than the order's, is a no-op: the hold has
/// become longer since, and has a timer of its own.
///
/// # Errors
/// [`Failure::Poison`] if the message has no order id, [`Failure::Transient`] if the store fails.
pub async fn handle(
    store: &impl OrderStore,
    mut now: Timestamp,
    message: Message<'_>,
) -> Result<Outcome, Failure> {
    let ExpiryMessage { order_id, expires_at: timer } =
        ExpiryMessage::parse(message.body).map_err(|error| Failure::Poison(error.into()))?;
    log_ids(Some(order_id), None, None);
    let (received, started) = (now, Instant::now());
    for _ in 0..MAX_ATTEMPTS {
        let Some(order) = store.find(order_id).await? else { return Ok(Outcome::Done) };
        log_order(&order);
        let expires_at = order.expires_at;
        if timer.is_some_and(|timer| timer != expires_at) {
            return Ok(Outcome::Done);
        }
        match execute(store, order, &Command::Expire { now }, now).await? {
            CommandOutcome::Committed(_) => {
                let committed = received.plus(started.elapsed());
                let late_ms = expires_at.until(committed).as_millis();
                metrics::histogram!("ExpiryLateness")
                    .record(u32::try_from(late_ms).unwrap_or(u32::MAX));
                return Ok(Outcome::Done);
            }
            // Almost due: sleeping is cheaper than another round through the queue.
            CommandOutcome::Refused(Refusal::NotDue { until }) if now.until(until) < MAX_SLEEP => {
                sleep(now.until(until)).await;
                now = until;
            }
            CommandOutcome::Refused(Refusal::NotDue { until }) => {
                let message = ExpiryMessage { order_id, expires_at: Some(until) };
                let body = message.to_text().map_err(|error| Failure::Transient(error.into()))?;
                return Ok(Outcome::Replace { body, delay: now.until(until) });
            }
            // Paid, cancelled or expired since: the timer is obsolete.
            CommandOutcome::AlreadyDone
            | CommandOutcome::Refused(_)
            | CommandOutcome::PaymentOfAnotherOrder(_) => return Ok(Outcome::Done),
        }
    }
    Err(Failure::Transient("the order was not due after each wait".into()))
}

#[cfg(test)]
mod tests {
    use orders_domain::{Command, Lock, Order, Status};
    use orders_testing::{MemoryStore, at, commit, order, order_at, order_id, place};

    use super::*;

    async fn expire(store: &MemoryStore, order: &Order, now: Timestamp) -> Outcome {
        let body = timer(order).to_text().unwrap();
        handle(store, now, Message::new(&body)).await.unwrap()
    }

    fn timer(order: &Order) -> ExpiryMessage {
        ExpiryMessage { order_id: order.id, expires_at: Some(order.expires_at) }
    }

    async fn lock(store: &MemoryStore, order: &Order) -> Lock {
        store.find_ticket(&order.ticket.id).await.unwrap().unwrap().lock
    }

    #[tokio::test]
    async fn early_expiry_is_replaced_until_the_order_is_due() {
        let store = MemoryStore::default();
        let order = order(1);
        place(&store, &order).await;
        for seconds in [2, 1] {
            let body = timer(&order).to_text().unwrap();
            let early = Outcome::Replace { body, delay: Duration::from_secs(seconds) };
            assert_eq!(expire(&store, &order, at(30 - seconds)).await, early);
        }
        assert_eq!(expire(&store, &order, at(30)).await, Outcome::Done);
        let expired = store.find(order.id).await.unwrap().unwrap();
        assert_eq!((expired.status, expired.version.number()), (Status::Expired, 1));
        assert_eq!(lock(&store, &order).await, Lock::Free);
    }

    #[tokio::test]
    async fn expiry_sleeps_through_the_last_second() {
        let store = MemoryStore::default();
        let order = order(1);
        place(&store, &order).await;
        let nearly = at(29).plus(Duration::from_millis(950));
        assert_eq!(expire(&store, &order, nearly).await, Outcome::Done);
        assert_eq!(store.find(order.id).await.unwrap().unwrap().status, Status::Expired);
    }

    #[tokio::test]
    async fn repeated_late_expiry_keeps_the_lock_of_the_next_order() {
        let store = MemoryStore::default();
        let (first, second) = (order(1), order_at(2, 10));
        place(&store, &first).await;
        commit(&store, &first, &Command::Cancel).await;
        place(&store, &second).await;
        for _ in 0..2 {
            assert_eq!(expire(&store, &first, at(39)).await, Outcome::Done);
            assert_eq!(lock(&store, &first).await, Lock::Held { by: second.id, until: at(40) });
        }
    }

    #[tokio::test]
    async fn timer_of_another_time_is_obsolete() {
        let store = MemoryStore::default();
        let order = order(1);
        place(&store, &order).await;
        let start = Command::StartPayment {
            sent_at: at(10),
            time_to_pay: Duration::from_mins(5),
            now: at(10),
        };
        commit(&store, &order, &start).await;
        // The first timer fires after its time, and even after the new time.
        for seconds in [30, 311] {
            assert_eq!(expire(&store, &order, at(seconds)).await, Outcome::Done);
            let stored = store.find(order.id).await.unwrap().unwrap();
            assert_eq!((stored.status, stored.expires_at), (Status::AwaitingPayment, at(310)));
        }
        let extended = store.find(order.id).await.unwrap().unwrap();
        assert_eq!(expire(&store, &extended, at(310)).await, Outcome::Done);
        assert_eq!(store.find(order.id).await.unwrap().unwrap().status, Status::Expired);
    }

    #[tokio::test]
    async fn timer_without_a_time_is_for_any_time() {
        let store = MemoryStore::default();
        let order = order(1);
        place(&store, &order).await;
        let message = ExpiryMessage { order_id: order.id, expires_at: None }.to_text().unwrap();
        let receive = async |now| handle(&store, now, Message::new(&message)).await.unwrap();
        let body = timer(&order).to_text().unwrap();
        let early = Outcome::Replace { body, delay: Duration::from_secs(20) };
        assert_eq!(receive(at(10)).await, early);
        assert_eq!(receive(at(30)).await, Outcome::Done);
        assert_eq!(store.find(order.id).await.unwrap().unwrap().status, Status::Expired);
    }

    #[tokio::test]
    async fn expiry_of_an_unknown_order_is_done() {
        let store = MemoryStore::default();
        let message = ExpiryMessage { order_id: order_id(9), expires_at: None };
        let body = message.to_text().unwrap();
        let outcome = handle(&store, at(0), Message::new(&body)).await;
        assert_eq!(outcome.unwrap(), Outcome::Done);
    }

    #[tokio::test]
    async fn message_without_an_order_id_is_poison() {
        let message = Message::new("{}");
        let outcome = handle(&MemoryStore::default(), at(0), message).await;
        assert!(matches!(outcome, Err(Failure::Poison(_))));
    }
}

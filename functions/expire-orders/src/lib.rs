//! Expires orders whose hold has lapsed, to the second.

use std::time::Duration;

use orders_contracts::ExpiryMessage;
use orders_domain::{Command, CommitOutcome, Decision, OrderStore, Refusal, Timestamp, decide};
use orders_lambda::{
    queue::{Failure, Message, Outcome},
    retry::{MAX_ATTEMPTS, backoff},
};
use tokio::time::{Instant, sleep};

/// A queue counts in seconds, so a message comes up to a second early. It is not worth sending back:
/// the function waits.
const WAIT_HERE: Duration = Duration::from_secs(1);

/// Expires the order that the message names, if it is due. One that is not due waits in the queue
/// until it is; one that is not there, or is final already, needs nothing.
///
/// # Errors
/// [`Failure::Poison`] for a message that names no order, [`Failure::Transient`] if the store fails.
pub async fn handle(
    store: &impl OrderStore,
    mut now: Timestamp,
    message: Message<'_>,
) -> Result<Outcome, Failure> {
    let ExpiryMessage { order_id } =
        ExpiryMessage::parse(message.body).map_err(|error| Failure::Poison(error.into()))?;
    let (received, started) = (now, Instant::now());
    for _ in 0..MAX_ATTEMPTS {
        let Some(order) = store.find(order_id).await? else { return Ok(Outcome::Done) };
        let transition = match decide(&order, &Command::Expire { now }) {
            Decision::Apply(transition) => transition,
            Decision::Refuse(Refusal::NotDue { until }) if now.until(until) < WAIT_HERE => {
                sleep(now.until(until)).await;
                now = until;
                continue;
            }
            Decision::Refuse(Refusal::NotDue { until }) => {
                return Ok(Outcome::RetryAfter(now.until(until)));
            }
            Decision::AlreadyDone | Decision::Refuse(Refusal::Paid) => return Ok(Outcome::Done),
        };
        match store.commit(&transition).await? {
            CommitOutcome::Committed => {
                let committed = received.plus(started.elapsed());
                let late_ms = order.expires_at.until(committed).as_millis();
                metrics::histogram!("ExpiryLateness")
                    .record(u32::try_from(late_ms).unwrap_or(u32::MAX));
                return Ok(Outcome::Done);
            }
            CommitOutcome::Conflict => backoff().await,
        }
    }
    Err(Failure::Transient("the order kept changing".into()))
}

#[cfg(test)]
mod tests {
    use orders_domain::{
        Lock, MemoryStore, NewOrder, Order, OrderId, Placement, Price, Status, Ticket, TicketRule,
        TicketVersion,
    };

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_epoch_ms(seconds * 1_000).unwrap()
    }

    /// An order that holds its ticket from second 0 until second 30.
    async fn held(store: &MemoryStore, byte: u8, from: u64) -> Order {
        let ticket = Ticket {
            id: "t1".parse().unwrap(),
            title: "Concert".parse().unwrap(),
            price: Price::from_minor(2_000).unwrap(),
            version: TicketVersion::new(0),
        };
        store.apply_ticket(&ticket, TicketRule::FirstOrNext).await.unwrap();
        let request = NewOrder {
            id: OrderId::from_bytes([byte; 16]),
            user_id: "alice".parse().unwrap(),
            now: at(from),
            hold: Duration::from_secs(30),
            correlation_id: "request-1".parse().unwrap(),
        };
        let order = Order::new(request, ticket);
        let placement = Placement { order: order.clone(), takeover: None };
        store.place(&placement).await.unwrap();
        order
    }

    async fn expire(store: &MemoryStore, order: &Order, now: Timestamp) -> Outcome {
        let body = ExpiryMessage { order_id: order.id }.to_text().unwrap();
        handle(store, now, Message { body: &body, receive_count: 1 }).await.unwrap()
    }

    #[tokio::test]
    async fn an_order_expires_when_it_is_due_and_not_before() {
        let store = MemoryStore::default();
        let order = held(&store, 1, 0).await;
        for seconds in [2, 1] {
            let early = Outcome::RetryAfter(Duration::from_secs(seconds));
            assert_eq!(expire(&store, &order, at(30 - seconds)).await, early);
        }
        assert_eq!(expire(&store, &order, at(30)).await, Outcome::Done);
        let expired = store.find(order.id).await.unwrap().unwrap();
        assert_eq!((expired.status, expired.version.number()), (Status::Expired, 1));
        assert_eq!(store.find_ticket(&order.ticket.id).await.unwrap().unwrap().lock, Lock::Free);
    }

    #[tokio::test]
    async fn an_order_that_is_due_in_a_moment_is_waited_for() {
        let store = MemoryStore::default();
        let order = held(&store, 1, 0).await;
        let nearly = Timestamp::from_epoch_ms(29_950).unwrap();
        assert_eq!(expire(&store, &order, nearly).await, Outcome::Done);
        assert_eq!(store.find(order.id).await.unwrap().unwrap().status, Status::Expired);
    }

    #[tokio::test]
    async fn a_message_late_and_twice_leaves_the_next_buyers_lock_alone() {
        let store = MemoryStore::default();
        let first = held(&store, 1, 0).await;
        let Decision::Apply(cancel) = decide(&first, &Command::Cancel) else { panic!() };
        store.commit(&cancel).await.unwrap();
        let second = held(&store, 2, 10).await;
        for _ in 0..2 {
            assert_eq!(expire(&store, &first, at(39)).await, Outcome::Done);
            let lock = store.find_ticket(&first.ticket.id).await.unwrap().unwrap().lock;
            assert_eq!(lock, Lock::Held { by: second.id, until: at(40) });
        }
    }

    #[tokio::test]
    async fn an_order_that_is_not_there_needs_nothing() {
        let store = MemoryStore::default();
        let body = ExpiryMessage { order_id: OrderId::from_bytes([9; 16]) }.to_text().unwrap();
        let outcome = handle(&store, at(0), Message { body: &body, receive_count: 1 }).await;
        assert_eq!(outcome.unwrap(), Outcome::Done);
    }

    #[tokio::test]
    async fn a_message_that_names_no_order_is_poison() {
        let message = Message { body: "{}", receive_count: 1 };
        let outcome = handle(&MemoryStore::default(), at(0), message).await;
        assert!(matches!(outcome, Err(Failure::Poison(_))));
    }
}

//! Applies the ticket service's events to the ticket replica. Events arrive late, repeated and out of
//! order.

use std::time::Duration;

use orders_contracts::TicketEvent;
use orders_domain::{OrderStore, Sale, TicketOutcome, Verdict, rule_for};
use orders_lambda::queue::{Failure, Message, Outcome, log_ids};

/// Applies an event by the version rule.
///
/// # Errors
/// [`Failure::Poison`] if the message is not a ticket event, [`Failure::Transient`] if the store fails.
pub async fn handle(store: &impl OrderStore, message: Message<'_>) -> Result<Outcome, Failure> {
    let TicketEvent { kind, sale } =
        TicketEvent::parse(message.body).map_err(|error| Failure::Poison(error.into()))?;
    log_ids(None, None, Some(sale.id()));
    let rule = rule_for(kind, message.receive_count, message.age);
    let verdict_on_first_receive =
        |stored| rule_for(kind, 1, Duration::ZERO).judge(stored, sale.version());
    match store.apply_ticket(&sale, rule).await? {
        TicketOutcome::Applied { replaced } => {
            // Applied only because of the number of receives: earlier versions have not arrived.
            if verdict_on_first_receive(replaced) == Verdict::Gap {
                let version = sale.version().number();
                metrics::counter!("TicketVersionGaps").increment(1);
                tracing::warn!(ticket_id = %sale.id(), version, "TicketVersionGap");
            }
            Ok(Outcome::Done)
        }
        // Versions are counted by the ticket service: one version cannot have two contents.
        TicketOutcome::Refused { stored: Some(stored) } if contradicts(&stored, &sale) => {
            metrics::counter!("TicketContradictions").increment(1);
            let version = sale.version().number();
            Err(Failure::Poison(format!("version {version} has other content already").into()))
        }
        TicketOutcome::Refused { stored } => {
            match verdict_on_first_receive(stored.as_ref().map(Sale::version)) {
                // Repeated or late: the replica is newer.
                Verdict::Stale => Ok(Outcome::Done),
                // `Apply`: another event changed the replica between condition and response.
                Verdict::Gap | Verdict::Apply => Ok(Outcome::Retry("earlier versions are missing")),
            }
        }
    }
}

/// Whether both have one version, but not one content.
fn contradicts(stored: &Sale, incoming: &Sale) -> bool {
    stored.version() == incoming.version() && stored != incoming
}

#[cfg(test)]
mod tests {
    use orders_domain::TicketId;
    use orders_testing::MemoryStore;
    use serde_json::json;

    use super::*;

    const RETRY: Outcome = Outcome::Retry("earlier versions are missing");

    fn event(kind: &str, version: u64) -> String {
        let detail =
            json!({"id": "t1", "title": format!("v{version}"), "price": 20, "version": version});
        json!({"detail-type": kind, "source": "tickets", "detail": detail}).to_string()
    }

    /// A message 10 s after it was sent.
    fn old(body: &str, receive_count: u32) -> Message<'_> {
        Message { receive_count, age: Duration::from_secs(10), ..Message::new(body) }
    }

    async fn receive(store: &MemoryStore, kind: &str, version: u64, receive_count: u32) -> Outcome {
        let body = event(kind, version);
        handle(store, old(&body, receive_count)).await.unwrap()
    }

    async fn stored_version(store: &MemoryStore) -> Option<u64> {
        let id: TicketId = "t1".parse().unwrap();
        let replica = store.find_ticket(&id).await.unwrap();
        replica.map(|replica| replica.sale.version().number())
    }

    #[tokio::test]
    async fn events_in_order_are_applied_and_repeats_are_no_ops() {
        let store = MemoryStore::default();
        for (kind, version) in [("TicketCreated", 0), ("TicketUpdated", 1), ("TicketUpdated", 1)] {
            assert_eq!(receive(&store, kind, version, 1).await, Outcome::Done);
        }
        assert_eq!(receive(&store, "TicketCreated", 0, 1).await, Outcome::Done);
        assert_eq!(stored_version(&store).await, Some(1));
    }

    #[tokio::test]
    async fn event_after_a_gap_is_retried_twice_and_then_applied() {
        let store = MemoryStore::default();
        assert_eq!(receive(&store, "TicketCreated", 0, 1).await, Outcome::Done);
        for receive_count in [1, 2] {
            let outcome = receive(&store, "TicketUpdated", 5, receive_count).await;
            assert_eq!(outcome, RETRY);
        }
        assert_eq!(stored_version(&store).await, Some(0));
        assert_eq!(receive(&store, "TicketUpdated", 5, 3).await, Outcome::Done);
        assert_eq!(stored_version(&store).await, Some(5));
        assert_eq!(receive(&store, "TicketUpdated", 4, 1).await, Outcome::Done);
        assert_eq!(stored_version(&store).await, Some(5));
    }

    #[tokio::test]
    async fn withdrawal_ends_the_sale_until_a_newer_event() {
        let store = MemoryStore::default();
        let is_on_sale = async || {
            let replica = store.find_ticket(&"t1".parse().unwrap()).await.unwrap();
            replica.map(|replica| replica.sale.ticket().is_some())
        };
        assert_eq!(receive(&store, "TicketCreated", 0, 1).await, Outcome::Done);
        assert_eq!(receive(&store, "TicketWithdrawn", 1, 1).await, Outcome::Done);
        assert_eq!(is_on_sale().await, Some(false));
        assert_eq!(receive(&store, "TicketWithdrawn", 1, 1).await, Outcome::Done);
        assert_eq!(receive(&store, "TicketUpdated", 2, 1).await, Outcome::Done);
        assert_eq!(is_on_sale().await, Some(true));
        assert_eq!(receive(&store, "TicketWithdrawn", 1, 1).await, Outcome::Done);
        assert_eq!(is_on_sale().await, Some(true));
        // One version is either a withdrawal or not.
        let body = event("TicketWithdrawn", 2);
        let handled = handle(&store, Message::new(&body)).await;
        assert!(matches!(handled, Err(Failure::Poison(_))));
    }

    #[tokio::test]
    async fn withdrawal_of_an_unknown_ticket_waits_for_its_earlier_events() {
        let store = MemoryStore::default();
        for receive_count in [1, 2] {
            let outcome = receive(&store, "TicketWithdrawn", 3, receive_count).await;
            assert_eq!(outcome, RETRY);
        }
        assert_eq!(receive(&store, "TicketWithdrawn", 3, 3).await, Outcome::Done);
        assert_eq!(receive(&store, "TicketCreated", 0, 1).await, Outcome::Done);
        assert_eq!(stored_version(&store).await, Some(3));
    }

    #[tokio::test]
    async fn event_that_contradicts_its_version_is_poison() {
        let store = MemoryStore::default();
        assert_eq!(receive(&store, "TicketCreated", 0, 1).await, Outcome::Done);
        assert_eq!(receive(&store, "TicketUpdated", 1, 1).await, Outcome::Done);
        let contradiction = |field: &str, value: serde_json::Value| {
            let mut event: serde_json::Value =
                serde_json::from_str(&event("TicketUpdated", 1)).unwrap();
            event["detail"][field] = value;
            event.to_string()
        };
        for body in [contradiction("price", json!(21)), contradiction("title", json!("other"))] {
            for receive_count in [1, 3] {
                let handled = handle(&store, old(&body, receive_count)).await;
                assert!(matches!(handled, Err(Failure::Poison(_))), "{body}");
            }
        }
        // Equal after rounding.
        let body = contradiction("price", json!(20.000_000_000_000_004));
        let handled = handle(&store, Message::new(&body)).await;
        assert_eq!(handled.unwrap(), Outcome::Done);
        // An older version with other content is a repeat of a version that is gone.
        let body = contradiction("version", json!(0));
        let handled = handle(&store, Message::new(&body)).await;
        assert_eq!(handled.unwrap(), Outcome::Done);
    }

    #[tokio::test]
    async fn message_without_a_ticket_event_is_poison() {
        let store = MemoryStore::default();
        for body in ["", "not json", "{}", r#"{"detail-type":"TicketDeleted","detail":{}}"#] {
            let handled = handle(&store, Message::new(body)).await;
            assert!(matches!(handled, Err(Failure::Poison(_))), "{body}");
        }
    }
}

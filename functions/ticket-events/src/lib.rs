//! Applies the ticket service's events to the ticket replica. Events arrive late, repeated and out of
//! order.

use std::time::Duration;

use orders_contracts::TicketEvent;
use orders_domain::{OrderStore, Ticket, TicketOutcome, Verdict, rule_for};
use orders_lambda::queue::{Failure, Message, Outcome, log_ids};

/// Wait of an event for the missing versions before it.
const WAIT_FOR_GAP: Duration = Duration::from_secs(2);

/// Applies an event by the version rule.
///
/// # Errors
/// [`Failure::Poison`] if the message is not a ticket event, [`Failure::Transient`] if the store fails.
pub async fn handle(store: &impl OrderStore, message: Message<'_>) -> Result<Outcome, Failure> {
    let TicketEvent { kind, ticket } =
        TicketEvent::parse(message.body).map_err(|error| Failure::Poison(error.into()))?;
    log_ids(None, None, Some(&ticket.id));
    let rule = rule_for(kind, message.receive_count);
    let verdict_on_first_receive = |stored| rule_for(kind, 1).judge(stored, ticket.version);
    match store.apply_ticket(&ticket, rule).await? {
        TicketOutcome::Applied { replaced } => {
            // Applied only because of the number of receives: earlier versions have not arrived.
            if verdict_on_first_receive(replaced) == Verdict::Gap {
                let version = ticket.version.number();
                metrics::counter!("TicketVersionGaps").increment(1);
                tracing::warn!(ticket_id = %ticket.id, version, "TicketVersionGap");
            }
            Ok(Outcome::Done)
        }
        // Versions are counted by the ticket service: one version cannot have two contents.
        TicketOutcome::Refused { stored: Some(stored) } if contradicts(&stored, &ticket) => {
            metrics::counter!("TicketContradictions").increment(1);
            let version = ticket.version.number();
            Err(Failure::Poison(format!("version {version} has other content already").into()))
        }
        TicketOutcome::Refused { stored } => {
            match verdict_on_first_receive(stored.map(|stored| stored.version)) {
                // Repeated or late: the replica is newer.
                Verdict::Stale => Ok(Outcome::Done),
                // `Apply`: another event changed the replica between condition and response.
                Verdict::Gap | Verdict::Apply => Ok(Outcome::RetryAfter(WAIT_FOR_GAP)),
            }
        }
    }
}

/// Whether both have one version, but not one content.
fn contradicts(stored: &Ticket, incoming: &Ticket) -> bool {
    stored.version == incoming.version && stored != incoming
}

#[cfg(test)]
mod tests {
    use orders_domain::TicketId;
    use orders_testing::MemoryStore;
    use serde_json::json;

    use super::*;

    fn event(kind: &str, version: u64) -> String {
        let detail =
            json!({"id": "t1", "title": format!("v{version}"), "price": 20, "version": version});
        json!({"detail-type": kind, "source": "tickets", "detail": detail}).to_string()
    }

    async fn receive(store: &MemoryStore, kind: &str, version: u64, receive_count: u32) -> Outcome {
        let body = event(kind, version);
        handle(store, Message { body: &body, receive_count }).await.unwrap()
    }

    async fn stored_version(store: &MemoryStore) -> Option<u64> {
        let id: TicketId = "t1".parse().unwrap();
        let replica = store.find_ticket(&id).await.unwrap();
        replica.map(|replica| replica.ticket.version.number())
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
            assert_eq!(outcome, Outcome::RetryAfter(WAIT_FOR_GAP));
        }
        assert_eq!(stored_version(&store).await, Some(0));
        assert_eq!(receive(&store, "TicketUpdated", 5, 3).await, Outcome::Done);
        assert_eq!(stored_version(&store).await, Some(5));
        assert_eq!(receive(&store, "TicketUpdated", 4, 1).await, Outcome::Done);
        assert_eq!(stored_version(&store).await, Some(5));
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
                let handled = handle(&store, Message { body: &body, receive_count }).await;
                assert!(matches!(handled, Err(Failure::Poison(_))), "{body}");
            }
        }
        // Equal after rounding.
        let body = contradiction("price", json!(20.000_000_000_000_004));
        let handled = handle(&store, Message { body: &body, receive_count: 1 }).await;
        assert_eq!(handled.unwrap(), Outcome::Done);
        // An older version with other content is a repeat of a version that is gone.
        let body = contradiction("version", json!(0));
        let handled = handle(&store, Message { body: &body, receive_count: 1 }).await;
        assert_eq!(handled.unwrap(), Outcome::Done);
    }

    #[tokio::test]
    async fn message_without_a_ticket_event_is_poison() {
        let store = MemoryStore::default();
        for body in ["", "not json", "{}", r#"{"detail-type":"TicketDeleted","detail":{}}"#] {
            let handled = handle(&store, Message { body, receive_count: 1 }).await;
            assert!(matches!(handled, Err(Failure::Poison(_))), "{body}");
        }
    }
}

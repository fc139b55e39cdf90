//! Commands to an order: read, decide, commit, and again if the state changed in between.

use orders_domain::{
    Availability, Command, CommitOutcome, Decision, FoundTicket, Order, OrderId, OrderStore,
    Refusal, StoreError, Takeover, TicketId, TicketState, Timestamp, decide,
};

use crate::retry::{MAX_ATTEMPTS, backoff};

/// Outcome of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// The order has this state now.
    Committed(Order),
    /// The command had no effect: the order was in the requested state already.
    AlreadyDone,
    /// The command is not allowed.
    Refused(Refusal),
    /// The payment of the command has been booked for another order.
    PaymentOfAnotherOrder(OrderId),
}

/// Failure of a command. The command may have been committed, and can be sent again safely.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The order or its ticket changed after each read.
    #[error("the order changed after each read")]
    Contended,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Gives a command to an order that has just been read. `now` decides whether another order's hold on the
/// ticket has lapsed.
///
/// # Errors
/// [`CommandError`] if the outcome is unknown.
pub async fn execute(
    store: &impl OrderStore,
    mut order: Order,
    command: &Command,
    now: Timestamp,
) -> Result<CommandOutcome, CommandError> {
    let mut ticket = TicketState::Unread;
    for attempt in 0..MAX_ATTEMPTS {
        let (transition, is_last) = match decide(&order, command, &ticket) {
            Decision::Apply(transition) => (transition, true),
            Decision::ApplyFirst(transition) => (transition, false),
            Decision::AlreadyDone => return Ok(CommandOutcome::AlreadyDone),
            Decision::Refuse(refusal) => return Ok(CommandOutcome::Refused(refusal)),
            Decision::ReadTicket => {
                ticket = ticket_state(store, &order, now).await?;
                continue;
            }
        };
        match store.commit(&transition).await? {
            CommitOutcome::Committed if is_last => {
                return Ok(CommandOutcome::Committed(transition.into_order()));
            }
            CommitOutcome::Committed => order = transition.into_order(),
            CommitOutcome::PaymentOfAnotherOrder(order_id) => {
                return Ok(CommandOutcome::PaymentOfAnotherOrder(order_id));
            }
            CommitOutcome::Conflict => {
                backoff(attempt).await;
                let Some(stored) = store.find(order.id).await? else { continue };
                // The order is as it was read, so it was the lock that did not allow the transition.
                let is_unchanged = stored.version == order.version;
                order = stored;
                ticket = if is_unchanged {
                    ticket_state(store, &order, now).await?
                } else {
                    TicketState::Unread
                };
            }
        }
    }
    Err(CommandError::Contended)
}

async fn ticket_state(
    store: &impl OrderStore,
    order: &Order,
    now: Timestamp,
) -> Result<TicketState, StoreError> {
    let found = find_ticket(store, &order.ticket.id, order.id, now).await?;
    Ok(found.map_or(TicketState::Missing, |found| TicketState::Found(found.into())))
}

/// The ticket as this order finds it; `None` if it is unknown. The order that a lapsed lock names is read
/// too.
///
/// # Errors
/// The store's failure.
pub async fn find_ticket(
    store: &impl OrderStore,
    id: &TicketId,
    order: OrderId,
    now: Timestamp,
) -> Result<Option<FoundTicket>, StoreError> {
    let Some(replica) = store.find_ticket(id).await? else { return Ok(None) };
    let availability = match replica.lock.availability(order, now) {
        Availability::Own => Availability::Own,
        Availability::Free => Availability::Free,
        Availability::Reserved { until } => Availability::Reserved { until },
        Availability::Sold => Availability::Sold,
        Availability::Lapsed(by) => {
            Takeover::availability(id, by, store.find(by).await?.as_ref(), now)
        }
    };
    Ok(Some(FoundTicket { replica, availability }))
}

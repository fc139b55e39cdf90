//! Writes of the store. Each write goes to the stream and is checked against the promises.

use orders_domain::{
    CommitOutcome, Order, OrderStore, PlaceOutcome, Placement, StoreError, Ticket, TicketOutcome,
    TicketRule, Timestamp, Transition,
};

use crate::{
    coverage::Observed,
    promises::{Change, Write},
    world::{World, ready},
};

impl World {
    pub(crate) fn place(
        &self,
        placement: &Placement,
        function: &str,
    ) -> Result<PlaceOutcome, StoreError> {
        let outcome = ready(self.store.place(placement))?;
        let Placement { order, takeover } = placement;
        self.log(|| format!("{function}: place {} -> {}", describe(order), outcome_name(&outcome)));
        let mut rows = vec![order];
        rows.extend(takeover.as_ref().map(Transition::order));
        let committed = outcome == PlaceOutcome::Placed;
        self.check_write(committed, &rows, &Write::Placement { at: order.created_at });
        Ok(outcome)
    }

    pub(crate) fn commit(
        &self,
        transition: &Transition,
        function: &str,
        now: Timestamp,
    ) -> Result<CommitOutcome, StoreError> {
        let outcome = ready(self.store.commit(transition))?;
        let order = transition.order();
        self.log(|| format!("{function}: commit {} -> {outcome:?}", describe(order)));
        let committed = outcome == CommitOutcome::Committed;
        self.check_write(committed, &[order], &Write::Transition { at: now });
        Ok(outcome)
    }

    pub(crate) fn apply_ticket(
        &self,
        ticket: &Ticket,
        rule: TicketRule,
    ) -> Result<TicketOutcome, StoreError> {
        let outcome = ready(self.store.apply_ticket(ticket, rule))?;
        let (id, version) = (&ticket.id, ticket.version.number());
        self.log(|| format!("ticket-events: apply {id} v{version} ({rule:?}) -> {outcome:?}"));
        let replica = ready(self.store.find_ticket(&ticket.id))?;
        let mut state = self.state();
        state.coverage.observed(match outcome {
            TicketOutcome::Refused { .. } => Observed::TicketRefused,
            TicketOutcome::Applied { replaced: None } => Observed::TicketFirst,
            TicketOutcome::Applied { replaced } if replaced == ticket.version.previous() => {
                Observed::TicketNext
            }
            TicketOutcome::Applied { .. } => Observed::TicketOverGap,
        });
        let applied = matches!(outcome, TicketOutcome::Applied { .. });
        state.promises.ticket_applied(applied, ticket, replica);
        Ok(outcome)
    }

    /// Checks every row that the write can have changed, regardless of its outcome.
    fn check_write(&self, committed: bool, rows: &[&Order], write: &Write) {
        let ticket = &rows[0].ticket.id;
        let found = |order: &&Order| (order.id, ready(self.store.find(order.id)).ok().flatten());
        let orders: Vec<_> = rows.iter().map(found).collect();
        let replica = ready(self.store.find_ticket(ticket)).ok().flatten();
        let expected = if committed { rows } else { &[] };
        let now_ms = self.now_ms();
        let mut state = self.state();
        let changes =
            state.promises.orders_written(expected, orders, ticket, replica, write, now_ms);
        let has_changes = !changes.is_empty();
        for Change { before, after, observed } in changes {
            state.coverage.observed(observed);
            state.stream.push(before.as_ref(), &after, now_ms);
        }
        drop(state);
        if has_changes {
            self.records.notify_waiters();
        }
    }
}

fn describe(order: &Order) -> String {
    let Order { id, ticket, status, version, .. } = order;
    let (status, version) = (status.name(), version.number());
    let refunds = order.refunds_due.len();
    format!(
        "{id} v{version} {status}, {refunds} refunds, {} v{}",
        ticket.id,
        ticket.version.number()
    )
}

fn outcome_name(outcome: &PlaceOutcome) -> &'static str {
    match outcome {
        PlaceOutcome::Placed => "placed",
        PlaceOutcome::AlreadyPlaced(_) => "already placed",
        PlaceOutcome::Conflict => "conflict",
    }
}

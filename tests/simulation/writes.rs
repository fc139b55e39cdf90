//! Writes of the store. Each write goes to the stream and is checked against the promises.

use std::collections::BTreeSet;

use orders_domain::{
    BookedPayment, CommitOutcome, LapsedHolds, LockChange, Order, OrderId, OrderStore,
    PlaceOutcome, Placement, Sale, StoreError, Takeover, TicketId, TicketOutcome, TicketRule,
    Timestamp, Transition,
};

use crate::{
    coverage::Observed,
    promises::{Change, CommandTime, Write},
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
        rows.extend(takeover.as_ref().and_then(expired_order));
        let committed = outcome == PlaceOutcome::Placed;
        let write = Write::Placement { at: order.created_at };
        self.check_write(committed, &rows, &order.ticket.id, &write);
        Ok(outcome)
    }

    pub(crate) fn commit(
        &self,
        transition: &Transition,
        function: &str,
        command: CommandTime,
        at: Timestamp,
    ) -> Result<CommitOutcome, StoreError> {
        let outcome = ready(self.store.commit(transition))?;
        let order = transition.order();
        match (function, outcome) {
            ("reconcile", CommitOutcome::Committed) => self.check_reconciled(order),
            ("reconcile", _) => self.count(Observed::ReconcileOvertaken),
            _ => {}
        }
        self.log(|| format!("{function}: commit {} -> {outcome:?}", describe(order)));
        if let (CommitOutcome::PaymentOfAnotherOrder(other), Some(booked)) =
            (outcome, transition.booked())
        {
            let mut state = self.state();
            state.coverage.observed(Observed::PaymentOfAnotherOrder);
            state.promises.refused_for_another_order(&booked.payment, other);
        }
        let mut rows = vec![order];
        if let LockChange::BuyBack { takeover: Some(takeover), .. } = transition.lock() {
            rows.extend(expired_order(takeover));
        }
        let committed = outcome == CommitOutcome::Committed;
        let write = Write::Transition { command, at, booked: self.booked_row(transition) };
        self.check_write(committed, &rows, &order.ticket.id, &write);
        Ok(outcome)
    }

    /// Makes a lock permanent that a restore has given an end, or that is permanent already.
    pub(crate) fn make_permanent(
        &self,
        order: &Order,
        function: &str,
    ) -> Result<CommitOutcome, StoreError> {
        let outcome = ready(self.store.make_permanent(order))?;
        self.log(|| format!("{function}: make permanent {} -> {outcome:?}", describe(order)));
        self.check_write(false, &[order], &order.ticket.id, &Write::Lock);
        Ok(outcome)
    }

    /// Removes the lapsed lock of an order that has ended.
    pub(crate) fn release(
        &self,
        ticket: &TicketId,
        ended: OrderId,
        now: Timestamp,
    ) -> Result<CommitOutcome, StoreError> {
        let outcome = ready(self.store.release(ticket, ended, now))?;
        self.log(|| format!("reconcile: release {ticket} of {ended} -> {outcome:?}"));
        if outcome != CommitOutcome::Committed {
            self.count(Observed::ReconcileOvertaken);
        }
        let order = ready(self.store.find(ended))?;
        self.check_write(false, order.as_ref().as_slice(), ticket, &Write::Lock);
        Ok(outcome)
    }

    pub(crate) fn apply_ticket(
        &self,
        sale: &Sale,
        rule: TicketRule,
    ) -> Result<TicketOutcome, StoreError> {
        let before = ready(self.store.find_ticket(sale.id()))?;
        let outcome = ready(self.store.apply_ticket(sale, rule))?;
        let (id, version) = (sale.id(), sale.version().number());
        self.log(|| format!("ticket-events: apply {id} v{version} ({rule:?}) -> {outcome:?}"));
        let replica = ready(self.store.find_ticket(id))?;
        let now_ms = self.now_ms();
        let mut state = self.state();
        state.coverage.observed(match outcome {
            TicketOutcome::Refused { .. } => Observed::TicketRefused,
            TicketOutcome::Applied { replaced: None } => Observed::TicketFirst,
            TicketOutcome::Applied { replaced } if replaced == sale.version().previous() => {
                Observed::TicketNext
            }
            TicketOutcome::Applied { .. } => Observed::TicketOverGap,
        });
        let applied = matches!(outcome, TicketOutcome::Applied { .. });
        if applied && let Some(observed) = withdrawal(before.map(|before| before.sale), sale) {
            state.coverage.observed(observed);
        }
        state.promises.ticket_applied(applied, sale, replica, now_ms);
        Ok(outcome)
    }

    /// The stored row of the payment that a transition books, whatever the outcome.
    fn booked_row(&self, transition: &Transition) -> Option<BookedPayment> {
        let booked = transition.booked()?;
        ready(self.store.find_payment(&booked.payment.id)).ok().flatten()
    }

    /// Checks every row that the write can have changed, regardless of its outcome.
    fn check_write(&self, committed: bool, rows: &[&Order], ticket: &TicketId, write: &Write) {
        let found = |order: &&Order| (order.id, ready(self.store.find(order.id)).ok().flatten());
        let orders: Vec<_> = rows.iter().map(found).collect();
        let replica = ready(self.store.find_ticket(ticket)).ok().flatten();
        let buyers: BTreeSet<_> = rows.iter().map(|order| order.user_id.clone()).collect();
        let slots = |user_id| ready(self.store.find_slots(&user_id)).ok().map(|it| (user_id, it));
        let slots: Vec<_> = buyers.into_iter().filter_map(slots).collect();
        let expected = if committed { rows } else { &[] };
        let now_ms = self.now_ms();
        let mut state = self.state();
        let changes =
            state.promises.orders_written(expected, orders, ticket, replica, write, now_ms);
        state.promises.slots_written(&changes, slots, now_ms);
        let has_changes = !changes.is_empty();
        for Change { before, after, observed } in changes {
            for observed in observed {
                state.coverage.observed(observed);
            }
            state.stream.push(before.as_ref(), &after, now_ms);
        }
        drop(state);
        if has_changes {
            self.records.notify_waiters();
        }
    }
}

/// What a ticket event changes about the withdrawal of a ticket.
fn withdrawal(before: Option<Sale>, after: &Sale) -> Option<Observed> {
    match (before, after) {
        (None, Sale::Withdrawn { .. }) => Some(Observed::TicketWithdrawnFirst),
        (Some(_), Sale::Withdrawn { .. }) => Some(Observed::TicketWithdrawn),
        (Some(Sale::Withdrawn { .. }), Sale::Open(_)) => Some(Observed::TicketReopened),
        (Some(Sale::Open(_)) | None, Sale::Open(_)) => None,
    }
}

fn expired_order(takeover: &Takeover) -> Option<&Order> {
    match takeover {
        Takeover::Expire(expiry) => Some(expiry.order()),
        Takeover::Ended(_) => None,
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

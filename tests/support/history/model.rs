//! Sequential model of a ticket, and the search for an order of operations that explains all
//! observations (linearizability: Herlihy and Wing, 1990; search: Wing and Gong, 1993).

use std::collections::{BTreeMap, HashSet};

/// State of an order in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OrderState {
    pub(super) version: u64,
    pub(super) status: Status,
    /// End of the hold.
    pub(super) expires_at_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Awaiting,
    Paid,
    Cancelled,
    Expired,
    Refunded,
}

impl Status {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "awaiting_payment" => Self::Awaiting,
            "paid" => Self::Paid,
            "cancelled" => Self::Cancelled,
            "expired" => Self::Expired,
            "refunded" => Self::Refunded,
            _ => return None,
        })
    }
}

/// State of a ticket in the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Id of the order with the lock.
    pub(super) holder: Option<String>,
    pub(super) orders: BTreeMap<String, OrderState>,
    /// Newest ticket version that an order or a response has shown.
    newest_version: u64,
}

/// A change or an observation at an instant between two times.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) kind: StepKind,
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    /// Description for the error message.
    pub(super) description: String,
    /// Index of a step that must come first.
    pub(super) after: Option<usize>,
}

/// Kind of a step.
#[derive(Clone, Debug)]
pub(super) enum StepKind {
    /// A change of an order to this version.
    Change { order: String, version: u64, change: Change },
    /// The ticket has one of these versions: no older version is seen after it.
    Seen { versions: Vec<u64> },
    /// An observation, without a change.
    Observation(Observation),
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    /// The ticket version is known if the order was shown to a buyer. The order for a free ticket
    /// is paid.
    Created {
        ticket_version: Option<u64>,
        status: Status,
        expires_at_ms: u64,
    },
    /// An order that is not due is sold at its price. A late sale needs a ticket at the order's
    /// price: `asked` are the ticket versions with this price.
    Paid {
        is_late: bool,
        asked: Vec<u64>,
    },
    /// A paid order can be cancelled if its ticket is free.
    Cancelled {
        is_free: bool,
    },
    Expired,
    Extended {
        expires_at_ms: u64,
    },
    /// The payment that bought the order went back.
    Refunded,
    /// A refund is due, or is settled.
    Refund {
        for_status: Status,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Observation {
    /// The order has this version and one of these statuses.
    Order { order: String, version: Option<u64>, statuses: Vec<Status> },
    /// The order does not exist.
    NoOrder { order: String },
    /// One of these orders holds the ticket until after this time and awaits payment.
    Reserved { by: Vec<String>, after_ms: u64 },
    /// None of these orders has the ticket, unless its hold has ended by this time.
    NotHeld { by: Vec<String>, end_ms: u64 },
    /// One of these orders is paid and has the ticket.
    Sold { to: Vec<String> },
    /// The ticket is unknown.
    UnknownTicket,
    /// The order has expired, and the ticket, at one of these versions, is sold or held until after
    /// this time.
    TakenOver { order: String, after_ms: u64, versions: Vec<u64> },
}

/// The deepest point of a failed search.
pub(super) struct DeadEnd {
    pub(super) ticket: Ticket,
    /// The next step by time, which is not possible.
    pub(super) step: Step,
}

impl Ticket {
    fn status(&self, order: &str) -> Option<Status> {
        self.orders.get(order).map(|state| state.status)
    }

    /// Returns the ticket after the change, or `None` if the change is not possible.
    fn apply(&self, order: &str, version: u64, change: &Change) -> Option<Self> {
        let mut after = self.clone();
        let next = self.orders.get(order).map_or(0, |state| state.version + 1);
        let is_holder = self.holder.as_deref() == Some(order);
        let before = self.status(order);
        let mut expires_at_ms = self.orders.get(order).map_or(0, |state| state.expires_at_ms);
        let (status, holder) = match (change, before) {
            (Change::Created { ticket_version, status, expires_at_ms: end_ms }, None)
                if self.holder.is_none() =>
            {
                after.newest_version = ticket_version.unwrap_or(self.newest_version);
                expires_at_ms = *end_ms;
                (*status, Some(order.to_owned()))
            }
            (Change::Paid { is_late: false, .. }, Some(Status::Awaiting)) if is_holder => {
                (Status::Paid, self.holder.clone())
            }
            (Change::Paid { asked, .. }, Some(Status::Awaiting | Status::Expired))
                if self.holder.is_none() || is_holder =>
            {
                after.newest_version = self.earliest_of(asked)?;
                (Status::Paid, Some(order.to_owned()))
            }
            (Change::Cancelled { is_free: false }, Some(Status::Awaiting))
            | (Change::Cancelled { is_free: true }, Some(Status::Paid))
                if is_holder =>
            {
                (Status::Cancelled, None)
            }
            (Change::Cancelled { .. }, Some(Status::Expired)) => {
                (Status::Cancelled, self.holder.clone())
            }
            (Change::Extended { expires_at_ms: end_ms }, Some(Status::Awaiting)) if is_holder => {
                expires_at_ms = *end_ms;
                (Status::Awaiting, self.holder.clone())
            }
            (Change::Refunded, Some(Status::Paid)) if is_holder => (Status::Refunded, None),
            (Change::Expired, Some(Status::Awaiting)) if is_holder => (Status::Expired, None),
            (Change::Refund { for_status }, Some(status)) if status == *for_status => {
                (status, self.holder.clone())
            }
            _ => return None,
        };
        after.holder = holder;
        after.orders.insert(order.to_owned(), OrderState { version, status, expires_at_ms });
        (version == next && after.newest_version >= self.newest_version).then_some(after)
    }

    /// Returns the first of these ticket versions that is not older than a version seen before.
    fn earliest_of(&self, versions: &[u64]) -> Option<u64> {
        versions.iter().copied().filter(|version| *version >= self.newest_version).min()
    }

    fn allows(&self, observation: &Observation) -> bool {
        let holder = self.holder.as_ref().and_then(|order| Some((order, self.orders.get(order)?)));
        let is_held_after = |state: &OrderState, at_ms: u64| {
            state.status == Status::Awaiting && state.expires_at_ms > at_ms
        };
        match observation {
            Observation::Order { order, version, statuses } => {
                self.orders.get(order).is_some_and(|state| {
                    version.is_none_or(|version| version == state.version)
                        && statuses.contains(&state.status)
                })
            }
            Observation::NoOrder { order } => !self.orders.contains_key(order),
            Observation::Reserved { by, after_ms } => holder.is_some_and(|(order, state)| {
                is_held_after(state, *after_ms) && by.contains(order)
            }),
            Observation::NotHeld { by, end_ms } => holder.is_none_or(|(order, state)| {
                let is_held = state.status == Status::Paid || is_held_after(state, *end_ms);
                !is_held || !by.contains(order)
            }),
            Observation::Sold { to } => holder
                .is_some_and(|(order, state)| state.status == Status::Paid && to.contains(order)),
            Observation::UnknownTicket => self.orders.is_empty(),
            Observation::TakenOver { order, after_ms, versions } => {
                self.status(order) == Some(Status::Expired)
                    && self.earliest_of(versions).is_some()
                    && holder.is_some_and(|(_, state)| {
                        state.status == Status::Paid || is_held_after(state, *after_ms)
                    })
            }
        }
    }

    /// Whether the step is possible and changes nothing.
    fn is_unchanged_by(&self, kind: &StepKind) -> bool {
        match kind {
            StepKind::Change { .. } => false,
            StepKind::Seen { versions } => self.earliest_of(versions) == Some(self.newest_version),
            StepKind::Observation(observation) => self.allows(observation),
        }
    }

    /// Returns the ticket after a step that changes it, or `None` if the step is not possible.
    fn after(&self, kind: &StepKind) -> Option<Self> {
        match kind {
            StepKind::Change { order, version, change } => self.apply(order, *version, change),
            StepKind::Seen { versions } => {
                let newest_version = self.earliest_of(versions)?;
                Some(Self { newest_version, ..self.clone() })
            }
            StepKind::Observation(_) => None,
        }
    }
}

/// Searches for an order of all steps, each between its two times, in which every step is possible.
///
/// A possible observation is taken immediately, because it changes nothing. Only the order of
/// changes is searched.
pub(super) fn search(steps: &[Step]) -> Result<(), Box<DeadEnd>> {
    let mut tried = HashSet::new();
    let mut open = vec![(vec![false; steps.len()], Ticket::default())];
    let mut furthest: Option<(usize, DeadEnd)> = None;
    while let Some((mut done, ticket)) = open.pop() {
        apply_observations(steps, &mut done, &ticket);
        if !tried.insert(done.clone()) {
            continue;
        }
        let Some(first_deadline) = first_deadline(steps, &done) else { return Ok(()) };
        let mut next: Vec<_> = ready(steps, &done).collect();
        // The last entry is popped first: the change with the earliest end.
        next.sort_by_key(|at| std::cmp::Reverse(steps[*at].to_ms));
        for at in next {
            if let Some(after) = ticket.after(&steps[at].kind) {
                let mut done = done.clone();
                done[at] = true;
                open.push((done, after));
            }
        }
        let depth = done.iter().filter(|done| **done).count();
        if furthest.as_ref().is_none_or(|(deepest, _)| depth > *deepest) {
            furthest = Some((depth, DeadEnd { ticket, step: steps[first_deadline].clone() }));
        }
    }
    furthest.map_or(Ok(()), |(_, dead_end)| Err(Box::new(dead_end)))
}

fn apply_observations(steps: &[Step], done: &mut [bool], ticket: &Ticket) {
    loop {
        let observation = ready(steps, done).find(|at| ticket.is_unchanged_by(&steps[*at].kind));
        match observation {
            Some(at) => done[at] = true,
            None => return,
        }
    }
}

/// Returns the steps that can come next: no remaining step ended before they began.
fn ready(steps: &[Step], done: &[bool]) -> impl Iterator<Item = usize> {
    let left = || (0..steps.len()).filter(|at| !done[*at]);
    let end = left().map(|at| steps[at].to_ms).min().unwrap_or_default();
    left().filter(move |at| {
        steps[*at].from_ms <= end && steps[*at].after.is_none_or(|before| done[before])
    })
}

fn first_deadline(steps: &[Step], done: &[bool]) -> Option<usize> {
    (0..steps.len()).filter(|at| !done[*at]).min_by_key(|at| steps[*at].to_ms)
}

//! One ticket as an abstract thing, and the search for an order of operations that explains all that
//! was seen of it (linearizability: Herlihy and Wing, 1990; the search is Wing and Gong's, 1993).

use std::collections::{BTreeMap, HashSet};

/// An order, as the model knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) version: u64,
    pub(super) status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Awaiting,
    Paid,
    Cancelled,
    Expired,
}

impl Status {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "awaiting_payment" => Self::Awaiting,
            "paid" => Self::Paid,
            "cancelled" => Self::Cancelled,
            "expired" => Self::Expired,
            _ => return None,
        })
    }
}

/// A ticket: who has it, and the orders for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The order that has it.
    pub(super) with: Option<String>,
    pub(super) orders: BTreeMap<String, Known>,
    /// The newest version that an order was placed at.
    newest: u64,
}

/// Something that happened at one instant between two times.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) what: What,
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    /// Who saw it, in words.
    pub(super) seen: String,
    /// A step that comes before it.
    pub(super) after: Option<usize>,
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A change of an order, to this version.
    Change { order: String, version: u64, change: Change },
    /// A look at something, which changes nothing.
    Look(Look),
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    /// At this version of the ticket, if anybody was shown it.
    Created {
        ticket_version: Option<u64>,
    },
    Paid,
    Cancelled,
    Expired,
    Refund {
        for_status: Status,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Look {
    /// The order is at this version and in one of these statuses.
    Order { order: String, version: Option<u64>, statuses: Vec<Status> },
    /// There is no such order.
    NoOrder { order: String },
    /// An order that awaits payment has the ticket, one of these.
    Reserved { by: Vec<String> },
    /// A paid order has the ticket.
    Sold,
    /// Nobody knows the ticket.
    Unknown,
    /// The order has expired, and the ticket is sold or with one of these.
    TakenFrom { order: String, by: Vec<String> },
}

/// Where the search got stuck.
pub(super) struct Stuck {
    pub(super) ticket: Ticket,
    /// The step that had to come next and could not.
    pub(super) step: Step,
}

impl Ticket {
    fn status(&self, order: &str) -> Option<Status> {
        self.orders.get(order).map(|known| known.status)
    }

    /// Whether the change can happen now; and the ticket after it.
    fn changed(&self, order: &str, version: u64, change: &Change) -> Option<Self> {
        let mut after = self.clone();
        let next = self.orders.get(order).map_or(0, |known| known.version + 1);
        let has_it = self.with.as_deref() == Some(order);
        let before = self.status(order);
        let (status, with) = match (change, before) {
            (Change::Created { ticket_version }, None) if self.with.is_none() => {
                after.newest = ticket_version.unwrap_or(self.newest);
                (Status::Awaiting, Some(order.to_owned()))
            }
            (Change::Paid, Some(Status::Awaiting)) if has_it => (Status::Paid, self.with.clone()),
            (Change::Paid, Some(Status::Expired)) if self.with.is_none() => {
                (Status::Paid, Some(order.to_owned()))
            }
            (Change::Cancelled, Some(Status::Awaiting)) if has_it => (Status::Cancelled, None),
            (Change::Expired, Some(Status::Awaiting)) if has_it => (Status::Expired, None),
            (Change::Refund { for_status }, Some(status)) if status == *for_status => {
                (status, self.with.clone())
            }
            _ => return None,
        };
        after.with = with;
        after.orders.insert(order.to_owned(), Known { version, status });
        (version == next && after.newest >= self.newest).then_some(after)
    }

    fn shows(&self, look: &Look) -> bool {
        let holder = self.with.as_ref().and_then(|order| Some((order, self.status(order)?)));
        match look {
            Look::Order { order, version, statuses } => {
                self.orders.get(order).is_some_and(|known| {
                    version.is_none_or(|version| version == known.version)
                        && statuses.contains(&known.status)
                })
            }
            Look::NoOrder { order } => !self.orders.contains_key(order),
            Look::Reserved { by } => holder
                .is_some_and(|(order, status)| status == Status::Awaiting && by.contains(order)),
            Look::Sold => holder.is_some_and(|(_, status)| status == Status::Paid),
            Look::Unknown => self.orders.is_empty(),
            Look::TakenFrom { order, by } => {
                self.status(order) == Some(Status::Expired)
                    && holder.is_some_and(|(holder, status)| {
                        status == Status::Paid || by.contains(holder)
                    })
            }
        }
    }
}

/// Looks for an order of all steps, each between its two times, in which every one makes sense.
///
/// A look that makes sense now is taken now, since it changes nothing; only changes are tried one
/// after the other.
pub(super) fn search(steps: &[Step]) -> Result<(), Box<Stuck>> {
    let mut tried = HashSet::new();
    let mut open = vec![(vec![false; steps.len()], Ticket::default())];
    let mut furthest: Option<(usize, Stuck)> = None;
    while let Some((mut done, ticket)) = open.pop() {
        take_looks(steps, &mut done, &ticket);
        if !tried.insert(done.clone()) {
            continue;
        }
        let Some(first_to_end) = first_to_end(steps, &done) else { return Ok(()) };
        let mut next: Vec<_> = ready(steps, &done).collect();
        // The one that ends first is tried first.
        next.sort_by_key(|at| std::cmp::Reverse(steps[*at].to_ms));
        for at in next {
            let What::Change { order, version, change } = &steps[at].what else { continue };
            if let Some(after) = ticket.changed(order, *version, change) {
                let mut done = done.clone();
                done[at] = true;
                open.push((done, after));
            }
        }
        let depth = done.iter().filter(|done| **done).count();
        if furthest.as_ref().is_none_or(|(deepest, _)| depth > *deepest) {
            furthest = Some((depth, Stuck { ticket, step: steps[first_to_end].clone() }));
        }
    }
    furthest.map_or(Ok(()), |(_, stuck)| Err(Box::new(stuck)))
}

fn take_looks(steps: &[Step], done: &mut [bool], ticket: &Ticket) {
    loop {
        let look = ready(steps, done)
            .find(|at| matches!(&steps[*at].what, What::Look(look) if ticket.shows(look)));
        match look {
            Some(at) => done[at] = true,
            None => return,
        }
    }
}

/// The steps that may come next: none that is left ended before they began.
fn ready(steps: &[Step], done: &[bool]) -> impl Iterator<Item = usize> {
    let left = || (0..steps.len()).filter(|at| !done[*at]);
    let end = left().map(|at| steps[at].to_ms).min().unwrap_or_default();
    left().filter(move |at| {
        steps[*at].from_ms <= end && steps[*at].after.is_none_or(|before| done[before])
    })
}

fn first_to_end(steps: &[Step], done: &[bool]) -> Option<usize> {
    (0..steps.len()).filter(|at| !done[*at]).min_by_key(|at| steps[*at].to_ms)
}

//! Whether what was seen of the service makes sense.
//!
//! Written from the design alone: it shares nothing with the service's code, so that a mistake there
//! is not made here as well. What can be said record by record is checked record by record; then all
//! that was seen of one ticket must fit one order of operations.

mod facts;
mod steps;

use std::fmt;

use super::{History, model};

/// The first thing that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction(String);

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Contradiction {}

/// Explains a history by one order of operations for each ticket.
///
/// # Errors
/// The first [`Contradiction`], if there is no such order. The orders of operations are looked for
/// only in a history that is complete: until then, what was seen may come of changes still untold.
pub fn explain(history: &History) -> Result<(), Contradiction> {
    let facts = facts::Facts::of(history)?;
    if !history.complete {
        return Ok(());
    }
    facts.every_charge_is_booked_once()?;
    for ticket in facts.tickets() {
        let steps = steps::of_ticket(&facts, ticket)?;
        model::search(&steps).map_err(|stuck| {
            let (step, state) = (&stuck.step, &stuck.ticket);
            Contradiction(format!(
                "{ticket}: between {} and {}, {}; but then the ticket is with {:?}, its orders are {:?}",
                step.from_ms, step.to_ms, step.seen, state.with, state.orders
            ))
        })?;
    }
    Ok(())
}

fn contradiction<T>(what: impl Into<String>) -> Result<T, Contradiction> {
    Err(Contradiction(what.into()))
}

fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), Contradiction> {
    if holds { Ok(()) } else { contradiction(what()) }
}

#[cfg(test)]
mod tests;

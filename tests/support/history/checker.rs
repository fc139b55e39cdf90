//! Checker of a history.
//!
//! Derived from the design alone, without the service's code, so that both do not share a mistake.
//! Single records are checked first. Then a search looks for a sequential order of operations that
//! explains all observations of a ticket.

mod holds;
mod index;
mod steps;

use std::fmt;

use super::{History, model};

/// The first observation that cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction(String);

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Contradiction {}

/// Checks that a sequential order of operations explains the history of each ticket.
///
/// # Errors
/// The first [`Contradiction`]. The search runs only on a complete history: in an incomplete
/// history the cause of an observation may not be published yet.
pub fn check_history(history: &History) -> Result<(), Contradiction> {
    let index = index::Index::new(history)?;
    if !history.complete {
        return Ok(());
    }
    index.check_payments()?;
    index.check_refunds()?;
    holds::check_holds(&index)?;
    for ticket in index.tickets() {
        let steps = steps::of_ticket(&index, ticket)?;
        model::search(&steps).map_err(|dead_end| {
            let (step, state) = (&dead_end.step, &dead_end.ticket);
            Contradiction(format!(
                "{ticket}: no explanation for \"{2}\" between {0} and {1}; holder {3:?}, orders {4:?}",
                step.from_ms, step.to_ms, step.description, state.holder, state.orders
            ))
        })?;
    }
    Ok(())
}

fn contradiction<T>(message: impl Into<String>) -> Result<T, Contradiction> {
    Err(Contradiction(message.into()))
}

fn require(condition: bool, message: impl FnOnce() -> String) -> Result<(), Contradiction> {
    if condition { Ok(()) } else { contradiction(message()) }
}

#[cfg(test)]
mod tests;

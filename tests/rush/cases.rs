//! The cases of a rush, each with a check of its figures under the settings "after".

mod account;
mod neighbours;
mod opening;
mod outage;
mod single_ticket;
mod steady;
mod timers;

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{gateway::Response, report::Report, settings::Settings, world::World};

/// Size of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As `make rush` runs it.
    Full,
    /// A few seconds in a debug build.
    Short,
}

impl Scale {
    /// The value of this scale.
    pub(crate) fn of<T>(self, full: T, short: T) -> T {
        match self {
            Self::Full => full,
            Self::Short => short,
        }
    }
}

/// A case.
pub(crate) struct Case {
    pub(crate) number: u32,
    pub(crate) title: &'static str,
    /// Runs the case, once or more often.
    pub(crate) run: fn(Settings, u64, Scale) -> Vec<Report>,
    /// Checks the figures. Panics if one is wrong.
    pub(crate) check: fn(&[Report], Scale),
}

/// All cases.
pub(crate) const CASES: [Case; 8] = [
    opening::CASE,
    single_ticket::CASE,
    timers::CASE,
    steady::CASE,
    outage::CASE,
    account::CASE,
    neighbours::SELLER,
    neighbours::OF_BOT,
];

/// Wait of a buyer before the same request is sent again: as the response asks, or 1 to 3 seconds.
pub(crate) async fn wait_for_retry(world: &World, response: &Response) {
    let own = Duration::from_secs(1) + world.up_to(Duration::from_secs(2));
    sleep(response.retry_after.unwrap_or(own)).await;
}

/// Orders a ticket, and again after a refusal that may pass, at most so many times.
pub(crate) async fn insist(world: &Arc<World>, buyer: &str, ticket: &str, most: u32) -> Response {
    let mut response = world.order(buyer, ticket).await;
    for _ in 1..most {
        if !(response.is("429") || response.is("503")) {
            break;
        }
        wait_for_retry(world, &response).await;
        response = world.order(buyer, ticket).await;
    }
    response
}

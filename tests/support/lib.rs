//! Support for the tests: API Gateway events, stores, the deployed stack, and the history checker.

pub mod aws_responses;
pub mod bus;
pub mod buyers;
pub mod dynamodb;
pub mod events;
pub mod gateway;
pub mod history;
pub mod recording;
pub mod schemas;
pub mod stack;
pub mod stale_read_store;
pub mod stores;

/// Whether this number of concurrent writes can exhaust the attempts of a use case. A conflict can take two
/// attempts: the next one reads the ticket. The expiry before a payment takes one more.
pub fn can_exhaust_attempts(writes: u64) -> bool {
    writes >= u64::from(orders_lambda::retry::MAX_ATTEMPTS / 2 - 1)
}

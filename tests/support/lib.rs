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

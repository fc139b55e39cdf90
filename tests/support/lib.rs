//! What the tests share: requests as API Gateway sends them, and the deployed stack.

pub mod aws_responses;
pub mod bus;
pub mod buyers;
pub mod gateway;
pub mod history;
pub mod measures;
pub mod memory;
pub mod recording;
pub mod schemas;
pub mod stack;
pub mod stale_read_store;
pub mod stores;

//! Edge between AWS Lambda and the use cases: configuration, AWS clients, HTTP requests and responses,
//! batches, retries, time limits, logs and metrics. A function's `main` wires this crate to its use case.

pub mod aws;
pub mod clock;
pub mod command;
pub mod config;
pub mod http;
pub mod problem;
pub mod queue;
pub mod retry;
pub mod schedule;
pub mod stream;
pub mod telemetry;

pub use orders_domain::BoxError;

//! The edge between AWS Lambda and the use cases: configuration, the AWS SDK, the caller, answers,
//! batches, time limits and the log. A function's `main` wires what is here to its use case.

pub mod aws;
pub mod clock;
pub mod config;
pub mod http;
pub mod problem;
pub mod queue;
pub mod retry;
pub mod stream;
pub mod telemetry;

pub use orders_domain::BoxError;

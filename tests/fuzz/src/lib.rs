//! Fuzz targets for every parser of untrusted input. A target is a function that panics if a
//! property does not hold for an input. The ordinary tests run the targets on the corpus and on
//! mutations (`short_run.rs`); libFuzzer runs them with coverage feedback (`make fuzz`).

mod fixture;
mod http;
mod messages;
mod stream;
mod values;

pub use http::{http_event, http_request};
pub use messages::{expiry_message, payment_event, sqs_batch, ticket_event};
pub use stream::{stream_batch, stream_image};
pub use values::{cursor, id, price};

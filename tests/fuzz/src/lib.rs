//! What reads bytes from outside, and what must hold whatever those bytes are. A target is a plain
//! function that takes an input and panics if its promise is broken. The ordinary tests call it with
//! the kept inputs and mutations of them (`short_run.rs`), libFuzzer with what covers new code
//! (`make fuzz`).

mod http;
mod messages;
mod shop;
mod stream;
mod values;

pub use http::{http_event, http_request};
pub use messages::{expiry_message, payment_event, sqs_batch, ticket_event};
pub use stream::{stream_batch, stream_image};
pub use values::{cursor, id, price};

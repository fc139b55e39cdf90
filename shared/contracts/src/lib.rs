//! JSON of the HTTP API and of the events. Every type here is converted to and from the domain by hand,
//! so that a change of the domain never changes the contract by accident.

mod correlation;
mod cursor;
mod expiry;
mod json;
mod list;

mod create_order;
mod order;
mod order_event;
mod payment_event;
mod price;
mod problem;
mod ticket_event;

pub use correlation::correlation_id;
pub use create_order::{CreateOrderBody, parse_create_order};
pub use cursor::{CursorError, decode_cursor, encode_cursor};
pub use expiry::{ExpiryMessage, ExpiryMessageError};
pub use json::JsonError;
pub use list::{ListParameters, sort_name};
pub use order::{OrderBody, RefundBody, TicketBody, etag};
pub use order_event::{OutgoingEvent, SOURCE};
pub use payment_event::{PaymentEvent, PaymentEventError};
pub use price::{PriceError, parse_price};
pub use problem::{FieldError, ProblemBody};
pub use ticket_event::{TicketEvent, TicketEventError};

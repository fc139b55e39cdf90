//! The rules of an order: what a buyer may do, when a hold lapses, which ticket version wins.
//!
//! Everything here is a value or a pure function. There is no AWS, no JSON and no clock: time and
//! ids come in as arguments, and storage is behind the one port, [`OrderStore`].

mod event;
mod ids;
mod order;
mod price;
mod store;
mod ticket;
mod time;

pub use event::OrderEvent;
pub use ids::{CorrelationId, IdError, IdempotencyKey, OrderId, PaymentId, TicketId, UserId};
pub use order::{
    Command, Decision, LockChange, NewOrder, Order, OrderVersion, RefundDue, RefundReason, Refusal,
    Status, Transition, decide,
};
pub use price::{Price, PriceTooLarge};
pub use store::{
    BoxError, CommitOutcome, Direction, ListQuery, OrderStore, Page, PageSize, PageSizeError,
    PlaceOutcome, Placement, Position, StoreError, TicketOutcome,
};
pub use ticket::{
    Availability, Lock, Ticket, TicketReplica, TicketRule, TicketVersion, Title, TitleError,
    UpdateKind, Verdict, rule_for,
};
pub use time::Timestamp;

//! Rules of an order: the commands a buyer may give, the end of a hold, the ticket version that wins.
//!
//! Everything here is a value or a pure function, without AWS, JSON or a clock: times and ids are
//! arguments, and storage is behind one port, [`OrderStore`].

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

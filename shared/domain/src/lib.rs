//! Rules of an order: the commands a buyer may give, the end of a hold, the ticket version that wins.
//!
//! Everything here is a value or a pure function, without AWS, JSON or a clock: times and ids are
//! arguments, and storage is behind one port, [`OrderStore`].

mod decide;
mod event;
mod ids;
mod order;
mod payment;
mod price;
mod slot;
mod store;
mod takeover;
mod ticket;
mod time;
mod trace;

pub use decide::{
    Change, Command, Decision, LockChange, Refusal, SlotChange, TicketState, Transition, decide,
};
pub use event::OrderEvent;
pub use ids::{CorrelationId, IdError, IdempotencyKey, OrderId, PaymentId, TicketId, UserId};
pub use order::{NewOrder, Order, OrderVersion, Status};
pub use payment::{BookedPayment, Payment, PaymentResult, RefundDue, RefundReason, RefundState};
pub use price::{Price, PriceTooLarge};
pub use slot::{NoSlot, Slot, SlotCount, SlotCountError, Slots};
pub use store::{
    BoxError, CommitOutcome, Direction, LapsedHolds, LapsedPage, ListQuery, OrderStore, Page,
    PageSize, PageSizeError, PlaceOutcome, Placement, Position, ScanPosition, StoreError,
    TicketOutcome,
};
pub use takeover::{Availability, FoundTicket, Takeover};
pub use ticket::{
    Lock, Sale, Ticket, TicketReplica, TicketRule, TicketVersion, Title, TitleError, UpdateKind,
    Verdict, rule_for,
};
pub use time::Timestamp;
pub use trace::{NotATraceParent, TraceParent};

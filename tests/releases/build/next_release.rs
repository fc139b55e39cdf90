//! The next release, as edits of this release, in its two steps.
//!
//! It adds a status of orders (`returned`: a ticket that cost nothing was given back), an attribute of
//! orders and refunds (`channel`), a reason for refunds (`amount_too_small`), and a format of tickets
//! (`schema` 2, with `audience`), which older readers would misread.

/// An edit of a source file.
#[derive(Clone, Copy)]
pub(crate) struct Edit {
    /// Path of the file.
    pub(crate) file: &'static str,
    /// Text to find, at least once.
    pub(crate) find: &'static str,
    /// Change of each occurrence.
    pub(crate) change: Change,
}

/// Change of a text.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    /// This text follows.
    After(&'static str),
    /// This text replaces the text.
    Instead(&'static str),
}

const fn after(file: &'static str, find: &'static str, text: &'static str) -> Edit {
    Edit { file, find, change: Change::After(text) }
}

const fn instead(file: &'static str, find: &'static str, text: &'static str) -> Edit {
    Edit { file, find, change: Change::Instead(text) }
}

const DECIDE: &str = "shared/domain/src/decide.rs";
const EVENT: &str = "shared/domain/src/event.rs";
const ORDER: &str = "shared/domain/src/order.rs";
const PAYMENT: &str = "shared/domain/src/payment.rs";
const TAKEOVER: &str = "shared/domain/src/takeover.rs";
const ORDER_BODY: &str = "shared/contracts/src/order.rs";
const ITEMS: &str = "shared/dynamo/src/items.rs";
const STORE: &str = "shared/dynamo/src/lib.rs";
const ITEM_WRITES: &str = "shared/dynamo/src/writes.rs";

/// An optional number of an item.
const CHANNEL_FIELD: &str =
    "    #[serde(default, skip_serializing_if = \"Option::is_none\")]\n    channel: Option<u8>,\n";

/// First step: the release reads the new values and writes none of them.
pub(crate) const READS: &[Edit] = &[
    // The status, with the rules of `cancelled`.
    after(ORDER, "    Cancelled,\n", "    Returned,\n"),
    after(ORDER, r#"Self::Cancelled => "cancelled","#, r#" Self::Returned => "returned","#),
    after(ORDER, "Self::Cancelled |", " Self::Returned |"),
    after(ORDER, "| Status::Cancelled", " | Status::Returned"),
    instead(
        ORDER,
        "Status::Cancelled | Status::Expired =>",
        "Status::Cancelled | Status::Returned | Status::Expired =>",
    ),
    after(ORDER_BODY, "| Status::Cancelled", " | Status::Returned"),
    instead(EVENT, "Status::Cancelled =>", "Status::Cancelled | Status::Returned =>"),
    after(TAKEOVER, "Status::Cancelled |", " Status::Returned |"),
    after(DECIDE, "use Status::{", "Returned, "),
    after(DECIDE, "(Cancelled |", " Returned |"),
    after(DECIDE, "| Cancelled |", " Returned |"),
    after(DECIDE, "| Status::Cancelled", " | Status::Returned"),
    instead(DECIDE, "Status::Cancelled =>", "Status::Cancelled | Status::Returned =>"),
    instead(ITEMS, "    Cancelled,\n    Expired,", "    Cancelled,\n    Returned,\n    Expired,"),
    after(
        ITEMS,
        "Status::Cancelled => (StatusField::Cancelled, None),",
        " Status::Returned => (StatusField::Returned, None),",
    ),
    after(
        ITEMS,
        "(StatusField::Cancelled, None) => Status::Cancelled,",
        " (StatusField::Returned, None) => Status::Returned,",
    ),
    after(ITEMS, "| StatusField::Cancelled |", " StatusField::Returned |"),
    after(ITEM_WRITES, "IN (:cancelled,", " :returned,"),
    after(
        ITEM_WRITES,
        r#".expression_attribute_values(":cancelled", text(&Status::Cancelled.name()))"#,
        r#".expression_attribute_values(":returned", text(&Status::Returned.name()))"#,
    ),
    // The attribute of orders.
    instead(
        ORDER,
        "    pub traceparent: Option<TraceParent>,\n}\n\n/// A request",
        "    pub traceparent: Option<TraceParent>,\n    pub channel: Option<u8>,\n}\n\n/// A request",
    ),
    after(ORDER, "slot: None,", " channel: None,"),
    after(ITEMS, "    correlation_id: String,\n", CHANNEL_FIELD),
    after(ITEMS, "correlation_id: order.correlation_id.to_string(),", " channel: order.channel,"),
    after(ITEMS, "correlation_id: item.correlation_id.parse()?,", " channel: item.channel,"),
    // The attribute of refunds.
    after(PAYMENT, "    pub state: RefundState,\n", "    pub channel: Option<u8>,\n"),
    after(PAYMENT, "state: RefundState::Due", ", channel: None"),
    after(ITEMS, "    reason: RefundReasonField,\n", CHANNEL_FIELD),
    after(ITEMS, "reason: refund.reason.into(),", " channel: refund.channel,"),
    after(ITEMS, "reason: item.reason.into(),", " channel: item.channel,"),
    // The reason for refunds.
    after(PAYMENT, "    WrongAmount,\n", "    AmountTooSmall,\n"),
    after(
        PAYMENT,
        r#"Self::WrongAmount => "wrong_amount","#,
        r#" Self::AmountTooSmall => "amount_too_small","#,
    ),
    after(ITEMS, "    WrongAmount,\n", "    AmountTooSmall,\n"),
    after(
        ITEMS,
        "RefundReason::WrongAmount => Self::WrongAmount,",
        " RefundReason::AmountTooSmall => Self::AmountTooSmall,",
    ),
    after(
        ITEMS,
        "RefundReasonField::WrongAmount => Self::WrongAmount,",
        " RefundReasonField::AmountTooSmall => Self::AmountTooSmall,",
    ),
    // The format of tickets.
    instead(ITEMS, "SCHEMA: u64 = 1;", "SCHEMA: u64 = 2;"),
];

/// Second step, on top of the first: the release writes the new values.
pub(crate) const WRITES: &[Edit] = &[
    instead(
        DECIDE,
        "(Free, Command::Cancel) => end(order, Cancelled, ticket)",
        "(Free, Command::Cancel) => end(order, Returned, ticket)",
    ),
    instead(ORDER, "channel: None,", "channel: Some(1),"),
    instead(PAYMENT, "channel: None", "channel: Some(2)"),
    instead(
        DECIDE,
        "Unbought::Refund(RefundReason::WrongAmount)",
        "Unbought::Refund(match payment.amount {
            Some(amount) if amount < order.ticket.price => RefundReason::AmountTooSmall,
            Some(_) | None => RefundReason::WrongAmount,
        })",
    ),
    // Version 3 of a ticket is for members only: an older release would sell the ticket to anyone.
    instead(
        STORE,
        "#version = :version REMOVE #withdrawn\",\n",
        "#version = :version REMOVE #withdrawn, #audience, #schema\",\n",
    ),
    instead(
        STORE,
        "Sale::Open(ticket) => request",
        r##"Sale::Open(ticket) if ticket.version.number() == 3 => request
            .update_expression("SET #title = :title, #price = :price, #version = :version, \
                #audience = :audience, #schema = :schema REMOVE #withdrawn")
            .expression_attribute_names("#title", "title")
            .expression_attribute_names("#price", "price")
            .expression_attribute_names("#audience", "audience")
            .expression_attribute_values(":audience", text(&"members"))
            .expression_attribute_values(":title", text(&ticket.title))
            .expression_attribute_values(":price", number(ticket.price.minor())),
        Sale::Open(ticket) => request
            .expression_attribute_names("#audience", "audience")"##,
    ),
];

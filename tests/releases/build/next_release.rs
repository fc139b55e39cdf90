//! The next release, as edits of this release, in its two steps.
//!
//! It adds a status of orders (`returned`: a ticket that cost nothing was given back), an attribute of
//! orders and refunds (`channel`), a reason for refunds (`amount_too_small`), and a format of tickets
//! (`schema` 2, with `audience`), which older readers would misread.

/// One replacement in a source file.
#[derive(Clone, Copy)]
pub(crate) struct Edit {
    /// Path of the file.
    pub(crate) file: &'static str,
    /// Text to find.
    pub(crate) find: &'static str,
    /// Text in its place.
    pub(crate) replace: &'static str,
    /// Whether the text may occur more than once.
    pub(crate) every: bool,
}

/// An edit of a text that occurs once.
const fn once(file: &'static str, find: &'static str, replace: &'static str) -> Edit {
    Edit { file, find, replace, every: false }
}

/// An edit of each occurrence of a text.
const fn every(file: &'static str, find: &'static str, replace: &'static str) -> Edit {
    Edit { file, find, replace, every: true }
}

const DECIDE: &str = "shared/domain/src/decide.rs";
const EVENT: &str = "shared/domain/src/event.rs";
const ORDER: &str = "shared/domain/src/order.rs";
const ORDER_BODY: &str = "shared/contracts/src/order.rs";
const PAYMENT: &str = "shared/domain/src/payment.rs";
const TAKEOVER: &str = "shared/domain/src/takeover.rs";
const ITEMS: &str = "shared/dynamo/src/items.rs";
const STORE: &str = "shared/dynamo/src/lib.rs";
const WRITE: &str = "shared/dynamo/src/writes.rs";

/// First step: the release reads the new values and writes none of them.
pub(crate) const READS: &[Edit] = &[
    // The status, which has the rules of `cancelled`.
    once(ORDER, "    Cancelled,\n", "    Cancelled,\n    Returned,\n"),
    once(
        ORDER,
        "Self::Cancelled => \"cancelled\",",
        "Self::Cancelled => \"cancelled\", Self::Returned => \"returned\",",
    ),
    once(
        ORDER,
        "Self::Cancelled | Self::Expired",
        "Self::Cancelled | Self::Returned | Self::Expired",
    ),
    every(ORDER, "| Status::Cancelled\n", "| Status::Cancelled | Status::Returned\n"),
    every(ORDER_BODY, "| Status::Cancelled", "| Status::Cancelled | Status::Returned"),
    once(EVENT, "Status::Cancelled =>", "Status::Cancelled | Status::Returned =>"),
    once(
        TAKEOVER,
        "Status::Cancelled | Status::Expired",
        "Status::Cancelled | Status::Returned | Status::Expired",
    ),
    once(DECIDE, "use Status::{", "use Status::{Returned, "),
    once(
        DECIDE,
        "(Cancelled | Refunded { .. }, Command::Cancel)",
        "(Cancelled | Returned | Refunded { .. }, Command::Cancel)",
    ),
    every(DECIDE, "| Cancelled | Expired", "| Cancelled | Returned | Expired"),
    every(DECIDE, "| Status::Cancelled", "| Status::Cancelled | Status::Returned"),
    once(DECIDE, "Status::Cancelled => refund(", "Status::Cancelled | Status::Returned => refund("),
    once(ITEMS, "    Cancelled,\n    Expired,\n", "    Cancelled,\n    Returned,\n    Expired,\n"),
    once(
        ITEMS,
        "Status::Cancelled => (StatusField::Cancelled, None),",
        "Status::Cancelled => (StatusField::Cancelled, None), Status::Returned => (StatusField::Returned, None),",
    ),
    once(
        ITEMS,
        "(StatusField::Cancelled, None) => Status::Cancelled,",
        "(StatusField::Cancelled, None) => Status::Cancelled, (StatusField::Returned, None) => Status::Returned,",
    ),
    once(ITEMS, "| StatusField::Cancelled |", "| StatusField::Cancelled | StatusField::Returned |"),
    once(WRITE, "IN (:cancelled,", "IN (:returned, :cancelled,"),
    once(
        WRITE,
        ".expression_attribute_values(\":cancelled\"",
        ".expression_attribute_values(\":returned\", text(&Status::Returned.name())).expression_attribute_values(\":cancelled\"",
    ),
    // The attribute of orders.
    once(
        ORDER,
        "    pub correlation_id: CorrelationId,\n}\n\n/// A request",
        "    pub correlation_id: CorrelationId,\n    pub channel: Option<u8>,\n}\n\n/// A request",
    ),
    once(ORDER, "slot: None,", "slot: None, channel: None,"),
    once(
        ITEMS,
        "    correlation_id: String,\n",
        "    correlation_id: String,\n    #[serde(default, skip_serializing_if = \"Option::is_none\")]\n    channel: Option<u8>,\n",
    ),
    once(
        ITEMS,
        "correlation_id: order.correlation_id.to_string(),",
        "correlation_id: order.correlation_id.to_string(), channel: order.channel,",
    ),
    once(
        ITEMS,
        "correlation_id: item.correlation_id.parse()?,",
        "correlation_id: item.correlation_id.parse()?, channel: item.channel,",
    ),
    // The attribute of refunds.
    once(
        PAYMENT,
        "    pub state: RefundState,\n",
        "    pub state: RefundState,\n    pub channel: Option<u8>,\n",
    ),
    once(PAYMENT, "state: RefundState::Due }", "state: RefundState::Due, channel: None }"),
    once(
        ITEMS,
        "    reason: RefundReasonField,\n",
        "    reason: RefundReasonField,\n    #[serde(default, skip_serializing_if = \"Option::is_none\")]\n    channel: Option<u8>,\n",
    ),
    once(
        ITEMS,
        "reason: refund.reason.into(),",
        "reason: refund.reason.into(), channel: refund.channel,",
    ),
    once(
        ITEMS,
        "reason: item.reason.into(),",
        "reason: item.reason.into(), channel: item.channel,",
    ),
    // The reason for refunds.
    once(PAYMENT, "    WrongAmount,\n", "    WrongAmount,\n    AmountTooSmall,\n"),
    once(
        PAYMENT,
        "Self::WrongAmount => \"wrong_amount\",",
        "Self::WrongAmount => \"wrong_amount\", Self::AmountTooSmall => \"amount_too_small\",",
    ),
    once(ITEMS, "    WrongAmount,\n", "    WrongAmount,\n    AmountTooSmall,\n"),
    once(
        ITEMS,
        "RefundReason::WrongAmount => Self::WrongAmount,",
        "RefundReason::WrongAmount => Self::WrongAmount, RefundReason::AmountTooSmall => Self::AmountTooSmall,",
    ),
    once(
        ITEMS,
        "RefundReasonField::WrongAmount => Self::WrongAmount,",
        "RefundReasonField::WrongAmount => Self::WrongAmount, RefundReasonField::AmountTooSmall => Self::AmountTooSmall,",
    ),
    // The format of tickets.
    once(ITEMS, "SCHEMA: u64 = 1;", "SCHEMA: u64 = 2;"),
];

/// Second step, on top of the first: the release writes the new values.
pub(crate) const WRITES: &[Edit] = &[
    once(
        DECIDE,
        "(Free, Command::Cancel) => end(order, Cancelled, ticket)",
        "(Free, Command::Cancel) => end(order, Returned, ticket)",
    ),
    once(ORDER, "channel: None,", "channel: Some(1),"),
    once(PAYMENT, "channel: None }", "channel: Some(2) }"),
    every(
        DECIDE,
        "return Err(Unbought::Refund(RefundReason::WrongAmount));",
        "return Err(Unbought::Refund(if payment.amount < Some(order.ticket.price) { RefundReason::AmountTooSmall } else { RefundReason::WrongAmount }));",
    ),
    // Version 3 of a ticket is for members only: an older release would sell it to anyone.
    once(
        STORE,
        "Sale::Open(ticket) => request",
        "Sale::Open(ticket) if ticket.version.number() == 3 => request
            .update_expression(\"SET #title = :title, #price = :price, #version = :version, \\
                #audience = :audience, #schema = :schema REMOVE #withdrawn\")
            .expression_attribute_names(\"#title\", \"title\")
            .expression_attribute_names(\"#price\", \"price\")
            .expression_attribute_names(\"#audience\", \"audience\")
            .expression_attribute_values(\":audience\", text(&\"members\"))
            .expression_attribute_values(\":title\", text(&ticket.title))
            .expression_attribute_values(\":price\", number(ticket.price.minor())),
         Sale::Open(ticket) => request
            .expression_attribute_names(\"#audience\", \"audience\")",
    ),
    once(
        STORE,
        "#version = :version REMOVE #withdrawn\",\n",
        "#version = :version REMOVE #withdrawn, #audience, #schema\",\n",
    ),
];

//! Items of the four tables, converted to and from the domain.
//!
//! Unknown attributes are ignored: a newer release may have added them. An item is unreadable if its
//! `schema` is newer than [`SCHEMA`], or if a known attribute is invalid.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use orders_domain::{
    BookedPayment, BoxError, CorrelationId, Lock, Order, OrderVersion, Payment, PaymentResult,
    Position, Price, RefundDue, RefundReason, RefundState, Sale, Slot, Slots, Status, StoreError,
    Ticket, TicketReplica, TicketVersion, Timestamp,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_dynamo::aws_sdk_dynamodb_1::{from_item, to_item};

use crate::error::{invalid_request, unreadable};

/// An item, by attribute name.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// Newest format that this release can read. `schema` of an item is the number of the oldest format whose
/// reader understands the item; without the attribute it is 1. A release raises it in an item only if older
/// readers would misread the item.
pub(crate) const SCHEMA: u64 = 1;

/// Reason why an item with valid attributes is invalid as a whole.
#[derive(Debug, thiserror::Error)]
enum ItemError {
    #[error("the item has schema {0}; this release reads schemas up to {SCHEMA}")]
    Schema(u64),
    #[error("the payment id does not fit the status and the price")]
    PaymentId,
    #[error("the ticket has no title or no price, and is not withdrawn")]
    Sale,
    #[error("the item has no key")]
    Key,
    #[error("there is no slot with this number")]
    Slot,
    #[error("the time is beyond the year 9999")]
    Time,
}

/// An item of the orders table. Times are epoch milliseconds, the price is in minor units.
#[derive(Serialize, Deserialize)]
pub(crate) struct OrderItem {
    #[serde(default, skip_serializing)]
    schema: Option<u64>,
    id: String,
    user_id: String,
    ticket: TicketFields,
    status: StatusField,
    version: u64,
    created_at: u64,
    expires_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refunds_due: Vec<RefundItem>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    extended: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<u8>,
    correlation_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "hint")]
    traceparent: Option<String>,
}

/// Reads a text that the order does not need; `None` for a value of another type.
fn hint<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Hint {
        Text(String),
        Other(IgnoredAny),
    }
    Ok(match Hint::deserialize(value)? {
        Hint::Text(text) => Some(text),
        Hint::Other(IgnoredAny) => None,
    })
}

#[derive(Serialize, Deserialize)]
struct TicketFields {
    id: String,
    title: String,
    price: u64,
    version: u64,
}

/// Stored names of the statuses.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusField {
    AwaitingPayment,
    Paid,
    Cancelled,
    Expired,
    Refunded,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RefundItem {
    payment_id: String,
    reason: RefundReasonField,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount: Option<u64>,
    /// Absent: due.
    #[serde(default, skip_serializing_if = "RefundStateField::is_due")]
    state: RefundStateField,
}

/// Stored names of the states of a refund.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RefundStateField {
    #[default]
    Due,
    Settled,
}

impl RefundStateField {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_due(&self) -> bool {
        matches!(self, Self::Due)
    }
}

/// Stored names of the refund reasons.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RefundReasonField {
    AlreadyPaid,
    OrderCancelled,
    TicketTaken,
    TicketChanged,
    TooLate,
    WrongAmount,
    OrderRefunded,
}

/// An item of the tickets table. A ticket withdrawn before its first event has neither title nor price.
#[derive(Deserialize)]
pub(crate) struct TicketItem {
    schema: Option<u64>,
    id: String,
    title: Option<String>,
    price: Option<u64>,
    version: u64,
    #[serde(default)]
    withdrawn: bool,
    locked_by: Option<String>,
    locked_until: Option<u64>,
    locked_for: Option<String>,
}

/// An item of the payments table.
#[derive(Serialize, Deserialize)]
pub(crate) struct PaymentItem {
    #[serde(default, skip_serializing)]
    schema: Option<u64>,
    id: String,
    order_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount: Option<u64>,
    result: ResultField,
    sent_at: u64,
}

/// Stored names of the results of a payment: `bought`, or the reason for the refund.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ResultField {
    Bought,
    #[serde(untagged)]
    RefundDue(RefundReasonField),
}

impl OrderItem {
    pub(crate) fn into_item(self) -> Result<Item, StoreError> {
        to_item(self).map_err(invalid_request)
    }

    pub(crate) fn parse(item: Item) -> Result<Order, StoreError> {
        parse::<Self, Order>(item)
    }
}

impl RefundItem {
    pub(crate) fn into_item(self) -> Result<Item, StoreError> {
        to_item(self).map_err(invalid_request)
    }
}

impl TicketItem {
    pub(crate) fn parse(item: Item) -> Result<TicketReplica, StoreError> {
        parse::<Self, TicketReplica>(item)
    }
}

impl PaymentItem {
    pub(crate) fn into_item(self) -> Result<Item, StoreError> {
        to_item(self).map_err(invalid_request)
    }

    pub(crate) fn parse(item: Item) -> Result<BookedPayment, StoreError> {
        parse::<Self, BookedPayment>(item)
    }
}

/// The order in an image of the orders table's stream.
///
/// # Errors
/// [`StoreError::Unreadable`] if the image is not a valid order.
pub fn order_of_image(image: serde_dynamo::Item) -> Result<Order, StoreError> {
    let item: OrderItem = serde_dynamo::from_item(image).map_err(unreadable)?;
    item.try_into().map_err(StoreError::Unreadable)
}

/// The version among the attributes of a ticket; `None` if there was no ticket.
pub(crate) fn ticket_version(attributes: Item) -> Result<Option<TicketVersion>, StoreError> {
    #[derive(Deserialize)]
    struct Version {
        version: Option<u64>,
    }
    let Version { version } = from_item(attributes).map_err(unreadable)?;
    Ok(version.map(TicketVersion::new))
}

/// Prefix of the attributes of a buyer's slots. The number of the slot follows.
pub(crate) const SLOT: &str = "slot_";

/// The slots of an item of the buyers table. Other attributes are ignored.
pub(crate) fn slots(item: Item) -> Result<Slots, StoreError> {
    #[derive(Deserialize)]
    struct Schema {
        schema: Option<u64>,
    }
    let slot = |(name, value): (&String, &AttributeValue)| {
        let number = name.strip_prefix(SLOT)?.parse().ok().and_then(Slot::new)?;
        let until = value.as_n().ok()?.parse().ok().and_then(Timestamp::from_epoch_ms)?;
        Some((number, until))
    };
    let slots = item.iter().filter_map(slot).collect();
    let schema = from_item(item).map_err(unreadable);
    let checked = schema.and_then(|Schema { schema }| readable(schema).map_err(unreadable));
    // Without the item's id, which is the buyer's.
    reported(None, None, checked.map(|()| slots))
}

/// The key of an item.
pub(crate) fn key(item: &Item) -> Result<&str, StoreError> {
    let id = item.get("id").and_then(|id| id.as_s().ok());
    id.map(String::as_str).ok_or_else(|| unreadable(ItemError::Key))
}

/// Position of an order in its buyer's list, from the keys of its item.
pub(crate) fn position(item: &Item) -> Result<Position, StoreError> {
    #[derive(Deserialize)]
    struct Keys {
        id: String,
        created_at: u64,
    }
    let Keys { id, created_at } = from_item(item.clone()).map_err(unreadable)?;
    Ok(Position {
        created_at: time(created_at).map_err(unreadable)?,
        id: id.parse().map_err(unreadable)?,
    })
}

/// Parses an item.
fn parse<Fields, T>(item: Item) -> Result<T, StoreError>
where
    Fields: DeserializeOwned,
    T: TryFrom<Fields, Error = BoxError>,
{
    let text = |name| item.get(name).and_then(|text: &AttributeValue| text.as_s().ok());
    let id = text("id").cloned();
    let correlation_id = text("correlation_id").and_then(|id| id.parse().ok());
    let fields: Result<Fields, StoreError> = from_item(item).map_err(unreadable);
    let parsed = fields.and_then(|fields| fields.try_into().map_err(StoreError::Unreadable));
    reported(id.as_deref(), correlation_id.as_ref(), parsed)
}

/// Logs and counts an unreadable item here, where its ids are known.
fn reported<T>(
    id: Option<&str>,
    correlation_id: Option<&CorrelationId>,
    parsed: Result<T, StoreError>,
) -> Result<T, StoreError> {
    if let Err(StoreError::Unreadable(error)) = &parsed {
        metrics::counter!("UnreadableItems").increment(1);
        let correlation_id = correlation_id.map(CorrelationId::as_str);
        tracing::error!(item_id = id, correlation_id, error = %error, "Item cannot be read");
    }
    parsed
}

/// Checks that this release reads the schema.
fn readable(schema: Option<u64>) -> Result<(), ItemError> {
    match schema {
        Some(schema) if schema > SCHEMA => Err(ItemError::Schema(schema)),
        Some(_) | None => Ok(()),
    }
}

impl From<&Order> for OrderItem {
    fn from(order: &Order) -> Self {
        let (status, payment_id) = match &order.status {
            Status::AwaitingPayment => (StatusField::AwaitingPayment, None),
            Status::Paid { payment_id } => (StatusField::Paid, Some(payment_id.to_string())),
            Status::Free => (StatusField::Paid, None),
            Status::Cancelled => (StatusField::Cancelled, None),
            Status::Expired => (StatusField::Expired, None),
            Status::Refunded { payment_id } => {
                (StatusField::Refunded, Some(payment_id.to_string()))
            }
        };
        Self {
            schema: None,
            id: order.id.to_string(),
            user_id: order.user_id.to_string(),
            ticket: TicketFields {
                id: order.ticket.id.to_string(),
                title: order.ticket.title.to_string(),
                price: order.ticket.price.minor(),
                version: order.ticket.version.number(),
            },
            status,
            version: order.version.number(),
            created_at: order.created_at.epoch_ms(),
            expires_at: order.expires_at.epoch_ms(),
            payment_id,
            refunds_due: order.refunds_due.iter().map(RefundItem::from).collect(),
            extended: order.extended,
            slot: order.slot.map(Slot::number),
            correlation_id: order.correlation_id.to_string(),
            traceparent: order.traceparent.map(|traceparent| traceparent.to_string()),
        }
    }
}

impl TryFrom<OrderItem> for Order {
    type Error = BoxError;

    fn try_from(item: OrderItem) -> Result<Self, BoxError> {
        readable(item.schema)?;
        let ticket: Ticket = item.ticket.try_into()?;
        let status = match (item.status, item.payment_id) {
            (StatusField::AwaitingPayment, None) => Status::AwaitingPayment,
            (StatusField::Paid, Some(id)) => Status::Paid { payment_id: id.parse()? },
            (StatusField::Paid, None) if ticket.price.is_free() => Status::Free,
            (StatusField::Cancelled, None) => Status::Cancelled,
            (StatusField::Expired, None) => Status::Expired,
            (StatusField::Refunded, Some(id)) => Status::Refunded { payment_id: id.parse()? },
            (StatusField::Paid | StatusField::Refunded, None)
            | (
                StatusField::AwaitingPayment | StatusField::Cancelled | StatusField::Expired,
                Some(_),
            ) => return Err(ItemError::PaymentId.into()),
        };
        let slot = item.slot.map(|number| Slot::new(number).ok_or(ItemError::Slot)).transpose()?;
        Ok(Self {
            id: item.id.parse()?,
            user_id: item.user_id.parse()?,
            ticket,
            status,
            version: OrderVersion::new(item.version),
            created_at: time(item.created_at)?,
            expires_at: time(item.expires_at)?,
            refunds_due: item
                .refunds_due
                .into_iter()
                .map(RefundDue::try_from)
                .collect::<Result<_, _>>()?,
            extended: item.extended,
            slot,
            correlation_id: item.correlation_id.parse()?,
            // A hint only: without it the order's events are in no trace.
            traceparent: item.traceparent.and_then(|traceparent| traceparent.parse().ok()),
        })
    }
}

impl TryFrom<TicketFields> for Ticket {
    type Error = BoxError;

    fn try_from(fields: TicketFields) -> Result<Self, BoxError> {
        Ok(Self {
            id: fields.id.parse()?,
            title: fields.title.parse()?,
            price: Price::from_minor(fields.price)?,
            version: TicketVersion::new(fields.version),
        })
    }
}

impl TryFrom<TicketItem> for TicketReplica {
    type Error = BoxError;

    fn try_from(item: TicketItem) -> Result<Self, BoxError> {
        readable(item.schema)?;
        // An end without an order locks nothing.
        let lock = match (item.locked_by, item.locked_until) {
            (None, _) => Lock::Free,
            (Some(by), Some(until)) => Lock::Held { by: by.parse()?, until: time(until)? },
            (Some(to), None) => Lock::Sold { to: to.parse()? },
        };
        // A hint only: without it the order is read.
        let locked_for = item.locked_for.and_then(|user_id| user_id.parse().ok());
        let (id, version) = (item.id.parse()?, TicketVersion::new(item.version));
        let sale = match (item.withdrawn, item.title, item.price) {
            (true, _, _) => Sale::Withdrawn { id, version },
            (false, Some(title), Some(price)) => Sale::Open(Ticket {
                id,
                title: title.parse()?,
                price: Price::from_minor(price)?,
                version,
            }),
            (false, _, _) => return Err(ItemError::Sale.into()),
        };
        Ok(Self { sale, lock, locked_for })
    }
}

impl From<&RefundDue> for RefundItem {
    fn from(refund: &RefundDue) -> Self {
        let state = match refund.state {
            RefundState::Due => RefundStateField::Due,
            RefundState::Settled => RefundStateField::Settled,
        };
        Self {
            payment_id: refund.payment_id.to_string(),
            reason: refund.reason.into(),
            amount: refund.amount.map(Price::minor),
            state,
        }
    }
}

impl TryFrom<RefundItem> for RefundDue {
    type Error = BoxError;

    fn try_from(item: RefundItem) -> Result<Self, BoxError> {
        let state = match item.state {
            RefundStateField::Due => RefundState::Due,
            RefundStateField::Settled => RefundState::Settled,
        };
        Ok(Self {
            payment_id: item.payment_id.parse()?,
            reason: item.reason.into(),
            amount: item.amount.map(Price::from_minor).transpose()?,
            state,
        })
    }
}

impl From<RefundReason> for RefundReasonField {
    fn from(reason: RefundReason) -> Self {
        match reason {
            RefundReason::AlreadyPaid => Self::AlreadyPaid,
            RefundReason::OrderCancelled => Self::OrderCancelled,
            RefundReason::TicketTaken => Self::TicketTaken,
            RefundReason::TicketChanged => Self::TicketChanged,
            RefundReason::TooLate => Self::TooLate,
            RefundReason::WrongAmount => Self::WrongAmount,
            RefundReason::OrderRefunded => Self::OrderRefunded,
        }
    }
}

impl From<RefundReasonField> for RefundReason {
    fn from(field: RefundReasonField) -> Self {
        match field {
            RefundReasonField::AlreadyPaid => Self::AlreadyPaid,
            RefundReasonField::OrderCancelled => Self::OrderCancelled,
            RefundReasonField::TicketTaken => Self::TicketTaken,
            RefundReasonField::TicketChanged => Self::TicketChanged,
            RefundReasonField::TooLate => Self::TooLate,
            RefundReasonField::WrongAmount => Self::WrongAmount,
            RefundReasonField::OrderRefunded => Self::OrderRefunded,
        }
    }
}

impl From<&BookedPayment> for PaymentItem {
    fn from(booked: &BookedPayment) -> Self {
        let result = match booked.result {
            PaymentResult::Bought => ResultField::Bought,
            PaymentResult::RefundDue(reason) => ResultField::RefundDue(reason.into()),
        };
        Self {
            schema: None,
            id: booked.payment.id.to_string(),
            order_id: booked.payment.order_id.to_string(),
            amount: booked.payment.amount.map(Price::minor),
            result,
            sent_at: booked.payment.sent_at.epoch_ms(),
        }
    }
}

impl TryFrom<PaymentItem> for BookedPayment {
    type Error = BoxError;

    fn try_from(item: PaymentItem) -> Result<Self, BoxError> {
        readable(item.schema)?;
        let payment = Payment {
            id: item.id.parse()?,
            order_id: item.order_id.parse()?,
            amount: item.amount.map(Price::from_minor).transpose()?,
            sent_at: time(item.sent_at)?,
        };
        let result = match item.result {
            ResultField::Bought => PaymentResult::Bought,
            ResultField::RefundDue(reason) => PaymentResult::RefundDue(reason.into()),
        };
        Ok(Self { payment, result })
    }
}

fn time(ms: u64) -> Result<Timestamp, ItemError> {
    Timestamp::from_epoch_ms(ms).ok_or(ItemError::Time)
}

#[cfg(test)]
mod tests {
    use orders_domain::PaymentId;
    use orders_testing::order;

    use super::*;

    fn payment() -> PaymentId {
        "p1".parse().unwrap()
    }

    /// An order in every status. A ticket that costs nothing has a status of its own.
    fn orders() -> Vec<Order> {
        let mut free = order(1);
        free.ticket.price = Price::from_minor(0).unwrap();
        free.status = Status::Free;
        let statuses = [
            Status::AwaitingPayment,
            Status::Paid { payment_id: payment() },
            Status::Cancelled,
            Status::Expired,
            Status::Refunded { payment_id: payment() },
        ];
        let others = statuses.into_iter().map(|status| Order { status, ..order(1) });
        std::iter::once(free).chain(others).collect()
    }

    #[test]
    fn stored_names_are_those_of_the_domain() {
        for order in orders() {
            for reason in [
                RefundReason::AlreadyPaid,
                RefundReason::OrderCancelled,
                RefundReason::TicketTaken,
                RefundReason::TicketChanged,
                RefundReason::TooLate,
                RefundReason::WrongAmount,
                RefundReason::OrderRefunded,
            ] {
                for state in [RefundState::Due, RefundState::Settled] {
                    let amount = Price::from_minor(1_990).ok();
                    let refund = RefundDue { payment_id: payment(), reason, amount, state };
                    let order = Order { refunds_due: vec![refund], ..order.clone() };
                    let item = OrderItem::from(&order).into_item().unwrap();
                    let refund = item["refunds_due"].as_l().unwrap()[0].as_m().unwrap();
                    assert_eq!(item["status"].as_s().unwrap(), order.status.name());
                    assert_eq!(refund["reason"].as_s().unwrap(), reason.name());
                    let stored = refund.get("state").map(|state| state.as_s().unwrap().as_str());
                    assert_eq!(stored.unwrap_or("due"), state.name());
                    assert_eq!(OrderItem::parse(item).unwrap(), order);
                }
            }
        }
    }

    #[test]
    fn extension_and_slot_read_back_as_written() {
        let order = Order { extended: true, slot: Slot::new(7), ..order(1) };
        let item = OrderItem::from(&order).into_item().unwrap();
        assert_eq!(OrderItem::parse(item).unwrap(), order);
    }

    #[test]
    fn invalid_traceparent_counts_as_absent() {
        let untraced = Order { traceparent: None, ..order(1) };
        let mut item = OrderItem::from(&order(1)).into_item().unwrap();
        assert_eq!(OrderItem::parse(item.clone()).unwrap(), order(1));
        for invalid in [
            AttributeValue::S("00-0-0-0".to_owned()),
            AttributeValue::N("7".to_owned()),
            AttributeValue::Null(true),
            AttributeValue::M(HashMap::new()),
            AttributeValue::L(vec![AttributeValue::Bool(true)]),
            AttributeValue::Ss(vec!["x".to_owned()]),
            AttributeValue::B(vec![0].into()),
        ] {
            item.insert("traceparent".to_owned(), invalid.clone());
            assert_eq!(OrderItem::parse(item.clone()).unwrap(), untraced, "{invalid:?}");
        }
        item.remove("traceparent");
        assert_eq!(OrderItem::parse(item).unwrap(), untraced);
    }

    #[test]
    fn payment_id_belongs_to_paid_orders_only() {
        let item = |status: &str, payment_id: Option<&str>| {
            let mut item = OrderItem::from(&order(1)).into_item().unwrap();
            item.insert("status".to_owned(), AttributeValue::S(status.to_owned()));
            let payment_id = payment_id.map(|id| AttributeValue::S(id.to_owned()));
            item.extend(payment_id.map(|id| ("payment_id".to_owned(), id)));
            OrderItem::parse(item)
        };
        assert!(item("paid", Some("p1")).is_ok());
        assert!(item("paid", None).is_err());
        assert!(item("refunded", Some("p1")).is_ok());
        assert!(item("refunded", None).is_err());
        for status in ["awaiting_payment", "cancelled", "expired"] {
            assert!(item(status, None).is_ok());
            assert!(item(status, Some("p1")).is_err(), "{status}");
        }
    }
}

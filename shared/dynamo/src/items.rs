//! Items of the two tables, to and from the domain.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use orders_domain::{
    BoxError, Lock, Order, OrderVersion, Price, RefundDue, RefundReason, Status, StoreError,
    Ticket, TicketReplica, TicketVersion, Timestamp,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_dynamo::aws_sdk_dynamodb_1::{from_item, to_item};

use crate::{corrupt, invalid_request};

/// An item, by attribute.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// An item whose attributes do not fit together.
#[derive(Debug, thiserror::Error)]
enum ItemError {
    #[error("the status is not one that an order has")]
    Status,
    #[error("the reason is not one that a refund has")]
    RefundReason,
    #[error("the time is beyond the year 9999")]
    Time,
    #[error("the lock has an end but no order")]
    Lock,
}

/// A item of the orders table. Times are epoch milliseconds, the price is in minor units.
#[derive(Serialize, Deserialize)]
pub(crate) struct OrderItem {
    id: String,
    user_id: String,
    ticket: TicketFields,
    status: String,
    version: u64,
    created_at: u64,
    expires_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refunds_due: Vec<RefundItem>,
    correlation_id: String,
}

#[derive(Serialize, Deserialize)]
struct TicketFields {
    id: String,
    title: String,
    price: u64,
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct RefundItem {
    payment_id: String,
    reason: String,
}

/// A item of the tickets table.
#[derive(Deserialize)]
pub(crate) struct TicketItem {
    #[serde(flatten)]
    fields: TicketFields,
    locked_by: Option<String>,
    locked_until: Option<u64>,
}

impl OrderItem {
    pub(crate) fn into_item(self) -> Result<Item, StoreError> {
        to_item(self).map_err(invalid_request)
    }

    pub(crate) fn parse(item: Item) -> Result<Order, StoreError> {
        parse::<Self, Order>(item)
    }
}

/// The order in an image of the orders table's stream.
///
/// # Errors
/// [`StoreError::Corrupt`] if there is none.
pub fn order_of_image(image: serde_dynamo::Item) -> Result<Order, StoreError> {
    let item: OrderItem = serde_dynamo::from_item(image).map_err(corrupt)?;
    item.try_into().map_err(StoreError::Corrupt)
}

impl TicketItem {
    pub(crate) fn parse(item: Item) -> Result<TicketReplica, StoreError> {
        parse::<Self, TicketReplica>(item)
    }
}

/// The version among some of a ticket's attributes; none if the ticket was not there.
pub(crate) fn ticket_version(attributes: Item) -> Result<Option<TicketVersion>, StoreError> {
    #[derive(Deserialize)]
    struct Version {
        version: Option<u64>,
    }
    let Version { version } = from_item(attributes).map_err(corrupt)?;
    Ok(version.map(TicketVersion::new))
}

fn parse<Fields, T>(item: Item) -> Result<T, StoreError>
where
    Fields: DeserializeOwned,
    T: TryFrom<Fields, Error = BoxError>,
{
    let item: Fields = from_item(item).map_err(corrupt)?;
    item.try_into().map_err(StoreError::Corrupt)
}

impl From<&Order> for OrderItem {
    fn from(order: &Order) -> Self {
        let payment_id = match &order.status {
            Status::Paid { payment_id } => Some(payment_id.to_string()),
            Status::AwaitingPayment | Status::Cancelled | Status::Expired => None,
        };
        Self {
            id: order.id.to_string(),
            user_id: order.user_id.to_string(),
            ticket: TicketFields {
                id: order.ticket.id.to_string(),
                title: order.ticket.title.to_string(),
                price: order.ticket.price.minor(),
                version: order.ticket.version.number(),
            },
            status: order.status.name().to_owned(),
            version: order.version.number(),
            created_at: order.created_at.epoch_ms(),
            expires_at: order.expires_at.epoch_ms(),
            payment_id,
            refunds_due: order.refunds_due.iter().map(RefundItem::from).collect(),
            correlation_id: order.correlation_id.to_string(),
        }
    }
}

impl TryFrom<OrderItem> for Order {
    type Error = BoxError;

    fn try_from(item: OrderItem) -> Result<Self, BoxError> {
        Ok(Self {
            id: item.id.parse()?,
            user_id: item.user_id.parse()?,
            ticket: item.ticket.try_into()?,
            status: status(&item.status, item.payment_id)?,
            version: OrderVersion::new(item.version),
            created_at: time(item.created_at)?,
            expires_at: time(item.expires_at)?,
            refunds_due: item
                .refunds_due
                .into_iter()
                .map(RefundDue::try_from)
                .collect::<Result<_, _>>()?,
            correlation_id: item.correlation_id.parse()?,
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
        let lock = match (item.locked_by, item.locked_until) {
            (None, None) => Lock::Free,
            (Some(by), Some(until)) => Lock::Held { by: by.parse()?, until: time(until)? },
            (Some(to), None) => Lock::Sold { to: to.parse()? },
            (None, Some(_)) => return Err(ItemError::Lock.into()),
        };
        Ok(Self { ticket: item.fields.try_into()?, lock })
    }
}

impl From<&RefundDue> for RefundItem {
    fn from(refund: &RefundDue) -> Self {
        Self { payment_id: refund.payment_id.to_string(), reason: refund.reason.name().to_owned() }
    }
}

impl TryFrom<RefundItem> for RefundDue {
    type Error = BoxError;

    fn try_from(item: RefundItem) -> Result<Self, BoxError> {
        let reason =
            [RefundReason::AlreadyPaid, RefundReason::OrderCancelled, RefundReason::TicketTaken]
                .into_iter()
                .find(|reason| reason.name() == item.reason)
                .ok_or(ItemError::RefundReason)?;
        Ok(Self { payment_id: item.payment_id.parse()?, reason })
    }
}

fn status(name: &str, payment_id: Option<String>) -> Result<Status, BoxError> {
    let status = match payment_id {
        Some(id) => vec![Status::Paid { payment_id: id.parse()? }],
        None => vec![Status::AwaitingPayment, Status::Cancelled, Status::Expired],
    };
    Ok(status.into_iter().find(|status| status.name() == name).ok_or(ItemError::Status)?)
}

fn time(ms: u64) -> Result<Timestamp, ItemError> {
    Timestamp::from_epoch_ms(ms).ok_or(ItemError::Time)
}

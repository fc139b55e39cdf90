//! Items of the two tables, converted to and from the domain.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use orders_domain::{
    BoxError, Lock, Order, OrderVersion, Price, RefundDue, RefundReason, Status, StoreError,
    Ticket, TicketReplica, TicketVersion, Timestamp,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_dynamo::aws_sdk_dynamodb_1::{from_item, to_item};

use crate::{corrupt, invalid_request};

/// An item, by attribute name.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// Reason why an item with valid attributes is invalid as a whole.
#[derive(Debug, thiserror::Error)]
enum ItemError {
    #[error("the status is paid without a payment id, or has a payment id without being paid")]
    PaymentId,
    #[error("the time is beyond the year 9999")]
    Time,
    #[error("the lock has an end but no order")]
    Lock,
}

/// An item of the orders table. Times are epoch milliseconds, the price is in minor units.
#[derive(Serialize, Deserialize)]
pub(crate) struct OrderItem {
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
    correlation_id: String,
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
}

#[derive(Serialize, Deserialize)]
struct RefundItem {
    payment_id: String,
    reason: RefundReasonField,
}

/// Stored names of the refund reasons.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RefundReasonField {
    AlreadyPaid,
    OrderCancelled,
    TicketTaken,
}

/// An item of the tickets table.
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
/// [`StoreError::Corrupt`] if the image is not a valid order.
pub fn order_of_image(image: serde_dynamo::Item) -> Result<Order, StoreError> {
    let item: OrderItem = serde_dynamo::from_item(image).map_err(corrupt)?;
    item.try_into().map_err(StoreError::Corrupt)
}

impl TicketItem {
    pub(crate) fn parse(item: Item) -> Result<TicketReplica, StoreError> {
        parse::<Self, TicketReplica>(item)
    }
}

/// The version among the attributes of a ticket; `None` if there was no ticket.
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
    let fields: Fields = from_item(item).map_err(corrupt)?;
    fields.try_into().map_err(StoreError::Corrupt)
}

impl From<&Order> for OrderItem {
    fn from(order: &Order) -> Self {
        let (status, payment_id) = match &order.status {
            Status::AwaitingPayment => (StatusField::AwaitingPayment, None),
            Status::Paid { payment_id } => (StatusField::Paid, Some(payment_id.to_string())),
            Status::Cancelled => (StatusField::Cancelled, None),
            Status::Expired => (StatusField::Expired, None),
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
            status,
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
        let status = match (item.status, item.payment_id) {
            (StatusField::AwaitingPayment, None) => Status::AwaitingPayment,
            (StatusField::Paid, Some(id)) => Status::Paid { payment_id: id.parse()? },
            (StatusField::Cancelled, None) => Status::Cancelled,
            (StatusField::Expired, None) => Status::Expired,
            (StatusField::Paid, None)
            | (
                StatusField::AwaitingPayment | StatusField::Cancelled | StatusField::Expired,
                Some(_),
            ) => return Err(ItemError::PaymentId.into()),
        };
        Ok(Self {
            id: item.id.parse()?,
            user_id: item.user_id.parse()?,
            ticket: item.ticket.try_into()?,
            status,
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
        // The lock's two attributes encode three states; the fourth combination is invalid.
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
        let reason = match refund.reason {
            RefundReason::AlreadyPaid => RefundReasonField::AlreadyPaid,
            RefundReason::OrderCancelled => RefundReasonField::OrderCancelled,
            RefundReason::TicketTaken => RefundReasonField::TicketTaken,
        };
        Self { payment_id: refund.payment_id.to_string(), reason }
    }
}

impl TryFrom<RefundItem> for RefundDue {
    type Error = BoxError;

    fn try_from(item: RefundItem) -> Result<Self, BoxError> {
        let reason = match item.reason {
            RefundReasonField::AlreadyPaid => RefundReason::AlreadyPaid,
            RefundReasonField::OrderCancelled => RefundReason::OrderCancelled,
            RefundReasonField::TicketTaken => RefundReason::TicketTaken,
        };
        Ok(Self { payment_id: item.payment_id.parse()?, reason })
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

    #[test]
    fn stored_names_are_those_of_the_domain() {
        for status in [
            Status::AwaitingPayment,
            Status::Paid { payment_id: payment() },
            Status::Cancelled,
            Status::Expired,
        ] {
            for reason in
                [RefundReason::AlreadyPaid, RefundReason::OrderCancelled, RefundReason::TicketTaken]
            {
                let refunds_due = vec![RefundDue { payment_id: payment(), reason }];
                let order = Order { status: status.clone(), refunds_due, ..order(1) };
                let item = OrderItem::from(&order).into_item().unwrap();
                let refund = item["refunds_due"].as_l().unwrap()[0].as_m().unwrap();
                assert_eq!(item["status"].as_s().unwrap(), status.name());
                assert_eq!(refund["reason"].as_s().unwrap(), reason.name());
                assert_eq!(OrderItem::parse(item).unwrap(), order);
            }
        }
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
        assert!(item("refunded", None).is_err());
        for status in ["awaiting_payment", "cancelled", "expired"] {
            assert!(item(status, None).is_ok());
            assert!(item(status, Some("p1")).is_err(), "{status}");
        }
    }
}

//! The writes of the transactions: expressions, conditions and values.
//!
//! Every write of a ticket has the condition that this release can read the item, because not every write
//! follows a read. A change of an order updates the changed attributes only, so that attributes of a newer
//! release survive.

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{
        AttributeValue, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem as Write, Update,
        builders::{ConditionCheckBuilder, UpdateBuilder},
    },
};
use orders_domain::{
    BookedPayment, Change, Lock, LockChange, Order, OrderId, Placement, RefundDue, RefundState,
    Slot, SlotChange, Status, StoreError, Takeover, TicketId, Timestamp, Transition, UserId,
};

use crate::{
    Retention, TableNames,
    error::invalid_request,
    items::{OrderItem, PaymentItem, RefundItem, SCHEMA, SLOT},
};

/// Condition: this release can read the item. Needs [`Readable::can_be_read`].
pub(crate) const READABLE: &str = "(attribute_not_exists(#schema) OR #schema <= :schema)";

/// Puts a new order.
pub(crate) fn insert_order(tables: &TableNames, order: &Order) -> Result<Write, StoreError> {
    let put = Put::builder()
        .table_name(&tables.orders)
        .set_item(Some(OrderItem::from(order).into_item()?))
        .condition_expression("attribute_not_exists(id)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    built(put.build().map(put_item))
}

/// Updates the changed attributes of an order at the expected version.
///
/// `forget_at` is set if the order can be forgotten now, and removed otherwise: a late payment, a refund that
/// became due, or a changed retention keeps the order.
pub(crate) fn change_order(
    tables: &TableNames,
    retention: Retention,
    transition: &Transition,
) -> Result<Write, StoreError> {
    let order = transition.order();
    let update = Update::builder()
        .table_name(&tables.orders)
        .key("id", text(&order.id))
        .condition_expression("#version = :expected")
        .expression_attribute_values(":expected", number(transition.expected_version().number()));
    let changes = Assignments::new(update)
        .set("status", text(&order.status.name()))
        .set("version", number(order.version.number()));
    let changes = match transition.change() {
        Change::Status => changes,
        Change::Booked(booked) => match transition.refund() {
            None => changes.set("payment_id", text(&booked.payment.id)),
            Some(refund) => changes
                .assign(
                    "refunds_due",
                    "#refunds_due = list_append(if_not_exists(#refunds_due, :none), :refund)",
                )
                .value(":none", AttributeValue::L(Vec::new()))
                .value(":refund", list_of(refund)?),
        },
        Change::Extended => changes
            .set("expires_at", number(order.expires_at.epoch_ms()))
            .set("extended", AttributeValue::Bool(true)),
        Change::Settled(index) => changes
            .assign("refunds_due", &format!("#refunds_due[{index}].#state = :state"))
            .name("state")
            .value(":state", text(&RefundState::Settled.name())),
    };
    match retention.forget_at(order) {
        Some(time) => changes.set("forget_at", epoch_seconds(time)),
        None => changes.remove("forget_at"),
    }
    .build()
}

/// Assignments and removals of an update expression.
struct Assignments {
    update: UpdateBuilder,
    texts: Vec<String>,
    removals: String,
}

impl Assignments {
    fn new(update: UpdateBuilder) -> Self {
        Self { update, texts: Vec::new(), removals: String::new() }
    }

    /// Assigns a value to an attribute.
    fn set(self, name: &str, value: AttributeValue) -> Self {
        self.assign(name, &format!("#{name} = :{name}")).value(&format!(":{name}"), value)
    }

    /// Adds an assignment to an attribute.
    fn assign(mut self, name: &str, text: &str) -> Self {
        self.texts.push(text.to_owned());
        self.name(name)
    }

    /// Removes an attribute.
    fn remove(mut self, name: &str) -> Self {
        self.removals = format!(" REMOVE #{name}");
        self.name(name)
    }

    fn name(mut self, name: &str) -> Self {
        self.update = self.update.expression_attribute_names(format!("#{name}"), name);
        self
    }

    fn value(mut self, placeholder: &str, value: AttributeValue) -> Self {
        self.update = self.update.expression_attribute_values(placeholder, value);
        self
    }

    fn build(self) -> Result<Write, StoreError> {
        let assignments = self.texts.join(", ");
        let update = self.update.update_expression(format!("SET {assignments}{}", self.removals));
        built(update.build().map(update_item))
    }
}

/// A list with one refund.
fn list_of(refund: &RefundDue) -> Result<AttributeValue, StoreError> {
    Ok(AttributeValue::L(vec![AttributeValue::M(RefundItem::from(refund).into_item()?)]))
}

/// Locks the ticket for a new order, at the version of the order's copy.
pub(crate) fn lock_ticket(tables: &TableNames, placement: &Placement) -> Result<Write, StoreError> {
    let Placement { order, takeover } = placement;
    let available = if takeover.is_some() { LAPSED } else { "attribute_not_exists(locked_by)" };
    let lock = match order.lock() {
        Lock::Free | Lock::Held { .. } => {
            "SET locked_by = :order, locked_for = :user, locked_until = :until"
        }
        Lock::Sold { .. } => "SET locked_by = :order, locked_for = :user REMOVE locked_until",
    };
    let mut update = lock_update(tables, &order.ticket.id)
        .update_expression(lock)
        // The version in the condition keeps the price: a changed ticket must be read again.
        .condition_expression(format!("#version = :ticket AND {available} AND {READABLE}"))
        .expression_attribute_names("#version", "version")
        .expression_attribute_values(":order", text(&order.id))
        .expression_attribute_values(":user", text(&order.user_id))
        .expression_attribute_values(":ticket", number(order.ticket.version.number()));
    if let Lock::Held { until, .. } = order.lock() {
        update = update.expression_attribute_values(":until", number(until.epoch_ms()));
    }
    if let Some(takeover) = takeover {
        update = update
            .expression_attribute_values(":lapsed", text(&takeover.order_id()))
            .expression_attribute_values(":now", number(order.created_at.epoch_ms()));
    }
    built(update.build().map(update_item))
}

/// Condition: the lapsed lock of this order.
const LAPSED: &str = "locked_by = :lapsed AND locked_until <= :now";

/// The write of a lock change; `None` for [`LockChange::Unchanged`].
pub(crate) fn change_lock(
    tables: &TableNames,
    transition: &Transition,
) -> Result<Option<Write>, StoreError> {
    let order = transition.order();
    // The condition on the order keeps a stale cancellation off the next order's lock.
    let own = format!("locked_by = :order AND {READABLE}");
    let write = match transition.lock() {
        LockChange::Unchanged => return Ok(None),
        LockChange::NotOwn => return not_own(tables, order).map(Some),
        LockChange::Release => lock_update(tables, &order.ticket.id)
            .update_expression("REMOVE locked_by, locked_until, locked_for")
            .condition_expression(own),
        LockChange::Sell => return make_permanent(tables, order).map(Some),
        LockChange::Extend => lock_update(tables, &order.ticket.id)
            .update_expression("SET locked_until = :until")
            .condition_expression(own)
            .expression_attribute_values(":until", number(order.expires_at.epoch_ms())),
        LockChange::BuyBack { takeover, now } => {
            let available = match takeover {
                None => "(attribute_not_exists(locked_by) OR locked_by = :order)",
                Some(_) => LAPSED,
            };
            let mut update = lock_update(tables, &order.ticket.id)
                .update_expression(
                    "SET locked_by = :order, locked_for = :user REMOVE locked_until",
                )
                .condition_expression(format!(
                    "#price = :price AND attribute_not_exists(#withdrawn) AND {available} AND {READABLE}"
                ))
                .expression_attribute_names("#price", "price")
                .expression_attribute_names("#withdrawn", "withdrawn")
                .expression_attribute_values(":user", text(&order.user_id))
                .expression_attribute_values(":price", number(order.ticket.price.minor()));
            if let Some(takeover) = takeover {
                update = update
                    .expression_attribute_values(":lapsed", text(&takeover.order_id()))
                    .expression_attribute_values(":now", number(now.epoch_ms()));
            }
            update
        }
    };
    let write = write.expression_attribute_values(":order", text(&order.id));
    built(write.build().map(update_item)).map(Some)
}

/// Makes the lock of this order permanent: a lock without an end.
pub(crate) fn make_permanent(tables: &TableNames, order: &Order) -> Result<Write, StoreError> {
    let update = lock_update(tables, &order.ticket.id)
        .update_expression("REMOVE locked_until")
        .condition_expression(format!("locked_by = :order AND {READABLE}"))
        .expression_attribute_values(":order", text(&order.id));
    built(update.build().map(update_item))
}

/// Checks that the order has this version.
pub(crate) fn unchanged(tables: &TableNames, order: &Order) -> Result<Write, StoreError> {
    let check = ConditionCheck::builder()
        .table_name(&tables.orders)
        .key("id", text(&order.id))
        .condition_expression("#version = :version")
        .expression_attribute_names("#version", "version")
        .expression_attribute_values(":version", number(order.version.number()));
    built(check.build().map(check_item))
}

/// Checks that the lock of the order's ticket does not name the order.
fn not_own(tables: &TableNames, order: &Order) -> Result<Write, StoreError> {
    let check = ConditionCheck::builder()
        .table_name(&tables.tickets)
        .key("id", text(&order.ticket.id))
        .condition_expression(format!(
            "(attribute_not_exists(locked_by) OR locked_by <> :order) AND {READABLE}"
        ))
        .expression_attribute_values(":order", text(&order.id))
        .can_be_read();
    built(check.build().map(check_item))
}

/// Expires the order of a lapsed lock, or checks that it is missing, has ended or has another ticket.
/// `None` if it is the order that the transaction places: the put has the condition already.
pub(crate) fn evict(
    tables: &TableNames,
    retention: Retention,
    takeover: &Takeover,
    order: &Order,
) -> Result<Option<Write>, StoreError> {
    match takeover {
        Takeover::Expire(expiry) => change_order(tables, retention, expiry).map(Some),
        Takeover::Ended(id) if *id == order.id => Ok(None),
        Takeover::Ended(id) => ended(tables, *id, &order.ticket.id).map(Some),
    }
}

/// Removes the lapsed lock of an order.
pub(crate) fn release(
    tables: &TableNames,
    ticket: &TicketId,
    lapsed: OrderId,
    now: Timestamp,
) -> Result<Write, StoreError> {
    let update = lock_update(tables, ticket)
        .update_expression("REMOVE locked_by, locked_until, locked_for")
        .condition_expression(format!("{LAPSED} AND {READABLE}"))
        .expression_attribute_values(":lapsed", text(&lapsed))
        .expression_attribute_values(":now", number(now.epoch_ms()));
    built(update.build().map(update_item))
}

/// Checks that an order is missing, has ended or has another ticket.
pub(crate) fn ended(
    tables: &TableNames,
    id: OrderId,
    ticket: &TicketId,
) -> Result<Write, StoreError> {
    let check = ConditionCheck::builder()
        .table_name(&tables.orders)
        .key("id", text(&id))
        // No version guards what was read: a newer release may have changed the order since.
        .condition_expression(format!(
            "(attribute_not_exists(id) OR #ticket.#id <> :ticket \
             OR #status IN (:cancelled, :expired, :refunded)) AND {READABLE}"
        ))
        .expression_attribute_names("#ticket", "ticket")
        .expression_attribute_names("#id", "id")
        .expression_attribute_names("#status", "status")
        .expression_attribute_values(":ticket", text(ticket))
        .expression_attribute_values(":cancelled", text(&Status::Cancelled.name()))
        .expression_attribute_values(":expired", text(&Status::Expired.name()))
        .expression_attribute_values(":refunded", text(&"refunded"))
        .can_be_read();
    built(check.build().map(check_item))
}

/// Occupies the slot of a new order, if it is free.
pub(crate) fn occupy_slot(
    tables: &TableNames,
    order: &Order,
    slot: Slot,
) -> Result<Write, StoreError> {
    let update = slot_update(tables, &order.user_id, slot)
        .update_expression("SET #slot = :until, forget_at = :forget_at")
        .condition_expression(format!(
            "(attribute_not_exists(#slot) OR #slot <= :now) AND {READABLE}"
        ))
        .expression_attribute_values(":until", number(order.expires_at.epoch_ms()))
        .expression_attribute_values(":forget_at", forget_at(order.expires_at))
        .expression_attribute_values(":now", number(order.created_at.epoch_ms()));
    built(update.build().map(update_item))
}

/// Changes the slot of an order, if it still holds the order's old end.
pub(crate) fn change_slot(
    tables: &TableNames,
    order: &Order,
    change: SlotChange,
) -> Result<Write, StoreError> {
    let update = slot_update(tables, &order.user_id, change.slot)
        .condition_expression(format!("#slot = :expected AND {READABLE}"))
        .expression_attribute_values(":expected", number(change.expected.epoch_ms()));
    let update = match change.until {
        None => update.update_expression("REMOVE #slot"),
        Some(until) => update
            .update_expression("SET #slot = :until, forget_at = :forget_at")
            .expression_attribute_values(":until", number(until.epoch_ms()))
            .expression_attribute_values(":forget_at", forget_at(until)),
    };
    built(update.build().map(update_item))
}

/// An update of a buyer's slot.
fn slot_update(tables: &TableNames, buyer: &UserId, slot: Slot) -> UpdateBuilder {
    Update::builder()
        .table_name(&tables.buyers)
        .key("id", text(buyer))
        .expression_attribute_names("#slot", format!("{SLOT}{}", slot.number()))
        .can_be_read()
}

/// Time from which DynamoDB may remove the buyer's item: a day after the slot becomes free.
fn forget_at(until: Timestamp) -> AttributeValue {
    epoch_seconds(until.plus(Duration::from_hours(24)))
}

/// A time for DynamoDB's time to live (DynamoDB developer guide, "Using time to live").
fn epoch_seconds(time: Timestamp) -> AttributeValue {
    number(time.epoch_ms() / 1_000)
}

/// Books a payment, unless it has been booked for another order.
pub(crate) fn book_payment(
    tables: &TableNames,
    booked: &BookedPayment,
) -> Result<Write, StoreError> {
    let update = Update::builder()
        .table_name(&tables.payments)
        .key("id", text(&booked.payment.id))
        .condition_expression(format!(
            "(attribute_not_exists(id) OR #order_id = :order_id) AND {READABLE}"
        ))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .can_be_read();
    let mut attributes: Vec<_> = PaymentItem::from(booked).into_item()?.into_iter().collect();
    attributes.retain(|(name, _)| name != "id");
    attributes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let assignments = Assignments::new(update);
    attributes
        .into_iter()
        .fold(assignments, |assignments, (name, value)| assignments.set(&name, value))
        .build()
}

/// An update of a ticket's lock.
fn lock_update(tables: &TableNames, ticket: &TicketId) -> UpdateBuilder {
    Update::builder().table_name(&tables.tickets).key("id", text(ticket)).can_be_read()
}

/// Name and value of [`READABLE`].
trait Readable {
    fn can_be_read(self) -> Self;
}

impl Readable for UpdateBuilder {
    fn can_be_read(self) -> Self {
        self.expression_attribute_names("#schema", "schema")
            .expression_attribute_values(":schema", number(SCHEMA))
    }
}

impl Readable for ConditionCheckBuilder {
    fn can_be_read(self) -> Self {
        self.expression_attribute_names("#schema", "schema")
            .expression_attribute_values(":schema", number(SCHEMA))
    }
}

fn put_item(put: Put) -> Write {
    Write::builder().put(put).build()
}

fn update_item(update: Update) -> Write {
    Write::builder().update(update).build()
}

fn check_item(check: ConditionCheck) -> Write {
    Write::builder().condition_check(check).build()
}

fn built(write: Result<Write, BuildError>) -> Result<Write, StoreError> {
    write.map_err(invalid_request)
}

pub(crate) fn text(value: &impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

pub(crate) fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

//! The store on DynamoDB. Only this crate contains DynamoDB expressions.
//!
//! Reads of one item are strongly consistent: a ticket is free as soon as its order is cancelled, and a
//! buyer finds an order right after its 201. Writes are conditional on the state just read, so DynamoDB
//! itself decides races.

mod error;
mod items;
mod retry;
mod transaction;

use std::time::Duration;

pub use items::order_of_image;

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, Put, ReturnValue, ReturnValuesOnConditionCheckFailure, Update},
};
use orders_domain::{
    CommitOutcome, Direction, ListQuery, LockChange, Order, OrderId, OrderStore, Page,
    PlaceOutcome, Placement, Position, StoreError, Ticket, TicketId, TicketOutcome, TicketReplica,
    TicketRule, Transition,
};

use crate::{
    error::{corrupt, invalid_request, store_error},
    items::{Item, OrderItem, TicketItem},
    retry::{Attempt, retry_conflicts},
    transaction::{Transacted, Write, transact},
};

/// Names of the two tables.
#[derive(Clone, Debug)]
pub struct TableNames {
    /// Orders table, with the key `id`.
    pub orders: String,
    /// Tickets table, with the key `id`.
    pub tickets: String,
}

/// Index of the orders table by (`user_id`, `created_at`).
pub const ORDERS_BY_USER: &str = "by_user";

/// The store on DynamoDB.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    tables: TableNames,
    conflict_budget: Duration,
}

impl DynamoStore {
    /// A store on these tables. Conflicting writes are retried for at most `conflict_budget`.
    #[must_use]
    pub fn new(client: Client, tables: TableNames, conflict_budget: Duration) -> Self {
        Self { client, tables, conflict_budget }
    }

    /// Replaces an order at the expected version.
    fn replace_order(&self, transition: &Transition) -> Result<Put, StoreError> {
        Put::builder()
            .table_name(&self.tables.orders)
            .set_item(Some(OrderItem::from(transition.order()).into_item()?))
            .condition_expression("#version = :expected")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(
                ":expected",
                number(transition.expected_version().number()),
            )
            .build()
            .map_err(invalid_request)
    }

    fn insert_order(&self, order: &Order) -> Result<Put, StoreError> {
        Put::builder()
            .table_name(&self.tables.orders)
            .set_item(Some(OrderItem::from(order).into_item()?))
            .condition_expression("attribute_not_exists(id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(invalid_request)
    }

    /// Locks the ticket for a new order, at the version of the order's copy.
    fn lock_ticket(&self, placement: &Placement) -> Result<Update, StoreError> {
        let Placement { order, takeover } = placement;
        let update = Update::builder()
            .table_name(&self.tables.tickets)
            .key("id", text(&order.ticket.id))
            .update_expression("SET #locked_by = :order, #locked_until = :until")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#locked_by", "locked_by")
            .expression_attribute_names("#locked_until", "locked_until")
            .expression_attribute_values(":order", text(&order.id))
            .expression_attribute_values(":until", number(order.expires_at.epoch_ms()))
            .expression_attribute_values(":version", number(order.ticket.version.number()));
        // The version in the condition keeps the price: a changed ticket must be read again.
        let update = match takeover {
            None => update
                .condition_expression("#version = :version AND attribute_not_exists(#locked_by)"),
            Some(expiry) => update
                .condition_expression(
                    "#version = :version AND #locked_by = :lapsed AND #locked_until <= :now",
                )
                .expression_attribute_values(":lapsed", text(&expiry.order().id))
                .expression_attribute_values(":now", number(order.created_at.epoch_ms())),
        };
        update.build().map_err(invalid_request)
    }

    /// The write of a lock change; `None` for [`LockChange::Unchanged`].
    fn change_lock(&self, transition: &Transition) -> Result<Option<Update>, StoreError> {
        let (update, condition) = match transition.lock() {
            LockChange::Unchanged => return Ok(None),
            // The condition on the order keeps a stale cancellation off the next order's lock.
            LockChange::Release => ("REMOVE #locked_by, #locked_until", "#locked_by = :order"),
            // A lock without an end is permanent.
            LockChange::Sell => ("REMOVE #locked_until", "#locked_by = :order"),
            LockChange::Relock => {
                let free = "attribute_exists(id) AND attribute_not_exists(#locked_by)";
                ("SET #locked_by = :order REMOVE #locked_until", free)
            }
        };
        let order = transition.order();
        let update = Update::builder()
            .table_name(&self.tables.tickets)
            .key("id", text(&order.ticket.id))
            .update_expression(update)
            .condition_expression(condition)
            .expression_attribute_names("#locked_by", "locked_by")
            .expression_attribute_names("#locked_until", "locked_until")
            .expression_attribute_values(":order", text(&order.id));
        update.build().map(Some).map_err(invalid_request)
    }

    async fn update_ticket(&self, ticket: &Ticket, rule: TicketRule) -> Attempt<TicketOutcome> {
        // Signed: no ticket has the version before 0, which is -1.
        let previous = i128::from(ticket.version.number()) - 1;
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.tickets)
            .key("id", text(&ticket.id))
            .update_expression("SET #title = :title, #price = :price, #version = :version")
            .expression_attribute_names("#title", "title")
            .expression_attribute_names("#price", "price")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":title", text(&ticket.title))
            .expression_attribute_values(":price", number(ticket.price.minor()))
            .expression_attribute_values(":version", number(ticket.version.number()))
            .return_values(ReturnValue::UpdatedOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = match rule {
            TicketRule::Next => request
                .condition_expression("#version = :previous")
                .expression_attribute_values(":previous", number(previous)),
            TicketRule::FirstOrNext => request
                .condition_expression("attribute_not_exists(id) OR #version = :previous")
                .expression_attribute_values(":previous", number(previous)),
            TicketRule::AnyNewer => {
                request.condition_expression("attribute_not_exists(id) OR #version < :version")
            }
        };
        // The old version comes from the write itself: a read before it could be stale.
        let error = match request.send().await {
            Ok(response) => {
                let replaced = response.attributes.map_or(Ok(None), items::ticket_version);
                return replaced.map_or_else(Attempt::Failed, |replaced| {
                    Attempt::Done(TicketOutcome::Applied { replaced })
                });
            }
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                let stored = failed.item.clone().map_or(Ok(None), items::ticket_version);
                stored.map_or_else(Attempt::Failed, |stored| {
                    Attempt::Done(TicketOutcome::Refused { stored })
                })
            }
            Some(UpdateItemError::TransactionConflictException(_)) => {
                Attempt::Conflict(store_error(error))
            }
            _ => Attempt::Failed(store_error(error)),
        }
    }

    async fn get(&self, table: &str, id: AttributeValue) -> Result<Option<Item>, StoreError> {
        let response = self
            .client
            .get_item()
            .table_name(table)
            .key("id", id)
            .consistent_read(true)
            .send()
            .await
            .map_err(store_error)?;
        Ok(response.item)
    }
}

impl OrderStore for DynamoStore {
    async fn find_ticket(&self, id: &TicketId) -> Result<Option<TicketReplica>, StoreError> {
        let item = self.get(&self.tables.tickets, text(id)).await?;
        item.map(TicketItem::parse).transpose()
    }

    async fn find(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let item = self.get(&self.tables.orders, text(&id)).await?;
        item.map(OrderItem::parse).transpose()
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let size = usize::from(query.size.get());
        let response = self
            .client
            .query()
            .table_name(&self.tables.orders)
            .index_name(ORDERS_BY_USER)
            .key_condition_expression("#user_id = :user")
            .expression_attribute_names("#user_id", "user_id")
            .expression_attribute_values(":user", text(&query.user_id))
            .scan_index_forward(query.direction == Direction::OldestFirst)
            // One item beyond the page shows whether another page follows.
            .limit(i32::from(query.size.get()) + 1)
            .set_exclusive_start_key(query.after.map(|position| start_key(query, position)))
            .send()
            .await
            .map_err(store_error)?;
        let mut orders = response
            .items
            .unwrap_or_default()
            .into_iter()
            .map(OrderItem::parse)
            .collect::<Result<Vec<Order>, _>>()?;
        let has_more = orders.len() > size || response.last_evaluated_key.is_some();
        orders.truncate(size);
        let next = orders
            .last()
            .filter(|_| has_more)
            .map(|order| Position { created_at: order.created_at, id: order.id });
        Ok(Page { orders, next })
    }

    async fn place(&self, placement: &Placement) -> Result<PlaceOutcome, StoreError> {
        // The order first: its item is the first of `found` if an earlier request has placed it.
        let mut writes = vec![
            Write::Put(self.insert_order(&placement.order)?),
            Write::Update(self.lock_ticket(placement)?),
        ];
        if let Some(expiry) = &placement.takeover {
            writes.push(Write::Put(self.replace_order(expiry)?));
        }
        match transact(&self.client, writes, self.conflict_budget).await? {
            Transacted::Committed => Ok(PlaceOutcome::Placed),
            Transacted::Refused { found } => match found.into_iter().next().flatten() {
                Some(earlier) => Ok(PlaceOutcome::AlreadyPlaced(OrderItem::parse(earlier)?)),
                None => Ok(PlaceOutcome::Conflict),
            },
        }
    }

    async fn commit(&self, transition: &Transition) -> Result<CommitOutcome, StoreError> {
        let mut writes = vec![Write::Put(self.replace_order(transition)?)];
        writes.extend(self.change_lock(transition)?.map(Write::Update));
        match transact(&self.client, writes, self.conflict_budget).await? {
            Transacted::Committed => Ok(CommitOutcome::Committed),
            Transacted::Refused { .. } => Ok(CommitOutcome::Conflict),
        }
    }

    async fn apply_ticket(
        &self,
        ticket: &Ticket,
        rule: TicketRule,
    ) -> Result<TicketOutcome, StoreError> {
        retry_conflicts(self.conflict_budget, || self.update_ticket(ticket, rule)).await
    }
}

/// Start of the index query after this position: the keys of index and table.
fn start_key(query: &ListQuery, position: Position) -> Item {
    Item::from([
        ("user_id".to_owned(), text(&query.user_id)),
        ("created_at".to_owned(), number(position.created_at.epoch_ms())),
        ("id".to_owned(), text(&position.id)),
    ])
}

fn text(value: &impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

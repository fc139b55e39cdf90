//! The store on DynamoDB. Only this crate contains DynamoDB expressions.
//!
//! Reads of one item are strongly consistent: a ticket is free as soon as its order is cancelled, and a
//! buyer finds an order right after its 201. Writes are conditional on the state just read, so DynamoDB
//! itself decides races.

mod error;
mod items;
mod retry;
mod transaction;
mod writes;

use std::time::Duration;

pub use items::order_of_image;

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem},
};
use orders_domain::{
    BookedPayment, CommitOutcome, Direction, LapsedHolds, LapsedPage, ListQuery, LockChange, Order,
    OrderId, OrderStore, Page, PaymentId, PlaceOutcome, Placement, Position, Sale, ScanPosition,
    Slots, StoreError, TicketId, TicketOutcome, TicketReplica, TicketRule, Timestamp, Transition,
    UserId,
};

use crate::{
    error::store_error,
    items::{Item, OrderItem, PaymentItem, SCHEMA, TicketItem},
    retry::{Attempt, retry_conflicts},
    transaction::{Transacted, transact},
    writes::{READABLE, number, text},
};

/// Names of the four tables, each with the key `id`.
#[derive(Clone, Debug)]
pub struct TableNames {
    /// Orders table.
    pub orders: String,
    /// Tickets table.
    pub tickets: String,
    /// Payments table.
    pub payments: String,
    /// Buyers table.
    pub buyers: String,
}

/// Time for which orders without a sale are kept, from the end of their hold on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// For ever.
    #[default]
    Unlimited,
    /// For this time.
    Limited(Duration),
}

impl Retention {
    /// Time from which DynamoDB may remove the order; `None` if it is kept for ever.
    fn forget_at(self, order: &Order) -> Option<Timestamp> {
        match self {
            Self::Unlimited => None,
            Self::Limited(kept) => order.forget_at(kept),
        }
    }
}

/// Index of the orders table by (`user_id`, `created_at`).
pub const ORDERS_BY_USER: &str = "by_user";

/// The store on DynamoDB.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    tables: TableNames,
    conflict_budget: Duration,
    retention: Retention,
}

impl DynamoStore {
    /// A store on these tables, which keeps orders for ever. Conflicting writes are retried for at most
    /// `conflict_budget`.
    #[must_use]
    pub fn new(client: Client, tables: TableNames, conflict_budget: Duration) -> Self {
        Self { client, tables, conflict_budget, retention: Retention::default() }
    }

    /// The same store with another retention of orders.
    #[must_use]
    pub fn with_retention(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// The writes that place an order.
    fn placing(&self, placement: &Placement) -> Result<Vec<TransactWriteItem>, StoreError> {
        let (tables, Placement { order, takeover }) = (&self.tables, placement);
        // The order first: its item is the first of `found` if an earlier request has placed it.
        let mut transaction =
            vec![writes::insert_order(tables, order)?, writes::lock_ticket(tables, placement)?];
        if let Some(slot) = order.slot {
            transaction.push(writes::occupy_slot(tables, order, slot)?);
        }
        if let Some(takeover) = takeover {
            transaction.extend(writes::evict(tables, self.retention, takeover, order)?);
        }
        Ok(transaction)
    }

    /// The writes of a transition, without its slot.
    fn changing(&self, transition: &Transition) -> Result<Vec<TransactWriteItem>, StoreError> {
        let (tables, order) = (&self.tables, transition.order());
        let mut transaction = Vec::new();
        // The payment first: its item is the first of `found` if it has been booked for another order.
        if let Some(booked) = transition.booked() {
            transaction.push(writes::book_payment(tables, booked)?);
        }
        transaction.push(writes::change_order(tables, self.retention, transition)?);
        transaction.extend(writes::change_lock(tables, transition)?);
        if let LockChange::BuyBack { takeover: Some(takeover), .. } = transition.lock() {
            transaction.extend(writes::evict(tables, self.retention, takeover, order)?);
        }
        Ok(transaction)
    }

    /// Commits the writes with the slot's change, or without it if the slot no longer holds the order's
    /// old end: another order has it, or the buyer's item is gone.
    async fn transact_with_slot(
        &self,
        writes: impl Fn() -> Result<Vec<TransactWriteItem>, StoreError>,
        transition: &Transition,
    ) -> Result<Transacted, StoreError> {
        let Some(change) = transition.slot() else { return self.transact(writes).await };
        let with_slot = || {
            let mut all = writes()?;
            all.push(writes::change_slot(&self.tables, transition.order(), change)?);
            Ok(all)
        };
        let transacted = self.transact(with_slot).await?;
        match transacted {
            // Only the slot, the last write.
            Transacted::Refused { found, failed } if matches!(failed[..], [index] if index + 1 == found.len()) => {
                self.transact(writes).await
            }
            Transacted::Committed | Transacted::Refused { .. } => Ok(transacted),
        }
    }

    async fn transact(
        &self,
        writes: impl Fn() -> Result<Vec<TransactWriteItem>, StoreError>,
    ) -> Result<Transacted, StoreError> {
        transact(&self.client, writes, self.conflict_budget).await
    }

    /// Commits writes whose failed conditions all mean the same.
    async fn commit_all(
        &self,
        writes: impl Fn() -> Result<Vec<TransactWriteItem>, StoreError>,
    ) -> Result<CommitOutcome, StoreError> {
        match self.transact(writes).await? {
            Transacted::Committed => Ok(CommitOutcome::Committed),
            Transacted::Refused { .. } => Ok(CommitOutcome::Conflict),
        }
    }

    async fn update_ticket(&self, sale: &Sale, rule: TicketRule) -> Attempt<TicketOutcome> {
        // Signed: no ticket has the version before 0, which is -1.
        let previous = i128::from(sale.version().number()) - 1;
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.tickets)
            .key("id", text(sale.id()))
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#withdrawn", "withdrawn")
            .expression_attribute_values(":version", number(sale.version().number()))
            .expression_attribute_names("#schema", "schema")
            .expression_attribute_values(":schema", number(SCHEMA))
            .return_values(ReturnValue::UpdatedOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = match sale {
            Sale::Open(ticket) => request
                .update_expression(
                    "SET #title = :title, #price = :price, #version = :version REMOVE #withdrawn",
                )
                .expression_attribute_names("#title", "title")
                .expression_attribute_names("#price", "price")
                .expression_attribute_values(":title", text(&ticket.title))
                .expression_attribute_values(":price", number(ticket.price.minor())),
            Sale::Withdrawn { .. } => request
                .update_expression("SET #version = :version, #withdrawn = :withdrawn")
                .expression_attribute_values(":withdrawn", AttributeValue::Bool(true)),
        };
        let (condition, request) = match rule {
            TicketRule::Next => (
                "#version = :previous",
                request.expression_attribute_values(":previous", number(previous)),
            ),
            TicketRule::FirstOrNext => (
                "(attribute_not_exists(id) OR #version = :previous)",
                request.expression_attribute_values(":previous", number(previous)),
            ),
            TicketRule::AnyNewer => ("(attribute_not_exists(id) OR #version < :version)", request),
        };
        let request = request.condition_expression(format!("{condition} AND {READABLE}"));
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
                let stored = failed.item.clone().map(TicketItem::parse).transpose();
                stored.map_or_else(Attempt::Failed, |stored| {
                    let stored = stored.map(|replica| replica.sale);
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
        let mut items = response.items.unwrap_or_default();
        let has_more = items.len() > size || response.last_evaluated_key.is_some();
        items.truncate(size);
        // The position of an unreadable order counts too: the list goes on after it.
        let last = || items.iter().rev().find_map(|item| items::position(item).ok());
        let next = if has_more { last() } else { None };
        let readable = |item| match OrderItem::parse(item) {
            Err(StoreError::Unreadable(_)) => None,
            parsed => Some(parsed),
        };
        let orders = items.into_iter().filter_map(readable).collect::<Result<_, _>>()?;
        Ok(Page { orders, next })
    }

    async fn find_payment(&self, id: &PaymentId) -> Result<Option<BookedPayment>, StoreError> {
        let item = self.get(&self.tables.payments, text(id)).await?;
        item.map(PaymentItem::parse).transpose()
    }

    async fn find_slots(&self, user_id: &UserId) -> Result<Slots, StoreError> {
        let item = self.get(&self.tables.buyers, text(user_id)).await?;
        item.map_or_else(|| Ok(Slots::default()), items::slots)
    }

    async fn place(&self, placement: &Placement) -> Result<PlaceOutcome, StoreError> {
        // Not repeated after a conflict: ticket and slot have probably changed.
        match transaction::attempt(&self.client, self.placing(placement)?).await {
            Attempt::Done(Transacted::Committed) => Ok(PlaceOutcome::Placed),
            Attempt::Done(Transacted::Refused { found, .. }) => {
                match found.into_iter().next().flatten() {
                    Some(earlier) => Ok(PlaceOutcome::AlreadyPlaced(OrderItem::parse(earlier)?)),
                    None => Ok(PlaceOutcome::Conflict),
                }
            }
            Attempt::Conflict(_) => {
                metrics::counter!("WriteRetries").increment(1);
                Ok(PlaceOutcome::Conflict)
            }
            Attempt::Failed(error) => Err(error),
        }
    }

    async fn commit(&self, transition: &Transition) -> Result<CommitOutcome, StoreError> {
        let writes = || self.changing(transition);
        match self.transact_with_slot(writes, transition).await? {
            Transacted::Committed => Ok(CommitOutcome::Committed),
            Transacted::Refused { found, .. } => match found.into_iter().next().flatten() {
                Some(earlier) => {
                    let order_id = PaymentItem::parse(earlier)?.payment.order_id;
                    Ok(CommitOutcome::PaymentOfAnotherOrder(order_id))
                }
                None => Ok(CommitOutcome::Conflict),
            },
        }
    }

    async fn make_permanent(&self, order: &Order) -> Result<CommitOutcome, StoreError> {
        let tables = &self.tables;
        self.commit_all(|| {
            Ok(vec![writes::make_permanent(tables, order)?, writes::unchanged(tables, order)?])
        })
        .await
    }

    async fn apply_ticket(
        &self,
        sale: &Sale,
        rule: TicketRule,
    ) -> Result<TicketOutcome, StoreError> {
        retry_conflicts(self.conflict_budget, || self.update_ticket(sale, rule)).await
    }
}

impl LapsedHolds for DynamoStore {
    async fn find_lapsed(
        &self,
        before: Timestamp,
        after: Option<&ScanPosition>,
    ) -> Result<LapsedPage, StoreError> {
        let key = |position: &ScanPosition| Item::from([("id".to_owned(), text(&position.0))]);
        let response = self
            .client
            .scan()
            .table_name(&self.tables.tickets)
            .projection_expression("id")
            // A permanent lock has no end, and fails the comparison.
            .filter_expression("#locked_until <= :before")
            .expression_attribute_names("#locked_until", "locked_until")
            .expression_attribute_values(":before", number(before.epoch_ms()))
            .set_exclusive_start_key(after.map(key))
            .send()
            .await
            .map_err(store_error)?;
        let next = response.last_evaluated_key.as_ref().map(items::key).transpose()?;
        let keys = response.items.unwrap_or_default();
        // An id that is none belongs to a damaged item: it holds up no other.
        let id = |key: &Item| items::key(key).ok()?.parse().ok();
        Ok(LapsedPage {
            tickets: keys.iter().filter_map(id).collect(),
            next: next.map(|id| ScanPosition(id.to_owned())),
        })
    }

    async fn release(
        &self,
        ticket: &TicketId,
        ended: OrderId,
        now: Timestamp,
    ) -> Result<CommitOutcome, StoreError> {
        let tables = &self.tables;
        self.commit_all(|| {
            Ok(vec![
                writes::release(tables, ticket, ended, now)?,
                writes::ended(tables, ended, ticket)?,
            ])
        })
        .await
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

//! The functions of a release, by what AWS sends to them. Each release has its own copy of this module.

use std::time::Duration;

use aws_lambda_events::{apigw::ApiGatewayV2httpResponse, sqs::SqsEvent};
use aws_sdk_dynamodb::Client;
use tokio::time::Instant;

use super::{
    cancel_order,
    contracts::{ExpiryMessage, OutgoingEvent},
    create_order,
    domain::{BoxError, OrderId, SlotCount, Timestamp},
    dynamo::{DynamoStore, TableNames},
    expire_orders,
    lambda::{
        http::respond,
        queue::{Queue, process},
        stream,
    },
    list_orders,
    order_relay::{
        self,
        sink::{Expiry, RelaySink},
    },
    payment_events, show_order, ticket_events,
};
use crate::{
    release::Release,
    world::{HOLD, LATE_LIMIT, QueueName, Route, TIME_TO_PAY, World, context},
};

/// The functions of a release on the tables.
pub(crate) struct Functions {
    release: Release,
    store: DynamoStore,
}

impl Functions {
    pub(crate) fn new(release: Release, client: Client, world: &World) -> Self {
        let tables = TableNames {
            orders: world.tables.orders.clone(),
            tickets: world.tables.tickets.clone(),
            payments: world.tables.payments.clone(),
            buyers: world.tables.buyers.clone(),
        };
        Self { release, store: DynamoStore::new(client, tables, Duration::from_secs(4)) }
    }

    /// The response to an API Gateway event.
    pub(crate) async fn respond(
        &self,
        world: &World,
        route: Route,
        event: &str,
    ) -> ApiGatewayV2httpResponse {
        let (store, now) = (&self.store, now(world));
        let context = context(world.now_ms());
        match route {
            Route::Create => {
                let holds_per_buyer = SlotCount::DEFAULT;
                let limits = create_order::Limits { hold: HOLD, holds_per_buyer };
                let new_id = |now| Ok(OrderId::new(now, &world.random_bytes()));
                respond(event, &context, now, |request| {
                    create_order::handle(store, limits, new_id, request)
                })
                .await
            }
            Route::Show => {
                respond(event, &context, now, |request| show_order::handle(store, request)).await
            }
            Route::List => {
                respond(event, &context, now, |request| list_orders::handle(store, request)).await
            }
            Route::Cancel => {
                respond(event, &context, now, |request| cancel_order::handle(store, request)).await
            }
        }
    }

    /// Handles a batch of a queue. Returns the ids of the messages that stay in the queue.
    pub(crate) async fn receive(
        &self,
        world: &World,
        queue: QueueName,
        event: &SqsEvent,
    ) -> Vec<String> {
        let (store, now) = (&self.store, now(world));
        let (context, access) = (context(world.now_ms()), QueueAccess(world, queue));
        let response = match queue {
            QueueName::Tickets => {
                process(event, &context, now, &access, &async |message| {
                    ticket_events::handle(store, message).await
                })
                .await
            }
            QueueName::Payments => {
                let limits = payment_events::Limits {
                    late_payment: LATE_LIMIT,
                    time_to_pay: TIME_TO_PAY,
                };
                process(event, &context, now, &access, &async |message| {
                    payment_events::handle(store, limits, now, message).await
                })
                .await
            }
            QueueName::Expiries => {
                process(event, &context, now, &access, &async |message| {
                    expire_orders::handle(store, now, message).await
                })
                .await
            }
        };
        let failures = response.expect("messages with ids").batch_item_failures;
        failures.into_iter().map(|failure| failure.item_identifier).collect()
    }

    /// Relays a batch of the stream. Returns the sequence number of the first record that is not done.
    pub(crate) async fn relay(&self, world: &World, batch: &str) -> Option<String> {
        let records = stream::read(batch).expect("a batch");
        let deadline = Instant::now() + Duration::from_secs(9);
        order_relay::relay(&Sink(world, self.release), now(world), deadline, &records).await
    }
}

fn now(world: &World) -> Timestamp {
    Timestamp::from_epoch_ms(world.now_ms()).expect("before the year 9999")
}

struct QueueAccess<'a>(&'a World, QueueName);

impl Queue for QueueAccess<'_> {
    async fn set_visibility_timeout(
        &self,
        receipt_handle: &str,
        time: Duration,
    ) -> Result<(), BoxError> {
        self.0.set_visibility_timeout(self.1, receipt_handle, time);
        Ok(())
    }

    async fn send(&self, body: &str, delay: Duration) -> Result<(), BoxError> {
        self.0.send(self.1, body.to_owned(), delay);
        Ok(())
    }

    async fn dead_letter(&self, body: &str) -> Result<(), BoxError> {
        self.0.dead_letter(self.1, body);
        Ok(())
    }
}

/// Outputs of the relay, which never fail here.
struct Sink<'a>(&'a World, Release);

impl Sink<'_> {
    /// Sends the expiry message, delayed until this time.
    fn send_at(&self, (order_id, expires_at): Expiry, at: Timestamp) {
        let message = ExpiryMessage { order_id, expires_at: Some(expires_at) };
        let body = message.to_text().expect("a JSON message");
        self.0.send(QueueName::Expiries, body, now(self.0).until(at));
    }
}

impl RelaySink for Sink<'_> {
    async fn publish(&self, events: &[OutgoingEvent]) -> Vec<bool> {
        for event in events {
            self.0.published(&event.event_id);
        }
        vec![true; events.len()]
    }

    async fn schedule_expiry(&self, expiry: Expiry, at: Timestamp) -> Result<(), BoxError> {
        self.send_at(expiry, at);
        Ok(())
    }

    /// The schedule fires and finds a final order.
    async fn unschedule_expiry(&self, _expiry: Expiry) -> Result<(), BoxError> {
        Ok(())
    }

    async fn send_expiries(&self, expiries: &[Expiry]) -> Vec<bool> {
        for expiry in expiries {
            self.send_at(*expiry, expiry.1);
        }
        vec![true; expiries.len()]
    }

    async fn dead_letter(&self, record: &str) -> Result<(), BoxError> {
        self.0.dead_lettered_record(self.1, record);
        Ok(())
    }
}

//! Buyers with tokens, and the deployed stack as other services see it.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{Client as DynamoDb, types::AttributeValue};
use aws_sdk_eventbridge::{Client as EventBridge, types::PutEventsRequestEntry};

use aws_sdk_sqs::Client as Sqs;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stack::{Stack, stack};

/// An HTTP client with the token of a buyer.
#[derive(Clone, Debug)]
pub struct Buyer {
    /// `sub` of the token.
    pub sub: String,
    client: Client,
    token: String,
}

/// A response with its whole body.
#[derive(Clone, Debug)]
pub struct ApiResponse {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: reqwest::header::HeaderMap,
    /// Body.
    pub text: String,
}

impl ApiResponse {
    async fn read(response: Response) -> Self {
        let status = response.status();
        let headers = response.headers().clone();
        Self { status, headers, text: response.text().await.unwrap() }
    }

    /// Parses the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// Returns a required header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }

    /// Returns the status. Checks that the body of a 4xx or 5xx is a problem.
    #[track_caller]
    pub fn checked_status(&self) -> u16 {
        if self.status.is_client_error() || self.status.is_server_error() {
            assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
            let body = self.json();
            assert_eq!(body["status"], self.status.as_u16(), "{self:?}");
            assert!(body["errors"][0]["message"].is_string(), "{self:?}");
        }
        self.status.as_u16()
    }
}

/// Returns an HTTP client with the TLS of the functions.
pub fn http_client() -> Client {
    // Fails if another test of this process has installed a provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().timeout(Duration::from_mins(1)).build().unwrap()
}

/// Creates buyers.
pub fn new_buyers(count: usize) -> Vec<Buyer> {
    let subs: Vec<_> = (0..count).map(|_| format!("buyer-{}", Uuid::new_v4())).collect();
    let client = http_client();
    let tokens = stack().tokens(&subs);
    let buyers = subs.into_iter().zip(tokens);
    buyers.map(|(sub, token)| Buyer { sub, client: client.clone(), token }).collect()
}

/// Creates a buyer.
pub fn new_buyer() -> Buyer {
    new_buyers(1).remove(0)
}

/// Creates a buyer whose token has exactly these claims.
pub fn buyer_with_claims(claims: &Value) -> Buyer {
    let token = stack().tokens(&[claims.to_string()]).remove(0);
    Buyer { sub: claims["sub"].to_string(), client: http_client(), token }
}

impl Buyer {
    /// Builds a request with the buyer's token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", stack().api_url);
        self.client.request(method, url).bearer_auth(&self.token)
    }

    /// Sends a request and reads the response.
    pub async fn send(&self, request: RequestBuilder) -> ApiResponse {
        ApiResponse::read(request.send().await.unwrap()).await
    }

    /// Orders a ticket.
    pub async fn order(&self, ticket: &str) -> ApiResponse {
        let request = self.request(Method::POST, "/api/orders");
        self.send(request.json(&json!({ "ticketId": ticket }))).await
    }

    /// Orders a ticket with an idempotency key.
    pub async fn order_with_key(&self, ticket: &str, key: &str) -> ApiResponse {
        let request = self.request(Method::POST, "/api/orders").header("Idempotency-Key", key);
        self.send(request.json(&json!({ "ticketId": ticket }))).await
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> ApiResponse {
        self.send(self.request(Method::GET, path)).await
    }

    /// Orders a ticket and returns the body.
    ///
    /// # Errors
    /// If the connection breaks, or the body is not JSON.
    pub async fn try_order(&self, ticket: &str) -> Result<Value, reqwest::Error> {
        let request = self.request(Method::POST, "/api/orders");
        request.json(&json!({ "ticketId": ticket })).send().await?.json().await
    }

    /// Cancels an order and returns the status.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn try_cancel(&self, id: &str) -> Result<StatusCode, reqwest::Error> {
        let request = self.request(Method::DELETE, &format!("/api/orders/{id}"));
        Ok(request.send().await?.status())
    }

    /// Gets a path and returns the status.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn try_get(&self, path: &str) -> Result<StatusCode, reqwest::Error> {
        Ok(self.request(Method::GET, path).send().await?.status())
    }

    /// Cancels an order.
    pub async fn cancel(&self, id: &str) -> ApiResponse {
        self.send(self.request(Method::DELETE, &format!("/api/orders/{id}"))).await
    }
}

/// Bus, queues and tables of the deployed stack.
#[derive(Debug)]
pub struct TestStack {
    bus: EventBridge,
    /// DynamoDB client.
    pub tables: DynamoDb,
    queues: Sqs,
    stack: &'static Stack,
}

impl TestStack {
    /// Connects to the stack.
    pub async fn connect() -> Self {
        let sdk = stack().sdk_config().await;
        Self {
            bus: EventBridge::new(&sdk),
            tables: DynamoDb::new(&sdk),
            queues: Sqs::new(&sdk),
            stack: stack(),
        }
    }

    /// Publishes ticket events: `TicketCreated` for version 0, `TicketUpdated` for others.
    pub async fn publish_tickets(&self, tickets: &[Value]) {
        for batch in tickets.chunks(10) {
            let entries = batch.iter().map(|ticket| self.entry(ticket)).collect();
            let answer = self.bus.put_events().set_entries(Some(entries)).send().await.unwrap();
            assert_eq!(answer.failed_entry_count(), 0);
        }
    }

    /// Publishes `PaymentCreated` without an amount.
    pub async fn publish_payment(&self, payment: &str, order: &str) {
        let detail = json!({"id": payment, "orderId": order, "stripeId": "ch_1"});
        self.publish("payments", "PaymentCreated", &detail.to_string()).await;
    }

    /// Publishes an event.
    pub async fn publish(&self, source: &str, detail_type: &str, detail: &str) {
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.stack.bus_name)
            .source(source)
            .detail_type(detail_type)
            .detail(detail)
            .build();
        let answer = self.bus.put_events().entries(entry).send().await.unwrap();
        assert_eq!(answer.failed_entry_count(), 0);
    }

    /// Reads the row of an order.
    pub async fn order_row(&self, id: &str) -> Option<Value> {
        self.row("OrdersTableName", id).await
    }

    /// Sends a message directly to a queue.
    pub async fn send(&self, queue_output: &str, body: &str) {
        let url = self.stack.output(queue_output);
        self.queues.send_message().queue_url(url).message_body(body).send().await.unwrap();
    }

    /// Receives up to 10 messages of a queue and leaves them there.
    pub async fn peek(&self, queue_output: &str) -> Vec<String> {
        let url = self.stack.output(queue_output);
        let receive = self.queues.receive_message().queue_url(url).max_number_of_messages(10);
        let received = receive.visibility_timeout(1).send().await.unwrap();
        received
            .messages
            .unwrap_or_default()
            .into_iter()
            .filter_map(|message| message.body)
            .collect()
    }

    /// Deletes a message with exactly this body. Returns `false` if none was received.
    pub async fn delete_message(&self, queue_output: &str, body: &str) -> bool {
        let url = self.stack.output(queue_output);
        let receive = self.queues.receive_message().queue_url(url).max_number_of_messages(10);
        let received = receive.visibility_timeout(1).send().await.unwrap();
        let found = received.messages().iter().find(|message| message.body() == Some(body));
        if let Some(message) = found {
            let delete = self.queues.delete_message().queue_url(url);
            delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
        }
        found.is_some()
    }

    fn entry(&self, ticket: &Value) -> PutEventsRequestEntry {
        let kind = if ticket["version"] == 0 { "TicketCreated" } else { "TicketUpdated" };
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.stack.bus_name)
            .source("tickets")
            .detail_type(kind)
            .detail(ticket.to_string())
            .build()
    }

    /// Reads the row of a ticket.
    pub async fn ticket_row(&self, id: &str) -> Option<Value> {
        self.row("TicketsTableName", id).await
    }

    /// Reads the row of a payment.
    pub async fn payment_row(&self, id: &str) -> Option<Value> {
        self.row("PaymentsTableName", id).await
    }

    /// Reads the row of a buyer.
    pub async fn buyer_row(&self, id: &str) -> Option<Value> {
        self.row("BuyersTableName", id).await
    }

    /// Builds the stream record of the creation of an order.
    pub async fn creation_record(&self, id: &str) -> Value {
        let batch = include_str!("fixtures/stream_batch.json");
        let mut record: Value = serde_json::from_str::<Value>(batch).unwrap()["Records"][0].take();
        let mut image = self.item("OrdersTableName", id).await.unwrap();
        image.insert("version".to_owned(), AttributeValue::N("0".to_owned()));
        image.insert("status".to_owned(), AttributeValue::S("awaiting_payment".to_owned()));
        record["dynamodb"]["NewImage"] = wire(AttributeValue::M(image))["M"].take();
        record
    }

    /// Overwrites a row, as a restore or a manual repair does.
    pub async fn put_row(&self, table_output: &str, row: &Value) {
        let AttributeValue::M(item) = attribute(row) else { panic!("not a row: {row}") };
        let put = self.tables.put_item().table_name(self.stack.output(table_output));
        put.set_item(Some(item)).send().await.unwrap();
    }

    /// Removes a row.
    pub async fn remove_row(&self, table_output: &str, id: &str) {
        let delete = self.tables.delete_item().table_name(self.stack.output(table_output));
        delete.key("id", AttributeValue::S(id.to_owned())).send().await.unwrap();
    }

    async fn row(&self, table: &str, id: &str) -> Option<Value> {
        self.item(table, id).await.map(|item| plain(AttributeValue::M(item)))
    }

    async fn item(&self, table: &str, id: &str) -> Option<HashMap<String, AttributeValue>> {
        let answer = self
            .tables
            .get_item()
            .table_name(self.stack.output(table))
            .key("id", AttributeValue::S(id.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .unwrap();
        answer.item
    }

    /// Reads all orders for a ticket.
    pub async fn orders_for(&self, ticket: &str) -> Vec<Value> {
        let pages = self
            .tables
            .scan()
            .table_name(self.stack.output("OrdersTableName"))
            .filter_expression("ticket.id = :ticket")
            .expression_attribute_values(":ticket", AttributeValue::S(ticket.to_owned()))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let orders = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
        orders.into_iter().map(|order| plain(AttributeValue::M(order))).collect()
    }

    /// Publishes new tickets at version 0 and waits until all are stored.
    pub async fn new_tickets(&self, count: usize) -> Vec<String> {
        let ids: Vec<_> = (0..count).map(|_| format!("ticket-{}", Uuid::new_v4())).collect();
        let tickets: Vec<_> = ids.iter().map(|id| ticket(id, 0)).collect();
        self.publish_tickets(&tickets).await;
        for id in &ids {
            eventually(async || self.ticket_row(id).await.is_some()).await;
        }
        ids
    }

    /// Publishes a new ticket and waits until the ticket is stored.
    pub async fn new_ticket(&self) -> String {
        self.new_tickets(1).await.remove(0)
    }
}

/// Id of an order, from its JSON.
pub fn id_of(order: &Value) -> String {
    order["id"].as_str().unwrap().to_owned()
}

/// A new payment id.
pub fn new_payment() -> String {
    format!("payment-{}", Uuid::new_v4())
}

/// A ticket with a title and a price made from the version.
pub fn ticket(id: &str, version: u64) -> Value {
    let price: Value = serde_json::from_str(&format!("{version}.5")).unwrap();
    json!({"id": id, "title": format!("Version {version}"), "price": price, "version": version})
}

/// The time of this machine's clock.
pub fn utc_now() -> DateTime<Utc> {
    let ms = i64::try_from(orders_lambda::clock::now().epoch_ms()).unwrap();
    DateTime::from_timestamp_millis(ms).unwrap()
}

/// A message of `PaymentCreated` in the payment queue, sent at this time, with an amount unless null.
pub fn payment_message(
    payment: &str,
    order: &str,
    sent_at: DateTime<Utc>,
    amount: &Value,
) -> String {
    let mut detail = json!({"id": payment, "orderId": order});
    if !amount.is_null() {
        detail["amount"] = amount.clone();
    }
    let time = sent_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    json!({"source": "payments", "detail-type": "PaymentCreated", "time": time, "detail": detail})
        .to_string()
}

/// Waits up to 120 s for a condition.
pub async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..1_200 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the condition did not become true in 120 s");
}

/// A JSON value as an attribute, for the types of the tables.
fn attribute(value: &Value) -> AttributeValue {
    match value {
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::Bool(flag) => AttributeValue::Bool(*flag),
        Value::Array(list) => AttributeValue::L(list.iter().map(attribute).collect()),
        Value::Object(map) => AttributeValue::M(
            map.iter().map(|(key, value)| (key.clone(), attribute(value))).collect(),
        ),
        Value::Null => panic!("an attribute has a value"),
    }
}

/// An attribute in DynamoDB's JSON, for the types of the tables.
fn wire(value: AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(flag) => json!({ "BOOL": flag }),
        AttributeValue::L(list) => json!({ "L": list.into_iter().map(wire).collect::<Vec<_>>() }),
        AttributeValue::M(map) => {
            let fields = map.into_iter().map(|(key, value)| (key, wire(value)));
            json!({ "M": fields.collect::<serde_json::Map<_, _>>() })
        }
        other => panic!("unexpected attribute {other:?}"),
    }
}

/// An attribute as plain JSON, for the types of the tables.
fn plain(value: AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!(text),
        AttributeValue::N(number) => serde_json::from_str(&number).unwrap(),
        AttributeValue::Bool(flag) => json!(flag),
        AttributeValue::L(list) => list.into_iter().map(plain).collect(),
        AttributeValue::M(map) => map.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        other => panic!("unexpected attribute {other:?}"),
    }
}

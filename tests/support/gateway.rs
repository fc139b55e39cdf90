//! API Gateway events and function responses, as JSON and without a socket.

use std::time::Duration;

use lambda_http::{Context, Response};
use orders_domain::{OrderStore, SlotCount};
use orders_lambda::{
    clock,
    http::{ApiRequest, respond},
    problem::Problem,
};
use serde_json::{Value, json};

/// A recorded event of `GET /api/orders` by alice.
const EVENT: &str = include_str!("fixtures/http_api_request.json");

/// An API Gateway event.
#[derive(Clone, Debug)]
pub struct Event(Value);

impl Event {
    /// A request by alice.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        let event = serde_json::from_str(EVENT).expect("a JSON fixture");
        Self(event)
            .with("/requestContext/http/method", json!(method))
            .with("/requestContext/http/path", json!(path))
            .with("/rawPath", json!(path))
    }

    /// `POST /api/orders` with this body.
    #[must_use]
    pub fn post(body: &str) -> Self {
        let event = Self::new("POST", "/api/orders").set("body", json!(body));
        event.header("content-type", "application/json")
    }

    /// A request for an order.
    #[must_use]
    pub fn for_order(method: &str, id: &str) -> Self {
        let event = Self::new(method, &format!("/api/orders/{id}"));
        event.set("pathParameters", json!({"id": id}))
    }

    /// Sets the buyer.
    #[must_use]
    pub fn by(self, sub: &str) -> Self {
        self.with("/requestContext/authorizer/jwt/claims/sub", json!(sub))
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0["headers"][name] = json!(value);
        self
    }

    /// Sets the query string.
    #[must_use]
    pub fn query(self, query: &str) -> Self {
        self.set("rawQueryString", json!(query))
    }

    /// Sets a top-level field of the event.
    #[must_use]
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }

    /// Replaces a field of the fixture.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        *self.0.pointer_mut(pointer).expect("a field of the fixture") = value;
        self
    }

    /// The event as API Gateway sends it.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.0.to_string()
    }

    /// Sends the request to a handler.
    pub async fn to<F>(&self, handler: impl FnOnce(ApiRequest) -> F) -> ApiResponse
    where
        F: Future<Output = Result<Response<String>, Problem>>,
    {
        let context = context();
        let response = respond(&self.to_json(), &context, clock::now(), handler).await;
        ApiResponse(serde_json::to_value(response).expect("a JSON response"))
    }
}

/// An invocation with a deadline in 10 s.
#[must_use]
pub fn context() -> Context {
    let mut context = Context::default();
    context.request_id = String::from("8476a536-e9f4-11e8-9739-2dfe598c3fcd");
    context.deadline = clock::now().plus(Duration::from_secs(10)).epoch_ms();
    context
}

/// Response of a function to API Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiResponse(Value);

impl ApiResponse {
    /// HTTP status.
    #[must_use]
    pub fn status(&self) -> u64 {
        self.0["statusCode"].as_u64().expect("a status")
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0["headers"][name].as_str()
    }

    /// Body as JSON; null if there is none.
    #[must_use]
    pub fn body(&self) -> Value {
        let body = self.0["body"].as_str();
        body.map_or(Value::Null, |body| serde_json::from_str(body).expect("a JSON body"))
    }

    /// Body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0["body"].as_str().unwrap_or_default()
    }
}

/// The four HTTP functions on a store.
#[derive(Debug, Default)]
pub struct Api<S> {
    /// Store of the functions.
    pub store: S,
}

/// Hold of new orders.
pub const HOLD: Duration = Duration::from_secs(30);

/// Limits of new orders.
pub const LIMITS: create_order::Limits =
    create_order::Limits { hold: HOLD, holds_per_buyer: SlotCount::DEFAULT };

impl<S: OrderStore> Api<S> {
    /// Sends the request to `create-order`.
    pub async fn create(&self, event: &Event) -> ApiResponse {
        self.create_within(LIMITS, event).await
    }

    /// Sends the request to `create-order` with these limits.
    pub async fn create_within(&self, limits: create_order::Limits, event: &Event) -> ApiResponse {
        event
            .to(|request| create_order::handle(&self.store, limits, clock::new_order_id, request))
            .await
    }

    /// Sends the request to `show-order`.
    pub async fn show(&self, event: &Event) -> ApiResponse {
        event.to(|request| show_order::handle(&self.store, request)).await
    }

    /// Sends the request to `list-orders`.
    pub async fn list(&self, event: &Event) -> ApiResponse {
        event.to(|request| list_orders::handle(&self.store, request)).await
    }

    /// Sends the request to `cancel-order`.
    pub async fn cancel(&self, event: &Event) -> ApiResponse {
        event.to(|request| cancel_order::handle(&self.store, request)).await
    }
}

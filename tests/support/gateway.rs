//! Requests as API Gateway sends them to a function, and answers as it gets them back. No socket: the
//! event's JSON goes in, the answer's JSON comes out.

use std::time::Duration;

use lambda_http::{Context, Response};
use orders_domain::OrderStore;
use orders_lambda::{
    clock,
    http::{ApiRequest, respond},
    problem::Problem,
};
use serde_json::{Value, json};

/// A real event, of `GET /api/orders` by alice.
const EVENT: &str = include_str!("fixtures/http_api_request.json");

/// A request on its way to a function.
#[derive(Clone, Debug)]
pub struct Event(Value);

impl Event {
    /// A request by alice.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        let event = serde_json::from_str(EVENT).expect("the fixture is JSON");
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

    /// A request for one order.
    #[must_use]
    pub fn of_order(method: &str, id: &str) -> Self {
        let event = Self::new(method, &format!("/api/orders/{id}"));
        event.set("pathParameters", json!({"id": id}))
    }

    /// The request, by another buyer.
    #[must_use]
    pub fn by(self, sub: &str) -> Self {
        self.with("/requestContext/authorizer/jwt/claims/sub", json!(sub))
    }

    /// The request, with a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0["headers"][name] = json!(value);
        self
    }

    /// The request, with a query.
    #[must_use]
    pub fn query(self, query: &str) -> Self {
        self.set("rawQueryString", json!(query))
    }

    /// The request, with a top-level field of the event set.
    #[must_use]
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }

    /// The request, with a field of the fixture changed.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        *self.0.pointer_mut(pointer).expect("the fixture has the field") = value;
        self
    }

    /// Sends the request to a function.
    pub async fn to<F>(&self, handler: impl FnOnce(ApiRequest) -> F) -> Answer
    where
        F: Future<Output = Result<Response<String>, Problem>>,
    {
        let context = context();
        let response = respond(&self.0.to_string(), &context, clock::now(), handler).await;
        Answer(serde_json::to_value(response).expect("an answer is JSON"))
    }
}

/// An invocation that may take ten seconds.
#[must_use]
pub fn context() -> Context {
    let mut context = Context::default();
    context.request_id = String::from("8476a536-e9f4-11e8-9739-2dfe598c3fcd");
    context.deadline = clock::now().plus(Duration::from_secs(10)).epoch_ms();
    context
}

/// A function's answer, as API Gateway gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer(Value);

impl Answer {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u64 {
        self.0["statusCode"].as_u64().expect("an answer has a status")
    }

    /// A header, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0["headers"][name].as_str()
    }

    /// The body as JSON; null if there is none.
    #[must_use]
    pub fn body(&self) -> Value {
        let body = self.0["body"].as_str();
        body.map_or(Value::Null, |body| serde_json::from_str(body).expect("a body is JSON"))
    }

    /// The body's text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0["body"].as_str().unwrap_or_default()
    }
}

/// The four functions of the HTTP API on one store.
#[derive(Debug, Default)]
pub struct Api<S> {
    /// What they work on.
    pub store: S,
}

/// How long the functions hold a ticket.
pub const HOLD: Duration = Duration::from_secs(30);

impl<S: OrderStore> Api<S> {
    /// Sends the request to `create-order`.
    pub async fn create(&self, event: &Event) -> Answer {
        event.to(|call| create_order::handle(&self.store, HOLD, clock::new_order_id, call)).await
    }

    /// Sends the request to `show-order`.
    pub async fn show(&self, event: &Event) -> Answer {
        event.to(|call| show_order::handle(&self.store, call)).await
    }

    /// Sends the request to `list-orders`.
    pub async fn list(&self, event: &Event) -> Answer {
        event.to(|call| list_orders::handle(&self.store, call)).await
    }

    /// Sends the request to `cancel-order`.
    pub async fn cancel(&self, event: &Event) -> Answer {
        event.to(|call| cancel_order::handle(&self.store, call)).await
    }
}

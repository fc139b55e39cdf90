//! HTTP requests, from API Gateway's event to the response, and checks of each response.

use std::sync::Arc;

use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use orders_domain::OrderId;
use orders_lambda::http::respond;
use orders_tests::history::{Operation, Outcome, Request};

use crate::{
    coverage::{Fault, Observed},
    invocation::{Invocation, invoke},
    promises::traceparent,
    world::World,
};

/// A request to a function, as an API Gateway event.
pub(crate) struct FunctionCall {
    function: &'static str,
    event: String,
}

impl FunctionCall {
    /// Builds the event of a request. `id` is the order id of the path.
    pub(crate) fn new(
        function: &'static str,
        buyer: &str,
        id: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Self {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
        let (headers, body) = (headers.join(","), body.replace('"', "\\\""));
        let event = format!(
            r#"{{"version":"2.0","routeKey":"$default","rawPath":"/api/orders","rawQueryString":"{query}","headers":{{{headers}}},"pathParameters":{{"id":"{id}"}},"requestContext":{{"authorizer":{{"jwt":{{"claims":{{"sub":"{buyer}"}},"scopes":null}}}},"http":{{"method":"GET","path":"/api/orders","protocol":"HTTP/1.1","sourceIp":"203.0.113.7","userAgent":""}},"routeKey":"$default","stage":"$default","timeEpoch":0}},"body":"{body}","isBase64Encoded":false}}"#
        );
        Self { function, event }
    }

    /// Runs the function. Returns `None` without a response.
    pub(crate) async fn run(&self, world: &Arc<World>) -> Option<FunctionResponse> {
        let response =
            invoke(world, self.function, async |invocation| self.invoke(invocation).await).await;
        let status = response.as_ref().map(|response| response.status);
        world.log(|| format!("{} responds {status:?}", self.function));
        if status.is_some_and(|status| status >= 500 && status != 503) {
            world.report_violation(format!("promise 13: {status:?} for {}", self.event));
        }
        response
    }

    async fn invoke(&self, invocation: Arc<Invocation>) -> FunctionResponse {
        let (context, now) = (invocation.context(), invocation.now());
        let (store, limits) = (invocation.begin_command(), invocation.world.plan.order_limits());
        let new_id = |now| {
            let random = invocation.world.state().rng.u128(..).to_be_bytes();
            Ok(OrderId::new(now, random.first_chunk().ok_or("too short")?))
        };
        let event = self.event.as_str();
        let response = match self.function {
            "create-order" => {
                respond(event, &context, now, |request| {
                    create_order::handle(&store, limits, new_id, request)
                })
                .await
            }
            "show-order" => {
                respond(event, &context, now, |request| show_order::handle(&store, request)).await
            }
            "list-orders" => {
                respond(event, &context, now, |request| list_orders::handle(&store, request)).await
            }
            _ => {
                respond(event, &context, now, |request| cancel_order::handle(&store, request)).await
            }
        };
        if response.status_code == 503 && !invocation.may_be_unavailable() {
            invocation
                .world
                .report_violation(format!("promise 6: 503 without a failed call for {event}"));
        }
        FunctionResponse::new(response, invocation.placed())
    }
}

/// Response of a function.
pub(crate) struct FunctionResponse {
    pub(crate) status: i64,
    body: String,
    /// Order that the function has placed.
    placed: Option<OrderId>,
}

impl FunctionResponse {
    fn new(response: ApiGatewayV2httpResponse, placed: Option<OrderId>) -> Self {
        let body = match response.body {
            Some(Body::Text(text)) => text,
            _ => String::new(),
        };
        Self { status: response.status_code, body, placed }
    }

    /// Returns the outcome of the response, or `None` if the API does not allow the response.
    fn outcome(&self, operation: &Operation) -> Option<(Outcome, Observed)> {
        let outcome = Outcome::read(operation, self.status.try_into().ok()?, &self.body)?;
        let observed = match (&outcome, operation) {
            (Outcome::Placed(_), _) => Observed::Created,
            (Outcome::Order(_), Operation::Place { key: Some(_), .. }) => Observed::Repeated,
            (Outcome::Order(_), Operation::Place { key: None, .. }) => Observed::OwnOrder,
            (Outcome::Order(_), _) => Observed::Shown,
            (Outcome::Orders(_), _) => Observed::Listed,
            (Outcome::Cancelled, _) => Observed::CancelAccepted,
            (Outcome::Reserved, _) => Observed::Reserved,
            (Outcome::Sold, _) => Observed::Sold,
            (Outcome::NoSuchTicket | Outcome::NoSuchOrder, _) => Observed::NotFound,
            (Outcome::Withdrawn, _) => Observed::Withdrawn,
            (Outcome::TicketChanged { version }, Operation::Place { version: seen, .. })
                if seen.is_some_and(|seen| seen > *version) =>
            {
                Observed::TicketBehind
            }
            (Outcome::TicketChanged { .. }, _) => Observed::TicketChanged,
            (Outcome::TooManyHolds, _) => Observed::TooManyHolds,
            (Outcome::KeyReused, _) => Observed::KeyReused,
            (Outcome::OrderPaid, _) => Observed::OrderPaid,
            (Outcome::Unknown, _) => Observed::Unavailable,
        };
        Some((outcome, observed))
    }
}

impl World {
    /// Sends a request of a buyer and records the outcome.
    pub(crate) async fn call_api(self: &Arc<Self>, buyer: &str, operation: Operation) -> Outcome {
        let from_ms = self.now_ms();
        self.log(|| format!("{buyer}: {operation:?}"));
        let call = self.function_call(buyer, &operation);
        let response = call.run(self).await;
        let outcome = match &response {
            None => {
                self.count(Observed::NoResponse);
                Outcome::Unknown
            }
            Some(response) => self.check_response(buyer, &operation, response, from_ms),
        };
        self.latency().await;
        let received = if self.fault(Fault::ResponseLost) { Outcome::Unknown } else { outcome };
        let to_ms = self.now_ms();
        let request = Request {
            buyer: buyer.to_owned(),
            operation,
            from_ms,
            to_ms,
            outcome: received.clone(),
        };
        self.state().history.requests.push(request);
        received
    }

    fn function_call(&self, buyer: &str, operation: &Operation) -> FunctionCall {
        match operation {
            Operation::Place { ticket, key, version } => {
                let correlation_id =
                    self.state().promises.order_requested(buyer, ticket, key.as_deref(), *version);
                let traceparent = traceparent(&correlation_id);
                let mut headers = vec![("x-correlation-id", correlation_id.as_str())];
                headers.extend(traceparent.as_ref().map(|value| ("traceparent", value.as_str())));
                headers.extend(key.as_ref().map(|key| ("idempotency-key", key.as_str())));
                let version = version.map(|version| format!(r#","ticketVersion":{version}"#));
                let version = version.unwrap_or_default();
                let body = format!(r#"{{"ticketId":"{ticket}"{version}}}"#);
                FunctionCall::new("create-order", buyer, "", "", &headers, &body)
            }
            Operation::Show { order } => FunctionCall::new("show-order", buyer, order, "", &[], ""),
            Operation::List => FunctionCall::new("list-orders", buyer, "", "limit=100", &[], ""),
            Operation::Cancel { order } => {
                self.state().promises.cancel_requested(buyer, order);
                FunctionCall::new("cancel-order", buyer, order, "", &[], "")
            }
        }
    }

    fn check_response(
        &self,
        buyer: &str,
        operation: &Operation,
        response: &FunctionResponse,
        from_ms: u64,
    ) -> Outcome {
        let Some((outcome, observed)) = response.outcome(operation) else {
            self.report_violation(format!(
                "unexpected response to {operation:?}: {} {}",
                response.status, response.body
            ));
            return Outcome::Unknown;
        };
        let now_ms = self.now_ms();
        let mut state = self.state();
        state.coverage.observed(observed);
        state.promises.check_response(buyer, operation, &outcome, response.placed, from_ms, now_ms);
        outcome
    }
}

//! Requests of the HTTP API, from API Gateway's event to its answer, and what no answer may say.

use std::sync::Arc;

use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use orders_domain::OrderId;
use orders_lambda::http::respond;
use orders_tests::history::{Answer, Asked, Request};

use crate::{
    coverage::{Fault, Observed},
    invocation::{Invocation, invoke},
    world::World,
};

/// A request on its way: as API Gateway hands it to a function.
pub(crate) struct Sent {
    function: &'static str,
    event: String,
}

impl Sent {
    /// A request of a buyer. `path` ends in the order's id, where there is one.
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

    /// The function's answer, if there is one.
    pub(crate) async fn respond(&self, world: &Arc<World>) -> Option<Told> {
        let told =
            invoke(world, self.function, async |invocation| self.run(invocation).await).await;
        let status = told.as_ref().map(|told| told.status);
        world.tell(|| format!("{} answers {status:?}", self.function));
        if status.is_some_and(|status| status >= 500 && status != 503) {
            world.broken(format!("promise 13: a {status:?} answers {}", self.event));
        }
        told
    }

    async fn run(&self, invocation: Arc<Invocation>) -> Told {
        let (context, now) = (invocation.context(), invocation.now());
        let (store, hold) = (invocation.store(), invocation.world.plan.hold);
        let new_id = |now| {
            let random = invocation.world.state().rng.u128(..).to_be_bytes();
            Ok(OrderId::new(now, random.first_chunk().ok_or("too short")?))
        };
        let event = self.event.as_str();
        let response = match self.function {
            "create-order" => {
                respond(event, &context, now, |call| {
                    create_order::handle(&store, hold, new_id, call)
                })
                .await
            }
            "show-order" => {
                respond(event, &context, now, |call| show_order::handle(&store, call)).await
            }
            "list-orders" => {
                respond(event, &context, now, |call| list_orders::handle(&store, call)).await
            }
            _ => respond(event, &context, now, |call| cancel_order::handle(&store, call)).await,
        };
        if response.status_code == 503 && !invocation.may_be_at_a_loss() {
            invocation.world.broken(format!("promise 6: 503 for no reason answers {event}"));
        }
        Told::new(response, invocation.has_placed())
    }
}

/// What a function has answered.
pub(crate) struct Told {
    pub(crate) status: i64,
    body: String,
    /// Whether the function has placed an order.
    has_placed: bool,
}

impl Told {
    fn new(response: ApiGatewayV2httpResponse, has_placed: bool) -> Self {
        let body = match response.body {
            Some(Body::Text(text)) => text,
            _ => String::new(),
        };
        Self { status: response.status_code, body, has_placed }
    }

    /// The answer to this, if it is one that may be given.
    fn to(&self, asked: &Asked) -> Option<(Answer, Observed)> {
        let answer = Answer::read(asked, self.status.try_into().ok()?, &self.body)?;
        let observed = match (&answer, asked) {
            (Answer::Order(_), Asked::Place { .. }) if self.has_placed => Observed::Created,
            (Answer::Order(_), Asked::Place { .. }) => Observed::Repeated,
            (Answer::Order(_), _) => Observed::Shown,
            (Answer::Orders(_), _) => Observed::Listed,
            (Answer::Cancelled, _) => Observed::Let,
            (Answer::Reserved, _) => Observed::Reserved,
            (Answer::Sold, _) => Observed::Sold,
            (Answer::NoSuchTicket | Answer::NoSuchOrder, _) => Observed::NotFound,
            (Answer::KeyReused, _) => Observed::KeyReused,
            (Answer::OrderPaid, _) => Observed::OrderPaid,
            (Answer::Unknown, _) => Observed::Unavailable,
        };
        Some((answer, observed))
    }
}

impl World {
    /// Asks for something, as a buyer.
    pub(crate) async fn ask(self: &Arc<Self>, buyer: &str, asked: Asked) -> Answer {
        let from_ms = self.now_ms();
        self.tell(|| format!("{buyer}: {asked:?}"));
        let sent = self.sent(buyer, &asked);
        let told = sent.respond(self).await;
        let answer = match &told {
            None => {
                self.count(Observed::NoAnswer);
                Answer::Unknown
            }
            Some(told) => self.judged(buyer, &asked, told, from_ms),
        };
        self.latency().await;
        let heard = if self.fault(Fault::AnswerLost) { Answer::Unknown } else { answer };
        let to_ms = self.now_ms();
        let request =
            Request { buyer: buyer.to_owned(), asked, from_ms, to_ms, answer: heard.clone() };
        self.state().history.requests.push(request);
        heard
    }

    fn sent(&self, buyer: &str, asked: &Asked) -> Sent {
        match asked {
            Asked::Place { ticket, key } => {
                let correlation_id =
                    self.state().promises.order_wanted(buyer, ticket, key.as_deref());
                let mut headers = vec![("x-correlation-id", correlation_id.as_str())];
                headers.extend(key.as_ref().map(|key| ("idempotency-key", key.as_str())));
                let body = format!(r#"{{"ticketId":"{ticket}"}}"#);
                Sent::new("create-order", buyer, "", "", &headers, &body)
            }
            Asked::Show { order } => Sent::new("show-order", buyer, order, "", &[], ""),
            Asked::List => Sent::new("list-orders", buyer, "", "limit=100", &[], ""),
            Asked::Cancel { order } => {
                self.state().promises.cancel_wanted(buyer, order);
                Sent::new("cancel-order", buyer, order, "", &[], "")
            }
        }
    }

    fn judged(&self, buyer: &str, asked: &Asked, told: &Told, from_ms: u64) -> Answer {
        let Some((answer, observed)) = told.to(asked) else {
            self.broken(format!("{asked:?} is answered {} {}", told.status, told.body));
            return Answer::Unknown;
        };
        let mut state = self.state();
        state.coverage.observed(observed);
        state.promises.answered(buyer, asked, &answer, told.has_placed, from_ms);
        answer
    }
}

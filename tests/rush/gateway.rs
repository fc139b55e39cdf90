//! API Gateway: the throttles of the stage, and the functions' own code behind them.

use std::{sync::Arc, time::Duration};

use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use orders_domain::{OrderId, SlotCount};
use orders_lambda::http::respond;
use tokio::time::{Instant, sleep};

use crate::{
    lambda::{Function, Invocation, invoke},
    latency::{GATEWAY, cpu_us},
    meter::{Rate, Usage},
    settings::Settings,
    store::LimitedStore,
    world::{World, measured, timestamp},
};

/// The throttles.
pub(crate) struct Gateway {
    account: Rate,
    orders: Rate,
    shown: Rate,
    cancelled: Rate,
    pub(crate) requests: u64,
}

impl Gateway {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            account: Rate::with_burst(settings.gateway_rate, settings.gateway_rate / 2.0),
            orders: Rate::with_burst(
                settings.orders_per_second.into(),
                settings.orders_burst.into(),
            ),
            shown: Rate::new(settings.requests_per_second.into()),
            cancelled: Rate::new(settings.requests_per_second.into()),
            requests: 0,
        }
    }

    fn accepts(&mut self, function: Function, now_ms: u64) -> bool {
        self.requests += 1;
        let route = match function {
            Function::CreateOrder => &mut self.orders,
            Function::CancelOrder => &mut self.cancelled,
            _ => &mut self.shown,
        };
        route.try_take(1.0, now_ms) && self.account.try_take(1.0, now_ms)
    }

    pub(crate) fn usage(&self) -> Vec<Usage> {
        vec![
            self.orders.usage("API Gateway, OrdersPerSecond"),
            self.shown.usage("API Gateway, orders shown"),
            self.cancelled.usage("API Gateway, cancellations"),
            self.account.usage("API Gateway, account"),
        ]
    }
}

/// A response as the buyer sees it.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// Status; a 503 without `Retry-After` has a name of its own.
    pub(crate) status: &'static str,
    pub(crate) retry_after: Option<Duration>,
    /// Order of the `Location`.
    pub(crate) order: Option<OrderId>,
}

/// 503 of API Gateway for a function that Lambda throttles. AWS does not document it; it has no
/// `Retry-After`.
pub(crate) const THROTTLED: &str = "503 without Retry-After";
/// 503 of API Gateway for a function that times out.
pub(crate) const TIMED_OUT: &str = "503 after a timeout";

/// A buyer whose requests are counted apart.
pub(crate) const BOT: &str = "bot";

impl World {
    /// Orders a ticket.
    pub(crate) async fn order(self: &Arc<Self>, buyer: &str, ticket: &str) -> Response {
        let body = format!(r#"{{\"ticketId\":\"{ticket}\"}}"#);
        self.request(Function::CreateOrder, buyer, "", &body).await
    }

    /// Shows an order.
    pub(crate) async fn show(self: &Arc<Self>, buyer: &str, order: OrderId) -> Response {
        self.request(Function::ShowOrder, buyer, &order.to_string(), "").await
    }

    /// Cancels an order.
    pub(crate) async fn cancel(self: &Arc<Self>, buyer: &str, order: OrderId) -> Response {
        self.request(Function::CancelOrder, buyer, &order.to_string(), "").await
    }

    async fn request(
        self: &Arc<Self>,
        function: Function,
        buyer: &str,
        id: &str,
        body: &str,
    ) -> Response {
        let sent = Instant::now();
        let way = self.sample(GATEWAY) / 2;
        sleep(way).await;
        let response = if self.gateway().accepts(function, self.now_ms()) {
            self.respond(function, &event(buyer, id, body)).await
        } else {
            Response::of_gateway("429")
        };
        sleep(way).await;
        self.count(buyer, &response, sent);
        response
    }

    async fn respond(self: &Arc<Self>, function: Function, event: &str) -> Response {
        let code = async |invocation: &Invocation| run(invocation, function, event).await;
        match invoke(self, function, code).await {
            Err(_) => Response::of_gateway(THROTTLED),
            Ok(None) => Response::of_gateway(TIMED_OUT),
            Ok(Some(response)) => Response::of_function(&response),
        }
    }

    fn count(&self, buyer: &str, response: &Response, sent: Instant) {
        let elapsed = measured(u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut seen = self.seen();
        if buyer == BOT {
            *seen.of_bot.entry(response.status).or_default() += 1;
            return;
        }
        *seen.statuses.entry(response.status).or_default() += 1;
        if response.status != "429" {
            seen.responses.push(elapsed);
        }
        if response.status.starts_with('2') {
            seen.successes.push(elapsed);
        }
    }
}

/// Runs a function of the API.
async fn run(invocation: &Invocation, function: Function, event: &str) -> ApiGatewayV2httpResponse {
    let world = &invocation.world;
    let (context, now) = (invocation.context(), timestamp(world.now_ms()));
    let store = LimitedStore(Arc::clone(world));
    match function {
        Function::CreateOrder => {
            invocation.compute(cpu_us::CREATE).await;
            let new_id = |now| {
                let random = world.rng().u128(..).to_be_bytes();
                Ok(OrderId::new(now, random.first_chunk().ok_or("too short")?))
            };
            let limits = limits_of(&world.settings);
            respond(event, &context, now, |request| {
                create_order::handle(&store, limits, new_id, request)
            })
            .await
        }
        Function::CancelOrder => {
            invocation.compute(cpu_us::CANCEL).await;
            respond(event, &context, now, |request| cancel_order::handle(&store, request)).await
        }
        _ => {
            invocation.compute(cpu_us::SHOW).await;
            respond(event, &context, now, |request| show_order::handle(&store, request)).await
        }
    }
}

fn limits_of(settings: &Settings) -> create_order::Limits {
    let holds_per_buyer = SlotCount::try_from(settings.holds_per_buyer).expect("a slot count");
    create_order::Limits { hold: settings.hold, holds_per_buyer }
}

fn event(buyer: &str, id: &str, body: &str) -> String {
    format!(
        r#"{{"version":"2.0","routeKey":"$default","rawPath":"/","rawQueryString":"","headers":{{}},"pathParameters":{{"id":"{id}"}},"requestContext":{{"authorizer":{{"jwt":{{"claims":{{"sub":"{buyer}"}},"scopes":null}}}},"http":{{"method":"GET","path":"/","protocol":"HTTP/1.1","sourceIp":"203.0.113.7","userAgent":""}},"routeKey":"$default","stage":"$default","timeEpoch":0}},"body":"{body}","isBase64Encoded":false}}"#
    )
}

impl Response {
    fn of_gateway(status: &'static str) -> Self {
        Self { status, retry_after: None, order: None }
    }

    fn of_function(response: &ApiGatewayV2httpResponse) -> Self {
        let header = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
        let seconds = header("retry-after").and_then(|value| value.parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        let order =
            header("location").and_then(|location| location.rsplit('/').next()?.parse().ok());
        let status = match response.status_code {
            200 => "200",
            201 => "201",
            204 => "204",
            404 => "404",
            409 if retry_after.is_some() => "409 reserved",
            409 => "409 sold",
            410 => "410",
            503 if retry_after.is_some() => "503",
            503 => THROTTLED,
            _ => "other",
        };
        Self { status, retry_after, order }
    }

    pub(crate) fn is(&self, status: &str) -> bool {
        self.status == status
    }
}

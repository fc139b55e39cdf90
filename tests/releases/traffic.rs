//! Buyers, sellers and the payment service, and the deployments that move their traffic.

use std::{rc::Rc, time::Duration};

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use chrono::{DateTime, SecondsFormat};
use lambda_http::Body;
use orders_tests::gateway::Event;
use serde_json::{Value, json};

use crate::{
    deliveries::{Invoked, Service},
    release::{Release, number, text},
    world::{Key, QueueName, Route, World},
};

pub(crate) const TICKETS: u64 = 3;
pub(crate) const BUYERS: [&str; 3] = ["alice", "bob", "carol"];
/// Prices in whole dollars. A ticket without a price can be given back.
const PRICES: [u64; 4] = [0, 10, 20, 30];

/// A request, and what its response may depend on.
pub(crate) struct Request<'a> {
    pub(crate) route: Route,
    pub(crate) buyer: &'a str,
    /// Ticket of a new order.
    pub(crate) ticket: &'a str,
    pub(crate) event: Event,
}

/// A response: status, `Link` header and body.
pub(crate) struct Response {
    pub(crate) status: i64,
    pub(crate) link: Option<String>,
    pub(crate) body: Value,
}

impl Response {
    fn new(response: ApiGatewayV2httpResponse) -> Self {
        let link = response.headers.get("link").and_then(|link| link.to_str().ok());
        let link = link.map(ToOwned::to_owned);
        let body = match response.body {
            Some(Body::Text(text)) => serde_json::from_str(&text).expect("a JSON body"),
            _ => Value::Null,
        };
        Self { status: response.status_code, link, body }
    }
}

impl Service {
    /// Sends a request to the release that is next.
    pub(crate) async fn request(&self, request: &Request<'_>) -> Response {
        let release = self.world.state().next_release();
        self.request_to(release, request).await
    }

    /// Sends a request to this release and checks the response.
    pub(crate) async fn request_to(&self, release: Release, request: &Request<'_>) -> Response {
        let (route, event) = (request.route, request.event.to_json());
        let invoked = self
            .invoke_in(release, async |release| {
                Response::new(self.respond(release, route, &event).await)
            })
            .await;
        self.world.check_response(request, &invoked);
        invoked.outcome
    }
}

impl World {
    /// A response has status 503 only if the request needs an item that the release cannot read, and the
    /// item is the buyer's own order, the ticket, or the order whose lapsed hold would be taken over.
    fn check_response(&self, request: &Request<'_>, invoked: &Invoked<Response>) {
        let Request { route, buyer, ticket, .. } = *request;
        let (status, release) = (invoked.outcome.status, invoked.invocation.release);
        self.log(|| format!("{release:?}: {route:?} by {buyer} responds {status}"));
        let unreadable = invoked.invocation.unreadable.lock().expect("an unpoisoned lock");
        let is_needed = |(key, item): &(Key, Value)| {
            let is_lapsed = number(item, "expires_at") <= Some(self.now_ms());
            let is_taken_over = text(&item["ticket"]["M"], "id") == ticket && is_lapsed;
            key.0 == self.tables.tickets || text(item, "user_id") == buyer || is_taken_over
        };
        let is_allowed = match (status, route) {
            (200.., Route::List) => status == 200,
            (503, Route::Create | Route::Show | Route::Cancel) if unreadable.is_empty() => {
                invoked.is_contended
            }
            (503, Route::Create | Route::Show | Route::Cancel) => unreadable.iter().all(is_needed),
            (500.., _) => false,
            (_, _) => unreadable.is_empty(),
        };
        let mut state = self.state();
        if !unreadable.is_empty() {
            state.see(match route {
                Route::Create if unreadable.iter().any(|(_, it)| text(it, "user_id") == buyer) => {
                    "a repeated request gets 503"
                }
                Route::Create if unreadable[0].0.0 == self.tables.tickets => {
                    "a buyer of a ticket that cannot be read gets 503"
                }
                Route::Create => "a buyer who would take over a ticket gets 503",
                Route::Show => "a buyer cannot see an order",
                Route::Cancel => "a buyer cannot cancel an order",
                Route::List => "a list leaves an order out",
            });
        }
        if !is_allowed {
            let items: Vec<_> = unreadable.iter().map(|(key, _)| key).collect();
            state.report(format!("{release:?} responds {status} to {route:?} by {buyer}; items that it cannot read: {items:?}"));
        }
    }
}

/// Orders, pays, cancels and lists.
pub(crate) async fn run_buyer(service: Rc<Service>, buyer: &'static str) {
    let world = &service.world;
    let mut orders: Vec<Value> = Vec::new();
    for _ in 0..world.random(6..=12) {
        world.sleep_ms(0..=15_000).await;
        // Mostly the newest order.
        let order = orders.iter().rev().find(|_| world.chance(60)).or(orders.last()).cloned();
        match (world.random(0..=9), order) {
            (0..=3, _) | (_, None) => {
                let placed = place(&service, buyer).await;
                if let Some(order) = placed.as_ref().filter(|_| world.chance(60)) {
                    world.pay(buyer, order);
                }
                orders.extend(placed);
            }
            (4, Some(order)) => read_or_cancel(&service, buyer, Route::Show, &order).await,
            (5, Some(order)) => read_or_cancel(&service, buyer, Route::Cancel, &order).await,
            (6, Some(_)) => drop(list(&service, None, buyer).await),
            (7, Some(order)) => world.start_payment(&order),
            (_, Some(order)) => world.pay(buyer, &order),
        }
    }
}

/// Places an order for a random ticket. Returns the order, if the buyer has it.
async fn place(service: &Service, buyer: &str) -> Option<Value> {
    let ticket = format!("ticket-{}", service.world.random(0..=TICKETS - 1));
    let mut event = Event::post(&json!({"ticketId": ticket}).to_string()).by(buyer);
    if service.world.chance(40) {
        event = event.header("idempotency-key", &format!("{buyer}-{ticket}"));
    }
    let request = Request { route: Route::Create, buyer, ticket: &ticket, event };
    let response = service.request(&request).await;
    matches!(response.status, 200 | 201).then_some(response.body)
}

async fn read_or_cancel(service: &Service, buyer: &str, route: Route, order: &Value) {
    let id = order["id"].as_str().expect("an id");
    let method = if route == Route::Show { "GET" } else { "DELETE" };
    let event = Event::for_order(method, id).by(buyer);
    let response = service.request(&Request { route, buyer, ticket: "", event }).await;
    let key = (service.world.tables.orders.clone(), id.to_owned());
    let state = service.world.state();
    let status = text(&state.items[&key], "status").to_owned();
    drop(state);
    if response.status == 204 && !matches!(status.as_str(), "cancelled" | "returned" | "refunded") {
        service.world.report(format!("order {id} is {status} after its cancellation"));
    }
}

/// Lists all orders of a buyer in pages of two. Returns their ids.
pub(crate) async fn list(service: &Service, release: Option<Release>, buyer: &str) -> Vec<String> {
    let (mut ids, mut query) = (Vec::new(), Some("limit=2".to_owned()));
    while let Some(page) = query {
        let event = Event::new("GET", "/api/orders").by(buyer).query(&page);
        let request = Request { route: Route::List, buyer, ticket: "", event };
        let response = match release {
            Some(release) => service.request_to(release, &request).await,
            None => service.request(&request).await,
        };
        let orders = response.body.as_array().cloned().unwrap_or_default();
        ids.extend(orders.iter().filter_map(|order| order["id"].as_str().map(ToOwned::to_owned)));
        let next = response.link.as_deref().and_then(|link| link.split(['?', '>']).nth(1));
        query = next.map(ToOwned::to_owned);
    }
    ids
}

impl World {
    fn event(&self, kind: &str, source: &str, detail: &Value) -> String {
        let now_ms = i64::try_from(self.now_ms()).expect("a time");
        let time = DateTime::from_timestamp_millis(now_ms).expect("a time");
        let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
        json!({"detail-type": kind, "source": source, "time": time, "detail": detail}).to_string()
    }

    fn start_payment(&self, order: &Value) {
        let detail = json!({"orderId": order["id"]});
        let body = self.event("PaymentStarted", "payments", &detail);
        self.send(QueueName::Payments, body, Duration::from_secs(self.random(0..=5)));
    }

    /// Pays for an order: the price, less, more, or an amount that the event does not name. Sometimes the
    /// payment is refunded later.
    fn pay(&self, buyer: &str, order: &Value) {
        let price = order["ticket"]["price"].as_u64().expect("whole dollars");
        let id = format!("{buyer}-{}", self.random(0..=999_999_999));
        let mut detail = json!({"id": id, "orderId": order["id"]});
        match self.random(0..=9) {
            // A payment of nothing has no result.
            0..=3 => detail["amount"] = json!(price.max(1)),
            4..=7 => detail["amount"] = json!(price.saturating_sub(3).max(1)),
            8 => detail["amount"] = json!(price + 3),
            _ => {}
        }
        let body = self.event("PaymentCreated", "payments", &detail);
        let delay_seconds = self.random(0..=15);
        for _ in 0..self.random(1..=2) {
            self.send(QueueName::Payments, body.clone(), Duration::from_secs(delay_seconds));
        }
        let is_refunded = self.chance(40);
        if is_refunded {
            let refund = json!({"id": id, "orderId": order["id"]});
            let body = self.event("PaymentRefunded", "payments", &refund);
            let delay = Duration::from_secs(delay_seconds + self.random(20..=60));
            self.send(QueueName::Payments, body, delay);
        }
        let order = order["id"].as_str().expect("an id").to_owned();
        self.state().payments.push((id, order, is_refunded));
    }
}

/// Publishes the versions of a ticket.
pub(crate) async fn run_seller(service: Rc<Service>, ticket: u64) {
    let world = &service.world;
    for version in 0..=world.random(0..=5) {
        let id = format!("ticket-{ticket}");
        let price = PRICES[usize::try_from(world.random(0..=3)).expect("an index")];
        let kind = match version {
            0 => "TicketCreated",
            _ if world.chance(15) => "TicketWithdrawn",
            _ => "TicketUpdated",
        };
        let detail = match kind {
            "TicketWithdrawn" => json!({"id": id, "version": version}),
            _ => json!({"id": id, "title": "Concert", "price": price, "version": version}),
        };
        let body = world.event(kind, "tickets", &detail);
        world.send(QueueName::Tickets, body, Duration::from_secs(world.random(0..=3)));
        world.sleep_ms(1_000..=25_000).await;
    }
}

/// Moves the traffic between the releases: nothing, a tenth or everything to the newer one, and back.
pub(crate) async fn run_deployments(service: Rc<Service>) {
    let world = &service.world;
    let [older, newer] = world.pair.releases();
    let mut percent = 0;
    for _ in 0..6 {
        let next = [0, 10, 50, 100][usize::try_from(world.random(0..=3)).expect("an index")];
        if next < percent {
            world.state().see("a deployment is rolled back");
        }
        percent = next;
        world.log(|| format!("{percent} % to {newer:?}"));
        world.state().shares = vec![(newer, percent), (older, 100 - percent)];
        world.sleep_ms(5_000..=40_000).await;
    }
}

//! Simulated buyers: they repeat requests, reuse keys, cancel, and pay late.

use std::{sync::Arc, time::Duration};

use chrono::DateTime;
use orders_domain::Price;
use orders_tests::history::{Operation, Outcome, Payment};

use crate::{
    coverage::Observed, queues::QueueName, requests::FunctionCall, seller::ticket_id, world::World,
};

/// A simulated buyer.
struct Buyer {
    world: Arc<World>,
    name: String,
    orders: Vec<String>,
    /// Used keys, each with its ticket.
    keys: Vec<(String, String)>,
}

/// Runs a buyer for a number of actions.
pub(crate) async fn run_buyer(world: Arc<World>, number: u64) {
    let name = format!("buyer-{number}");
    let mut buyer = Buyer { world, name, orders: Vec::new(), keys: Vec::new() };
    buyer.world.sleep_ms(0..=3_000).await;
    for _ in 0..buyer.world.plan.actions {
        buyer.pause().await;
        buyer.act().await;
    }
}

impl Buyer {
    /// Waits a moment, up to a hold, or until just before, at or after the end of a hold.
    async fn pause(&self) {
        let world = &self.world;
        let hold_ms = u64::try_from(world.plan.hold.as_millis()).expect("a short hold");
        match world.random(0..=9) {
            0..=3 => world.sleep_ms(0..=30).await,
            4..=6 => world.sleep_ms(0..=hold_ms).await,
            _ => {
                let now_ms = world.now_ms();
                let lapse_ms = world.state().promises.next_lapse_ms(now_ms);
                let wait_ms = lapse_ms.map_or(0, |at_ms| at_ms + world.random(0..=3) - 2 - now_ms);
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            }
        }
    }

    async fn act(&mut self) {
        match self.world.random(0..=99) {
            0..=44 => self.buy().await,
            45..=59 => self.pay(),
            60..=69 => self.cancel().await,
            70..=74 => self.show().await,
            75..=78 => self.list().await,
            79..=85 => self.read_foreign_order().await,
            86..=92 => self.reuse_key().await,
            93..=96 => self.send_invalid_request().await,
            97 => self.pay_without_order(),
            _ => self.world.insert_poison_record(),
        }
    }

    fn any_ticket(&self) -> String {
        // The last ticket is never created.
        let tickets = self.world.plan.tickets;
        let number = self.world.random(0..=10 * tickets);
        ticket_id(if number == 0 { tickets } else { number % tickets })
    }

    fn any_order(&self) -> Option<String> {
        self.world.state().rng.choice(&self.orders).cloned()
    }

    /// Orders a ticket, with a repeat after an unknown outcome, and sometimes pays.
    async fn buy(&mut self) {
        let ticket = self.any_ticket();
        let key = self.world.chance(70).then(|| self.new_key(&ticket));
        for _ in 0..3 {
            let outcome = self.submit(&ticket, key.as_ref()).await;
            if outcome != Outcome::Unknown {
                break;
            }
            self.world.sleep_ms(0..=5_000).await;
        }
        if self.world.chance(40) {
            self.pause().await;
            self.pay();
        }
    }

    fn new_key(&mut self, ticket: &str) -> String {
        let key = format!("key-{}", self.keys.len());
        self.keys.push((key.clone(), ticket.to_owned()));
        key
    }

    /// Sends a request, or two at once.
    async fn submit(&mut self, ticket: &str, key: Option<&String>) -> Outcome {
        let operation = Operation::Place { ticket: ticket.to_owned(), key: key.cloned() };
        let world = Arc::clone(&self.world);
        let outcome = if world.chance(15) {
            world.count(Observed::ConcurrentRepeat);
            let (first, second) = tokio::join!(
                world.call_api(&self.name, operation.clone()),
                world.call_api(&self.name, operation)
            );
            self.remember(&first);
            second
        } else {
            world.call_api(&self.name, operation).await
        };
        self.remember(&outcome);
        outcome
    }

    fn remember(&mut self, outcome: &Outcome) {
        if let Some(order) = outcome.order()
            && !self.orders.contains(&order.order)
        {
            self.orders.push(order.order.clone());
        }
    }

    /// Repeats an earlier key, sometimes for another ticket.
    async fn reuse_key(&mut self) {
        let old = self.world.state().rng.choice(&self.keys).cloned();
        let Some((key, ticket)) = old else { return };
        let ticket = if self.world.chance(40) { self.any_ticket() } else { ticket };
        self.submit(&ticket, Some(&key)).await;
    }

    /// Pays for an order: once, twice, with a repeated event, or for another order too.
    fn pay(&self) {
        let Some(order) = self.any_order() else { return };
        let id = self.new_payment();
        let event = self.make_payment(&id, &order);
        match self.world.random(0..=9) {
            0..=1 => drop(self.make_payment(&self.new_payment(), &order)),
            2 => self.world.deliver(QueueName::Payments, &event),
            3 => self.pay_another_order(&id, &order),
            _ => {}
        }
    }

    /// Names another order of any buyer in the same payment.
    fn pay_another_order(&self, id: &str, order: &str) {
        let mut orders = self.world.state().promises.order_ids();
        orders.retain(|other| other != order);
        let Some(other) = self.world.state().rng.choice(&orders).cloned() else { return };
        self.make_payment(id, &other);
    }

    fn new_payment(&self) -> String {
        format!("payment-{}", self.world.state().history.payments.len())
    }

    /// Pays for an order that does not exist.
    fn pay_without_order(&self) {
        let number = self.world.state().rng.u128(..);
        self.world.count(Observed::PaymentWithoutOrder);
        self.make_payment(&self.new_payment(), &uuid::Uuid::from_u128(number).to_string());
    }

    /// An amount as in the event of a payment: absent, the order's price, or another one.
    fn amount_cents(&self, order: &str) -> Option<u64> {
        let price = self.world.state().promises.price_of(order)?.minor();
        match self.world.random(0..=19) {
            0..=7 => None,
            8..=16 => Some(price),
            17 => Some(price * 100),
            18 => Some(price + 1),
            _ => Some(price - 1),
        }
    }

    /// Makes a payment and delivers its event. Returns the event.
    fn make_payment(&self, id: &str, order: &str) -> String {
        let world = &self.world;
        let (at_ms, amount_cents) = (world.now_ms(), self.amount_cents(order));
        let payment = Payment { id: id.to_owned(), order: order.to_owned(), amount_cents, at_ms };
        let event = payment_event(&payment);
        let mut state = world.state();
        state.promises.payment_made(&payment, &event);
        state.history.payments.push(payment);
        drop(state);
        world.log(|| format!("{}: {id} for {order}, {amount_cents:?} cents", self.name));
        world.deliver(QueueName::Payments, &event);
        event
    }

    async fn cancel(&self) {
        let Some(order) = self.any_order() else { return };
        self.world.call_api(&self.name, Operation::Cancel { order }).await;
    }

    async fn show(&self) {
        let Some(order) = self.any_order() else { return };
        self.world.call_api(&self.name, Operation::Show { order }).await;
    }

    async fn list(&self) {
        self.world.call_api(&self.name, Operation::List).await;
    }

    /// Reads or cancels an order of any buyer.
    async fn read_foreign_order(&self) {
        let orders = self.world.state().promises.order_ids();
        let Some(order) = self.world.state().rng.choice(&orders).cloned() else { return };
        let operation = if self.world.chance(50) {
            Operation::Show { order }
        } else {
            Operation::Cancel { order }
        };
        self.world.call_api(&self.name, operation).await;
    }

    /// Sends an invalid request, or a conditional read.
    async fn send_invalid_request(&self) {
        let (order, name) = (self.any_order().unwrap_or_default(), self.name.as_str());
        let call = match self.world.random(0..=3) {
            0 => FunctionCall::new("create-order", name, "", "", &[], "{"),
            1 => FunctionCall::new("list-orders", name, "", "cursor=?&limit=0", &[], ""),
            2 => FunctionCall::new("cancel-order", name, "..", "", &[], ""),
            _ => FunctionCall::new("show-order", name, &order, "", &[("if-none-match", "*")], ""),
        };
        let Some(response) = call.run(&self.world).await else { return };
        match response.status {
            304 => self.world.count(Observed::Unchanged),
            400 => self.world.count(Observed::BadRequest),
            404 => self.world.count(Observed::NotFound),
            503 => self.world.count(Observed::Unavailable),
            status => {
                self.world.report_violation(format!("promise 13: {status} for an invalid request"));
            }
        }
    }
}

/// The event of a payment. The time of an envelope is in whole seconds.
pub(crate) fn payment_event(payment: &Payment) -> String {
    let Payment { id, order, amount_cents, at_ms } = payment;
    let sent_at = i64::try_from(at_ms / 1_000).ok().and_then(|at| DateTime::from_timestamp(at, 0));
    let time = sent_at.expect("a time before the year 9999").to_rfc3339();
    let amount = amount_cents.map(|cents| Price::from_minor(cents).expect("a price"));
    let amount = amount.map(|price| format!(r#","amount":{price}"#)).unwrap_or_default();
    format!(
        r#"{{"version":"0","detail-type":"PaymentCreated","source":"payments","time":"{time}","detail":{{"id":"{id}","orderId":"{order}"{amount}}}}}"#
    )
}

//! Simulated buyers: they repeat requests, reuse keys, cancel, start to pay, pay late, and get
//! refunds.

use std::{sync::Arc, time::Duration};

use orders_tests::history::{Operation, Outcome, Payment};

use crate::{
    coverage::Observed, payments::payment_event, queues::QueueName, requests::FunctionCall,
    seller::ticket_id, world::World,
};

/// Longest pause of a buyer: longer than timers, queues and reconcile need to end a hold.
const LONGEST_PAUSE_MS: u64 = 2_400_000;

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
    /// Waits a moment, up to a hold, long, or until just before, at or after the end of a hold or the time
    /// at which it counts as forgotten.
    async fn pause(&self) {
        let world = &self.world;
        let hold_ms = u64::try_from(world.plan.hold.as_millis()).expect("a short hold");
        match world.random(0..=19) {
            0..=7 => world.sleep_ms(0..=30).await,
            8..=13 => world.sleep_ms(0..=hold_ms).await,
            14 => world.sleep_ms(0..=LONGEST_PAUSE_MS).await,
            15 => {
                let wait_ms = world.wait_until_forgotten_ms().unwrap_or_default();
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            }
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
            0..=33 => self.buy().await,
            34..=38 => self.buy_two_tickets().await,
            39..=48 => self.pay(),
            49..=55 => self.start_payment().await,
            56..=62 => self.get_refund(),
            63..=71 => self.cancel().await,
            72..=75 => self.show().await,
            76..=79 => self.list().await,
            80..=85 => self.read_foreign_order().await,
            86..=92 => self.reuse_key().await,
            93..=95 => self.send_invalid_request().await,
            96 => self.pay_without_order(),
            97 => self.start_payment_without_order(),
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

    /// An order of which no payment could reach a later order with its id.
    fn any_order_of_its_id(&self) -> Option<String> {
        let mut state = self.world.state();
        let state = &mut *state;
        let can_be_another = |order: &&String| state.promises.can_be_placed_anew(order);
        let orders: Vec<&String> = self.orders.iter().filter(|it| !can_be_another(it)).collect();
        state.rng.choice(orders).cloned()
    }

    /// Orders a ticket, with a repeat after an unknown outcome, and sometimes pays.
    async fn buy(&mut self) {
        let ticket = self.any_ticket();
        let key = self.world.chance(70).then(|| self.new_key(&ticket));
        let version = self.any_version(&ticket);
        for _ in 0..3 {
            let outcome = self.submit(&ticket, key.as_ref(), version).await;
            if outcome != Outcome::Unknown {
                break;
            }
            self.world.sleep_ms(0..=5_000).await;
        }
        if self.world.chance(25) {
            self.start_payment().await;
        }
        if self.world.chance(40) {
            self.pause().await;
            self.pay();
        }
    }

    /// Orders two tickets at once.
    async fn buy_two_tickets(&mut self) {
        let place = |ticket: String| Operation::Place { ticket, key: None, version: None };
        let (one, other) = (place(self.any_ticket()), place(self.any_ticket()));
        let (one, other) = tokio::join!(
            self.world.call_api(&self.name, one),
            self.world.call_api(&self.name, other)
        );
        self.remember(&one);
        self.remember(&other);
    }

    /// The version of the ticket that the buyer has seen: often none, else the published one, an
    /// older or a newer one.
    fn any_version(&self, ticket: &str) -> Option<u64> {
        let newest = self.world.state().promises.newest_version(ticket)?;
        match self.world.random(0..=9) {
            0..=5 => None,
            6..=7 => Some(newest),
            8 => newest.checked_sub(1),
            _ => Some(newest + 1),
        }
    }

    fn new_key(&mut self, ticket: &str) -> String {
        let key = format!("key-{}", self.keys.len());
        self.keys.push((key.clone(), ticket.to_owned()));
        key
    }

    /// Sends a request, or two at once.
    async fn submit(
        &mut self,
        ticket: &str,
        key: Option<&String>,
        version: Option<u64>,
    ) -> Outcome {
        let operation = Operation::Place { ticket: ticket.to_owned(), key: key.cloned(), version };
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
        let version = self.any_version(&ticket);
        self.submit(&ticket, Some(&key), version).await;
    }

    /// Pays for an order: once, twice, with a repeated event, or for another order too.
    fn pay(&self) {
        let Some(order) = self.any_order() else { return };
        let payment = self.new_payment(&order);
        let event = self.world.make_payment(payment.clone());
        match self.world.random(0..=9) {
            0..=1 => drop(self.world.make_payment(self.new_payment(&order))),
            2 => self.world.deliver(QueueName::Payments, &event),
            // The same payment names another order of any buyer.
            3 => {
                let other = self.any_known_order(&order);
                let payment = Payment { id: payment.id, ..self.new_payment(&other) };
                self.world.make_payment(payment);
            }
            _ => {}
        }
    }

    /// A new payment for the order, now.
    fn new_payment(&self, order: &str) -> Payment {
        let amount_cents = self.amount_cents(order);
        let id = format!("payment-{}", self.world.state().history.payments.len());
        Payment { id, order: order.to_owned(), amount_cents, at_ms: self.world.now_ms() }
    }

    fn unknown_order(&self) -> String {
        let number = self.world.state().rng.u128(..);
        uuid::Uuid::from_u128(number).to_string()
    }

    /// Pays for an order that does not exist.
    fn pay_without_order(&self) {
        self.world.count(Observed::PaymentWithoutOrder);
        self.world.make_payment(self.new_payment(&self.unknown_order()));
    }

    /// An amount as in the event of a payment: absent, the order's price, or another one.
    fn amount_cents(&self, order: &str) -> Option<u64> {
        let price = self.world.state().promises.price_of(order)?.minor();
        match self.world.random(0..=19) {
            0..=7 => None,
            8..=16 => Some(price),
            17 => Some(price * 100),
            18 => Some(price + 1),
            _ => Some(price.saturating_sub(1)),
        }
    }

    /// Starts a payment for an order, sometimes in the last moment: once, again, or with a repeated
    /// event.
    async fn start_payment(&self) {
        let Some(order) = self.any_order() else { return };
        if self.world.chance(30) {
            let now_ms = self.world.now_ms();
            let end_ms = self.world.state().promises.end_of_hold_ms(&order).unwrap_or_default();
            let wait_ms = end_ms.saturating_sub(now_ms + self.world.random(0..=600));
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        let event = self.world.start_payment(&order);
        match self.world.random(0..=5) {
            0 => drop(self.world.start_payment(&order)),
            1 => self.world.deliver(QueueName::Payments, &event),
            _ => {}
        }
    }

    /// Starts a payment for an order that does not exist.
    fn start_payment_without_order(&self) {
        let order = self.unknown_order();
        self.world.count(Observed::StartWithoutOrder);
        self.world.start_payment(&order);
    }

    /// Gets a payment back: the whole charge or a part, once or more often, for its order or
    /// another, and sometimes before the payment arrives.
    fn get_refund(&self) {
        let Some(order) = self.any_order_of_its_id() else { return };
        let world = &self.world;
        let payment = self.payment_of(&order).unwrap_or_else(|| {
            let payment = self.new_payment(&order);
            world.make_payment(payment.clone());
            payment
        });
        let charge = world.state().promises.charge_of(&payment.id, &order);
        let part = charge.filter(|cents| *cents > 0).map(|cents| cents - 1);
        let event = match world.random(0..=9) {
            0..=4 => world.refund(&payment.id, &order, None),
            5..=6 => world.refund(&payment.id, &order, charge),
            7..=8 => world.refund(&payment.id, &order, part),
            _ => world.refund(&payment.id, &self.any_known_order(&order), None),
        };
        if world.chance(20) {
            world.deliver(QueueName::Payments, &event);
        }
        if world.chance(20) {
            world.deliver(QueueName::Payments, &payment_event(&payment));
        }
    }

    /// A payment made for the order, at random.
    fn payment_of(&self, order: &str) -> Option<Payment> {
        let mut state = self.world.state();
        let state = &mut *state;
        state.rng.choice(state.promises.payments_of(order)).cloned()
    }

    /// An order of any buyer, another one if possible.
    fn any_known_order(&self, order: &str) -> String {
        let mut orders = self.world.state().promises.order_ids();
        orders.retain(|other| other != order);
        let other = self.world.state().rng.choice(&orders).cloned();
        other.unwrap_or_else(|| self.unknown_order())
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

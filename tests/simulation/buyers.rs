//! Buyers: impatient, forgetful, quick with the mouse, late with the money.

use std::{sync::Arc, time::Duration};

use orders_tests::history::{Answer, Asked, Charge};

use crate::{
    coverage::Observed, queues::QueueName, requests::Sent, seller::ticket_id, world::World,
};

/// Somebody who buys.
struct Buyer {
    world: Arc<World>,
    name: String,
    orders: Vec<String>,
    /// Which key was used for which ticket.
    keys: Vec<(String, String)>,
}

/// Does some errands, and then no more.
pub(crate) async fn shop(world: Arc<World>, number: u64) {
    let name = format!("buyer-{number}");
    let mut buyer = Buyer { world, name, orders: Vec::new(), keys: Vec::new() };
    buyer.world.sleep_ms(0..=3_000).await;
    for _ in 0..buyer.world.plan.errands {
        buyer.think().await;
        buyer.errand().await;
    }
}

impl Buyer {
    /// Waits: hardly at all, for some time, or until just before, at or after the end of a hold.
    async fn think(&self) {
        let world = &self.world;
        let hold_ms = u64::try_from(world.plan.hold.as_millis()).expect("a short hold");
        match world.roll(0..=9) {
            0..=3 => world.sleep_ms(0..=30).await,
            4..=6 => world.sleep_ms(0..=hold_ms).await,
            _ => {
                let now_ms = world.now_ms();
                let lapses_ms = world.state().promises.next_lapse_ms(now_ms);
                let wait_ms = lapses_ms.map_or(0, |at_ms| at_ms + world.roll(0..=3) - 2 - now_ms);
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            }
        }
    }

    async fn errand(&mut self) {
        match self.world.roll(0..=99) {
            0..=44 => self.buy().await,
            45..=59 => self.pay(),
            60..=69 => self.cancel().await,
            70..=74 => self.show().await,
            75..=78 => self.list().await,
            79..=85 => self.read_foreign_order().await,
            86..=92 => self.try_old_key().await,
            93..=96 => self.send_invalid_request().await,
            97 => self.pay_for_nothing(),
            _ => self.world.garble_stream(),
        }
    }

    fn any_ticket(&self) -> String {
        // The last one is never made.
        let made = self.world.plan.tickets;
        let number = self.world.roll(0..=10 * made);
        ticket_id(if number == 0 { made } else { number % made })
    }

    fn any_order(&self) -> Option<String> {
        self.world.state().rng.choice(&self.orders).cloned()
    }

    /// Asks for a ticket, again and again while nobody says what has become of it; and then pays,
    /// or not.
    async fn buy(&mut self) {
        let ticket = self.any_ticket();
        let key = self.world.comes_to(70).then(|| self.new_key(&ticket));
        for _ in 0..3 {
            let answer = self.click(&ticket, key.as_ref()).await;
            if answer != Answer::Unknown {
                break;
            }
            self.world.sleep_ms(0..=5_000).await;
        }
        if self.world.comes_to(40) {
            self.think().await;
            self.pay();
        }
    }

    fn new_key(&mut self, ticket: &str) -> String {
        let key = format!("key-{}", self.keys.len());
        self.keys.push((key.clone(), ticket.to_owned()));
        key
    }

    /// One click, or two.
    async fn click(&mut self, ticket: &str, key: Option<&String>) -> Answer {
        let asked = Asked::Place { ticket: ticket.to_owned(), key: key.cloned() };
        let world = Arc::clone(&self.world);
        let answer = if world.comes_to(15) {
            world.count(Observed::DoubleClick);
            let (one, two) =
                tokio::join!(world.ask(&self.name, asked.clone()), world.ask(&self.name, asked));
            self.remember(&one);
            two
        } else {
            world.ask(&self.name, asked).await
        };
        self.remember(&answer);
        answer
    }

    fn remember(&mut self, answer: &Answer) {
        if let Answer::Order(order) = answer
            && !self.orders.contains(&order.order)
        {
            self.orders.push(order.order.clone());
        }
    }

    /// Sends an earlier request again, sometimes for another ticket.
    async fn try_old_key(&mut self) {
        let old = self.world.state().rng.choice(&self.keys).cloned();
        let Some((key, ticket)) = old else { return };
        let ticket = if self.world.comes_to(40) { self.any_ticket() } else { ticket };
        self.click(&ticket, Some(&key)).await;
    }

    /// Pays for an order, sometimes twice, sometimes with the same payment told twice.
    fn pay(&self) {
        let Some(order) = self.any_order() else { return };
        let payment = self.charge(&order);
        match self.world.roll(0..=9) {
            0..=1 => drop(self.charge(&order)),
            2 => self.world.deliver(QueueName::Payments, &payment),
            _ => {}
        }
    }

    /// Pays for an order that there is not.
    fn pay_for_nothing(&self) {
        let number = self.world.state().rng.u128(..);
        self.world.count(Observed::ChargedForNothing);
        self.charge(&uuid::Uuid::from_u128(number).to_string());
    }

    /// Charges the buyer. Returns the event that tells of it.
    fn charge(&self, order: &str) -> String {
        let world = &self.world;
        let at_ms = world.now_ms();
        let mut state = world.state();
        let payment = format!("payment-{}", state.history.charges.len());
        let charge = Charge { payment: payment.clone(), order: order.to_owned(), at_ms };
        state.promises.charged(&charge);
        state.history.charges.push(charge);
        drop(state);
        world.tell(|| format!("{}: {payment} for {order}", self.name));
        let event = format!(
            r#"{{"version":"0","detail-type":"PaymentCreated","source":"payments","detail":{{"id":"{payment}","orderId":"{order}","amount":1}}}}"#
        );
        world.deliver(QueueName::Payments, &event);
        event
    }

    async fn cancel(&self) {
        let Some(order) = self.any_order() else { return };
        self.world.ask(&self.name, Asked::Cancel { order }).await;
    }

    async fn show(&self) {
        let Some(order) = self.any_order() else { return };
        self.world.ask(&self.name, Asked::Show { order }).await;
    }

    async fn list(&self) {
        self.world.ask(&self.name, Asked::List).await;
    }

    /// Tries somebody's order.
    async fn read_foreign_order(&self) {
        let somebodys = self.world.state().promises.order_ids();
        let Some(order) = self.world.state().rng.choice(&somebodys).cloned() else { return };
        let asked =
            if self.world.comes_to(50) { Asked::Show { order } } else { Asked::Cancel { order } };
        self.world.ask(&self.name, asked).await;
    }

    /// Sends what makes no sense, or asks whether anything has changed.
    async fn send_invalid_request(&self) {
        let (order, name) = (self.any_order().unwrap_or_default(), self.name.as_str());
        let sent = match self.world.roll(0..=3) {
            0 => Sent::new("create-order", name, "", "", &[], "{"),
            1 => Sent::new("list-orders", name, "", "cursor=?&limit=0", &[], ""),
            2 => Sent::new("cancel-order", name, "..", "", &[], ""),
            _ => Sent::new("show-order", name, &order, "", &[("if-none-match", "*")], ""),
        };
        let Some(told) = sent.respond(&self.world).await else { return };
        match told.status {
            304 => self.world.count(Observed::Unchanged),
            400 => self.world.count(Observed::BadRequest),
            404 => self.world.count(Observed::NotFound),
            503 => self.world.count(Observed::Unavailable),
            status => self.world.broken(format!("nonsense is answered {status}")),
        }
    }
}

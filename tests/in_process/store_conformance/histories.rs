//! Random operations: the DynamoDB store has the same outcomes as the in-memory store, and ends
//! with the same rows.

use std::time::Duration;

use fastrand::Rng;
use orders_domain::{
    Availability, Command, Decision, FoundTicket, LapsedHolds, Lock, Order, OrderId, OrderStore,
    Payment, PaymentId, Placement, Price, Sale, Slot, Status, Takeover, Ticket, TicketId,
    TicketReplica, TicketRule, TicketState, Timestamp, decide,
};
use orders_dynamo::DynamoStore;
use orders_testing::{LATE_LIMIT, MemoryStore, at, new_order, order_id};
use orders_tests::stores;

use crate::{
    suite::{Repair, lapsed_tickets as lapsed, ticket},
    tables::Tables,
};

const SEEDS: u64 = 30;
const STEPS: usize = 120;
const TICKETS: u64 = 3;
const PAYMENTS: u8 = 12;
const SLOTS: u8 = 2;
const VERSIONS: u64 = 60;
const TIME_TO_PAY: Duration = Duration::from_mins(1);

/// The sale of a ticket at this version: withdrawn, for nothing, or for a price of its own.
fn content(id: &TicketId, version: u64) -> Sale {
    let ticket = ticket(id, version);
    match version % 4 {
        2 => Sale::Withdrawn { id: id.clone(), version: ticket.version },
        3 => Sale::Open(Ticket { price: Price::from_minor(0).unwrap(), ..ticket }),
        _ => Sale::Open(ticket),
    }
}

#[tokio::test]
async fn random_operations_match_the_in_memory_store() {
    for seed in 0..SEEDS {
        let (dynamo, tables) = Tables::on(&stores::in_process_endpoint()).await;
        let mut history = History {
            rng: Rng::with_seed(seed),
            memory: MemoryStore::default(),
            dynamo,
            tables,
            now: at(0),
            placed: Vec::new(),
        };
        for step in 0..STEPS {
            history.step(&format!("seed {seed}, step {step}")).await;
        }
        history.compare_all(&format!("seed {seed}")).await;
    }
}

struct History {
    rng: Rng,
    memory: MemoryStore,
    dynamo: DynamoStore,
    tables: Tables,
    now: Timestamp,
    placed: Vec<OrderId>,
}

impl History {
    async fn step(&mut self, place: &str) {
        match self.rng.u8(0..14) {
            0..3 => self.apply_ticket(place).await,
            3..6 => self.place(place).await,
            6..9 => self.commit(place).await,
            9 => self.make_permanent(place).await,
            10 => self.repair().await,
            11 => self.find_lapsed(place).await,
            12 => self.release(place).await,
            _ => self.now = self.now.plus(Duration::from_secs(self.rng.u64(0..40))),
        }
    }

    fn any_ticket_id(&mut self) -> TicketId {
        format!("ticket-{}", self.rng.u64(0..TICKETS)).parse().unwrap()
    }

    async fn apply_ticket(&mut self, place: &str) {
        let id = self.any_ticket_id();
        let sale = content(&id, self.rng.u64(0..VERSIONS));
        let rules = [TicketRule::Next, TicketRule::FirstOrNext, TicketRule::AnyNewer];
        let rule = *self.rng.choice(&rules).unwrap();
        let expected = self.memory.apply_ticket(&sale, rule).await.unwrap();
        assert_eq!(self.dynamo.apply_ticket(&sale, rule).await.unwrap(), expected, "{place}");
    }

    /// Places an order on a current read or, sometimes, on an invalid one.
    async fn place(&mut self, place: &str) {
        let id = self.any_ticket_id();
        let Some(replica) = self.memory.find_ticket(&id).await.unwrap() else { return };
        let reused = self.rng.u8(0..5) == 0;
        let order_id = match self.rng.choice(&self.placed) {
            Some(earlier) if reused => *earlier,
            _ => OrderId::from_bytes(self.rng.u128(..).to_be_bytes()),
        };
        let takeover = match self.availability(&replica, order_id).await {
            Availability::Lapsed(takeover) => Some(takeover),
            Availability::Own if self.rng.bool() => Some(Takeover::Ended(order_id)),
            _ => None,
        };
        let sale = if self.rng.u8(0..5) == 0 {
            content(&id, self.rng.u64(0..VERSIONS))
        } else {
            replica.sale
        };
        let Some(read) = sale.ticket() else { return };
        let slot = Slot::new(self.rng.u8(0..SLOTS)).filter(|_| self.rng.bool());
        let order = Order { slot, ..Order::new(new_order(order_id, self.now), read.clone()) };
        let placement = Placement { order, takeover };
        let expected = self.memory.place(&placement).await.unwrap();
        assert_eq!(self.dynamo.place(&placement).await.unwrap(), expected, "{place}");
        self.placed.push(order_id);
    }

    /// Commits a transition once or twice.
    async fn commit(&mut self, place: &str) {
        let Some(order) = self.any_order().await else { return };
        let now = self.now;
        let command = match self.rng.u8(0..8) {
            0 => Command::Cancel,
            1 => Command::Expire { now },
            2 => Command::StartPayment { sent_at: now, time_to_pay: TIME_TO_PAY, now },
            3 | 4 => Command::Refund { payment_id: self.any_payment_of(&order), amount: None },
            _ => Command::Pay { payment: self.payment(&order), late_limit: LATE_LIMIT, now },
        };
        let state =
            if self.rng.bool() { TicketState::Unread } else { self.ticket_state(&order).await };
        let (Decision::Apply(change) | Decision::ApplyFirst(change)) =
            decide(&order, &command, &state)
        else {
            return;
        };
        for _ in 0..self.rng.u8(1..3) {
            let expected = self.memory.commit(&change).await.unwrap();
            assert_eq!(self.dynamo.commit(&change).await.unwrap(), expected, "{place}");
        }
    }

    /// The payment that bought the order, one with a refund, or any payment.
    fn any_payment_of(&mut self, order: &Order) -> PaymentId {
        let bought_by = match &order.status {
            Status::Paid { payment_id } | Status::Refunded { payment_id } => Some(payment_id),
            Status::AwaitingPayment | Status::Free | Status::Cancelled | Status::Expired => None,
        };
        let refunds = order.refunds_due.iter().map(|refund| &refund.payment_id);
        let known: Vec<_> = refunds.chain(bought_by).collect();
        self.rng.choice(&known).map_or_else(|| self.any_payment(), |payment| (*payment).clone())
    }

    fn any_payment(&mut self) -> PaymentId {
        format!("p{}", self.rng.u8(0..PAYMENTS)).parse().unwrap()
    }

    fn payment(&mut self, order: &Order) -> Payment {
        let price = order.ticket.price;
        let wrong_price = ticket(&order.ticket.id, VERSIONS).price;
        Payment {
            id: self.any_payment(),
            order_id: order.id,
            amount: *self.rng.choice(&[None, Some(price), Some(price), Some(wrong_price)]).unwrap(),
            sent_at: self.now,
        }
    }

    async fn make_permanent(&mut self, place: &str) {
        let Some(order) = self.any_order().await else { return };
        if order.status.name() == "paid" {
            let expected = self.memory.make_permanent(&order).await.unwrap();
            assert_eq!(self.dynamo.make_permanent(&order).await.unwrap(), expected, "{place}");
        }
    }

    async fn find_lapsed(&mut self, place: &str) {
        let before = self.now.minus(Duration::from_secs(self.rng.u64(0..40)));
        let mut expected = lapsed(&self.memory, before).await;
        let mut found = lapsed(&self.dynamo, before).await;
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{place}");
    }

    /// Releases the lock of any order, often of the one that the lock names.
    async fn release(&mut self, place: &str) {
        let (id, now) = (self.any_ticket_id(), self.now);
        let replica = self.memory.find_ticket(&id).await.unwrap();
        let holder = replica.and_then(|replica| replica.lock.holder());
        let any = self.rng.choice(&self.placed).copied();
        let Some(order) = holder.filter(|_| self.rng.u8(0..4) > 0).or(any) else { return };
        let expected = self.memory.release(&id, order, now).await.unwrap();
        assert_eq!(self.dynamo.release(&id, order, now).await.unwrap(), expected, "{place}");
    }

    /// Sets a lock beside the stores.
    async fn repair(&mut self) {
        let id = self.any_ticket_id();
        let Some(&by) = self.rng.choice(&self.placed) else { return };
        if self.memory.find_ticket(&id).await.unwrap().is_some() {
            let locks = [Lock::Free, Lock::Held { by, until: self.now }, Lock::Sold { to: by }];
            let lock = *self.rng.choice(&locks).unwrap();
            self.memory.set_lock(&id, lock).await;
            self.tables.set_lock(&id, lock).await;
        }
    }

    async fn any_order(&mut self) -> Option<Order> {
        let id = *self.rng.choice(&self.placed)?;
        self.memory.find(id).await.unwrap()
    }

    async fn ticket_state(&self, order: &Order) -> TicketState {
        match self.memory.find_ticket(&order.ticket.id).await.unwrap() {
            None => TicketState::Missing,
            Some(replica) => {
                let availability = self.availability(&replica, order.id).await;
                TicketState::Found(Box::new(FoundTicket { replica, availability }))
            }
        }
    }

    async fn availability(&self, replica: &TicketReplica, order: OrderId) -> Availability {
        match replica.lock.availability(order, self.now) {
            Availability::Own => Availability::Own,
            Availability::Free => Availability::Free,
            Availability::Reserved { until } => Availability::Reserved { until },
            Availability::Sold => Availability::Sold,
            Availability::Lapsed(by) => {
                let named = self.memory.find(by).await.unwrap();
                Takeover::availability(replica.sale.id(), by, named.as_ref(), self.now)
            }
        }
    }

    async fn compare_all(&self, place: &str) {
        for number in 0..TICKETS {
            let id = format!("ticket-{number}").parse().unwrap();
            let expected = self.memory.find_ticket(&id).await.unwrap();
            assert_eq!(self.dynamo.find_ticket(&id).await.unwrap(), expected, "{place}");
        }
        for id in &self.placed {
            let expected = self.memory.find(*id).await.unwrap();
            assert_eq!(self.dynamo.find(*id).await.unwrap(), expected, "{place}");
        }
        for number in 0..PAYMENTS {
            let id = format!("p{number}").parse().unwrap();
            let expected = self.memory.find_payment(&id).await.unwrap();
            assert_eq!(self.dynamo.find_payment(&id).await.unwrap(), expected, "{place}");
        }
        let buyer = new_order(order_id(0), self.now).user_id;
        let expected = self.memory.find_slots(&buyer).await.unwrap();
        assert_eq!(self.dynamo.find_slots(&buyer).await.unwrap(), expected, "{place}");
    }
}

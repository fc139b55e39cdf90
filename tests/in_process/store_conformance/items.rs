//! Items of a newer release: unknown attributes survive every write, and an item that cannot be
//! read is never changed. Only on `DynamoDB`: the items are written beside the store.

use orders_domain::{
    Availability, Command, CommitOutcome, Direction, ListQuery, Lock, Order, OrderStore,
    PlaceOutcome, Placement, StoreError, Takeover, TicketRule, Transition,
};
use orders_dynamo::DynamoStore;
use orders_testing::{TRACEPARENT, at, pay, payment, transition};
use orders_tests::stores;
use serde_json::{Value, json};

use crate::{
    suite::{
        Repair, apply, apply_next, extension_of, late_payment_of, new_ticket, order_at, order_in,
        placed_in_slot, placed_order, placement, sale, slot, slot_changes, takeover_of,
        transition_on, withdrawal,
    },
    tables::Tables,
};

async fn tables() -> (DynamoStore, Tables) {
    Tables::on(&stores::in_process_endpoint()).await
}

impl Tables {
    async fn order(&self, order: &Order) -> Value {
        self.get(&self.names.orders, &order.id.to_string()).await
    }

    async fn change_order(&self, order: &Order, attributes: &Value) {
        self.change(&self.names.orders, &order.id.to_string(), attributes).await;
    }

    async fn ticket(&self, order: &Order) -> Value {
        self.get(&self.names.tickets, order.ticket.id.as_str()).await
    }

    async fn change_ticket(&self, order: &Order, attributes: &Value) {
        self.change(&self.names.tickets, order.ticket.id.as_str(), attributes).await;
    }

    async fn payment(&self, id: &str) -> Value {
        self.get(&self.names.payments, id).await
    }

    async fn change_payment(&self, id: &str, attributes: &Value) {
        self.change(&self.names.payments, id, attributes).await;
    }

    async fn buyer(&self, order: &Order) -> Value {
        self.get(&self.names.buyers, order.user_id.as_str()).await
    }

    async fn change_buyer(&self, order: &Order, attributes: &Value) {
        self.change(&self.names.buyers, order.user_id.as_str(), attributes).await;
    }

    /// Changes an order as a newer release does, with a version and these attributes.
    async fn change_order_newer(&self, order: &Order, attributes: &Value) {
        let version = json!({"version": order.version.number() + 1});
        self.change_order(order, &version).await;
        self.change_order(order, attributes).await;
    }

    /// The items of the orders, of their tickets and of payment `p1`.
    async fn snapshot(&self, orders: &[&Order]) -> Vec<Value> {
        let mut items = vec![self.payment("p1").await];
        for order in orders {
            items.extend([self.order(order).await, self.ticket(order).await]);
        }
        items
    }
}

/// Attributes by which an order becomes unreadable to this release.
fn unreadable_orders() -> [Value; 8] {
    [
        json!({"schema": 2}),
        json!({"status": "held_by_a_newer_release"}),
        json!({"refunds_due": [{"payment_id": "p9", "reason": "of_a_newer_release"}]}),
        json!({"refunds_due": [
            {"payment_id": "p9", "reason": "too_late", "state": "of_a_newer_release"},
        ]}),
        // Without the payment that bought the order.
        json!({"status": "refunded"}),
        json!({"status": "paid"}),
        json!({"slot": 50}),
        json!({"ticket": {"seats": 2}}),
    ]
}

fn refund_of(payment_id: &str) -> Command {
    Command::Refund { payment_id: payment_id.parse().unwrap(), amount: None }
}

fn payment_of(order: &Order) -> Transition {
    transition(order, &pay("p1", order, 1))
}

#[track_caller]
fn assert_unreadable<T: std::fmt::Debug>(outcome: &Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::Unreadable(_))), "{outcome:?}");
}

/// An attribute that this release does not know.
fn unknown() -> Value {
    json!({"newer": {"list": [1, {"deep": "é"}], "flag": true}})
}

async fn commit(store: &DynamoStore, transition: Transition) -> Order {
    assert_eq!(store.commit(&transition).await.unwrap(), CommitOutcome::Committed);
    transition.into_order()
}

/// Checks that order and ticket have their unknown attributes.
async fn assert_unknown(tables: &Tables, order: &Order) {
    for item in [tables.order(order).await, tables.ticket(order).await] {
        assert_eq!(item["newer"], unknown()["newer"], "{item}");
    }
    assert_eq!(tables.order(order).await["ticket"]["newer"], 1);
}

/// Places an order with unknown attributes, also in its ticket and its refund.
async fn order_with_unknown_attributes(store: &DynamoStore, tables: &Tables) -> Order {
    let order = placed_order(store).await;
    let mut copy = tables.order(&order).await["ticket"].take();
    copy["newer"] = json!(1);
    tables.change_order(&order, &json!({"newer": unknown()["newer"], "ticket": copy})).await;
    tables.change_ticket(&order, &unknown()).await;
    assert_eq!(store.find(order.id).await.unwrap(), Some(order.clone()));
    order
}

#[tokio::test]
async fn unknown_attributes_survive_every_transition() {
    let (store, tables) = tables().await;
    let expire = Command::Expire { now: at(30) };
    let beside = |order: &Order| transition_on(order, &Command::Cancel, Availability::Sold);
    let ends: [&dyn Fn(&Order) -> Transition; 3] = [
        &|order| transition(order, &Command::Cancel),
        &|order| transition(order, &expire),
        &beside,
    ];
    for (end, is_own) in ends.into_iter().zip([true, true, false]) {
        let order = order_with_unknown_attributes(&store, &tables).await;
        if !is_own {
            tables.set_lock(&order.ticket.id, Lock::Free).await;
        }
        let ended = commit(&store, end(&order)).await;
        assert_unknown(&tables, &ended).await;
    }

    let order = order_with_unknown_attributes(&store, &tables).await;
    let extended = commit(&store, extension_of(&order)).await;
    assert_unknown(&tables, &extended).await;
    let paid = commit(&store, payment_of(&extended)).await;
    assert_eq!(store.make_permanent(&paid).await.unwrap(), CommitOutcome::Committed);
    assert_unknown(&tables, &paid).await;
    let refunded = commit(&store, transition(&paid, &refund_of("p1"))).await;
    assert_unknown(&tables, &refunded).await;

    let order = order_with_unknown_attributes(&store, &tables).await;
    let expired = commit(&store, transition(&order, &expire)).await;
    let bought = commit(&store, late_payment_of(&expired, Availability::Free)).await;
    assert_unknown(&tables, &bought).await;
    assert_eq!(store.find(bought.id).await.unwrap(), Some(bought));
}

#[tokio::test]
async fn unknown_attributes_survive_a_takeover_and_a_ticket_event() {
    let (store, tables) = tables().await;
    let order = order_with_unknown_attributes(&store, &tables).await;
    let takeover = Some(takeover_of(&order));
    let next = Placement { order: order_at(&order.ticket, 30), takeover };
    assert_eq!(store.place(&next).await.unwrap(), PlaceOutcome::Placed);
    assert_unknown(&tables, &order).await;
    apply_next(&store, &withdrawal(&order.ticket.id, 4)).await;
    assert_unknown(&tables, &order).await;
    apply(&store, &sale(&order.ticket.id, 5), TicketRule::Next, Some(4)).await;
    assert_unknown(&tables, &order).await;
}

#[tokio::test]
async fn unknown_attributes_survive_in_refunds_and_payments() {
    let (store, tables) = tables().await;
    let order = placed_order(&store).await;
    let cancelled = commit(&store, transition(&order, &Command::Cancel)).await;
    let first = commit(&store, payment_of(&cancelled)).await;
    tables.change_payment("p1", &unknown()).await;
    let mut refund = tables.order(&first).await["refunds_due"][0].take();
    refund["newer"] = json!(1);
    tables.change_order(&first, &json!({"refunds_due": [refund]})).await;

    let second = commit(&store, transition(&first, &pay("p2", &first, 1))).await;
    assert_eq!(store.find(order.id).await.unwrap(), Some(second.clone()));
    let settled = commit(&store, transition(&second, &refund_of("p1"))).await;
    assert_eq!(store.find(order.id).await.unwrap(), Some(settled.clone()));
    refund["state"] = json!("settled");
    let other = json!({"payment_id": "p2", "reason": "order_cancelled", "amount": 1003});
    let stored = tables.order(&order).await["refunds_due"].take();
    assert_eq!(stored, json!([refund, other]));

    // A restored order books its payment again.
    let restored = Order { refunds_due: Vec::new(), ..settled };
    commit(&store, payment_of(&restored)).await;
    assert_eq!(tables.payment("p1").await["newer"], unknown()["newer"]);
}

#[tokio::test]
async fn item_that_cannot_be_read_is_reported() {
    let (store, tables) = tables().await;
    let order = placed_order(&store).await;
    for (schema, attributes) in
        std::iter::repeat_n(1, 8).zip(unreadable_orders()).chain([(0, json!({"schema": "two"}))])
    {
        let order = placed_order(&store).await;
        tables.change_order(&order, &json!({ "schema": schema })).await;
        assert_eq!(store.find(order.id).await.unwrap(), Some(order.clone()));
        tables.change_order(&order, &attributes).await;
        assert_unreadable(&store.find(order.id).await);
        assert_unreadable(&store.place(&placement(&order)).await);
    }
    for attributes in [
        json!({"schema": 2}),
        json!({"price": "free"}),
        // Neither on sale nor withdrawn.
        json!({"price": null}),
        json!({"title": null, "withdrawn": false}),
        json!({"withdrawn": "sometimes"}),
        json!({"locked_by": "x"}),
    ] {
        let order = placed_order(&store).await;
        tables.change_ticket(&order, &attributes).await;
        assert_unreadable(&store.find_ticket(&order.ticket.id).await);
    }
    let payment_id = payment("p1", &order, 1).id;
    commit(&store, payment_of(&order)).await;
    for attributes in [json!({"schema": 2}), json!({"schema": 1, "result": "lost"})] {
        tables.change_payment("p1", &attributes).await;
        assert_unreadable(&store.find_payment(&payment_id).await);
    }
}

/// The release before writes orders without a trace, and its updates leave the trace of an order as it is.
#[tokio::test]
async fn trace_of_an_order_is_a_hint() {
    let (store, tables) = tables().await;
    let hints = [json!(null), json!("00-0-0-0"), json!(7), json!({"deep": [1]})];
    for (payment, stored) in ["p1", "p2", "p3", "p4"].into_iter().zip(hints) {
        let order = placed_order(&store).await;
        assert_eq!(tables.order(&order).await["traceparent"], TRACEPARENT);
        tables.change_order(&order, &json!({ "traceparent": stored })).await;
        let untraced = Order { traceparent: None, ..order };
        assert_eq!(store.find(untraced.id).await.unwrap(), Some(untraced.clone()), "{stored}");
        let paid = commit(&store, transition(&untraced, &pay(payment, &untraced, 1))).await;
        assert_eq!(store.find(paid.id).await.unwrap(), Some(paid.clone()), "{stored}");
        assert_eq!(tables.order(&paid).await["traceparent"], stored);
    }
}

#[tokio::test]
async fn every_transition_keeps_the_trace() {
    let (store, tables) = tables().await;
    let order = placed_order(&store).await;
    let extended = commit(&store, extension_of(&order)).await;
    let paid = commit(&store, payment_of(&extended)).await;
    let owing = commit(&store, transition(&paid, &pay("p2", &paid, 1))).await;
    let settled = commit(&store, transition(&owing, &refund_of("p2"))).await;
    let refunded = commit(&store, transition(&settled, &refund_of("p1"))).await;
    assert_eq!(tables.order(&refunded).await["traceparent"], TRACEPARENT);
    assert_eq!(refunded.traceparent, order.traceparent);
}

/// A newer release has changed the order since the read of it.
#[tokio::test]
async fn order_that_cannot_be_read_is_never_changed() {
    let (store, tables) = tables().await;
    for attributes in unreadable_orders() {
        let order = placed_order(&store).await;
        let transitions = [
            transition(&order, &Command::Cancel),
            transition(&order, &Command::Expire { now: at(30) }),
            transition_on(&order, &Command::Cancel, Availability::Free),
            payment_of(&order),
            late_payment_of(&order, Availability::Own),
            extension_of(&order),
        ];
        tables.change_order_newer(&order, &attributes).await;
        let before = tables.snapshot(&[&order]).await;
        for transition in transitions {
            let outcome = store.commit(&transition).await.unwrap();
            assert_eq!(outcome, CommitOutcome::Conflict, "{attributes}");
        }
        let outcome = store.make_permanent(&order).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Conflict, "{attributes}");
        assert_eq!(tables.snapshot(&[&order]).await, before);
    }
}

/// The lapsed lock of the order stays, too.
#[tokio::test]
async fn order_that_cannot_be_read_is_never_taken_over() {
    let (store, tables) = tables().await;
    for attributes in unreadable_orders() {
        let lapsed = placed_order(&store).await;
        tables.change_order_newer(&lapsed, &attributes).await;
        assert_not_taken_over(&store, &tables, &lapsed, takeover_of(&lapsed)).await;
    }
    for attributes in [
        json!({"schema": 2}),
        json!({"schema": 2, "status": "cancelled"}),
        json!({"schema": 2, "status": "expired"}),
        json!({"schema": 2, "status": "refunded"}),
        json!({"schema": 2, "ticket": {"seats": 2}}),
        json!({"status": "held_by_a_newer_release"}),
    ] {
        let lapsed = placed_order(&store).await;
        tables.change_order(&lapsed, &attributes).await;
        assert_not_taken_over(&store, &tables, &lapsed, Takeover::Ended(lapsed.id)).await;
    }
}

/// Checks that neither a placement nor a late payment takes the ticket over.
async fn assert_not_taken_over(
    store: &DynamoStore,
    tables: &Tables,
    lapsed: &Order,
    takeover: Takeover,
) {
    let late = order_at(&lapsed.ticket, 0);
    store
        .place(&placement(&Order { ticket: new_ticket(store).await, ..late.clone() }))
        .await
        .unwrap();
    let payment = late_payment_of(&late, Availability::Lapsed(takeover.clone()));
    let placement = Placement { order: order_at(&lapsed.ticket, 30), takeover: Some(takeover) };
    let before = tables.snapshot(&[lapsed, &late, &placement.order]).await;
    let outcome = store.place(&placement).await.unwrap();
    assert_eq!(outcome, PlaceOutcome::Conflict, "{placement:?}");
    assert_eq!(store.commit(&payment).await.unwrap(), CommitOutcome::Conflict, "{payment:?}");
    assert_eq!(tables.snapshot(&[lapsed, &late, &placement.order]).await, before);
}

#[tokio::test]
async fn ticket_that_cannot_be_read_is_never_changed() {
    let (store, tables) = tables().await;
    let order = placed_order(&store).await;
    let paid = payment_of(&order);
    let schema = json!({"schema": 2});
    for lock in [Lock::Free, Lock::Held { by: order.id, until: order.expires_at }] {
        tables.set_lock(&order.ticket.id, lock).await;
        tables.change_ticket(&order, &schema).await;
        let before = tables.snapshot(&[&order]).await;
        let own = [Availability::Own, Availability::Free];
        for transition in own.map(|own| late_payment_of(&order, own)).into_iter().chain([
            transition(&order, &Command::Cancel),
            transition_on(&order, &Command::Cancel, Availability::Free),
            paid.clone(),
            extension_of(&order),
        ]) {
            let outcome = store.commit(&transition).await.unwrap();
            assert_eq!(outcome, CommitOutcome::Conflict, "{transition:?}");
        }
        assert_eq!(store.make_permanent(&order).await.unwrap(), CommitOutcome::Conflict);
        for takeover in [None, Some(takeover_of(&order))] {
            let placement = Placement { order: order_at(&order.ticket, 30), takeover };
            assert_eq!(store.place(&placement).await.unwrap(), PlaceOutcome::Conflict);
        }
        for rule in [TicketRule::Next, TicketRule::FirstOrNext, TicketRule::AnyNewer] {
            for newer in [sale(&order.ticket.id, 4), withdrawal(&order.ticket.id, 4)] {
                assert_unreadable(&store.apply_ticket(&newer, rule).await);
            }
        }
        assert_eq!(tables.snapshot(&[&order]).await, before);
        tables.change_ticket(&order, &json!({"schema": 1})).await;
    }
    commit(&store, paid).await;
}

#[tokio::test]
async fn payment_that_cannot_be_read_is_never_changed() {
    let (store, tables) = tables().await;
    let first = placed_order(&store).await;
    let second = placed_order(&store).await;
    commit(&store, payment_of(&first)).await;
    let of_second = payment_of(&second);
    tables.change_payment("p1", &json!({"result": "of_a_newer_release"})).await;
    assert_unreadable(&store.commit(&of_second).await);
    for order_id in [first.id, second.id] {
        let schema = json!({"schema": 2, "order_id": order_id.to_string()});
        tables.change_payment("p1", &schema).await;
        let before = tables.snapshot(&[&first, &second]).await;
        assert_unreadable(&store.commit(&of_second).await);
        assert_eq!(tables.snapshot(&[&first, &second]).await, before);
    }
}

/// The item of a buyer, of whom only this slot was used, until this second.
fn buyer_item(order: &Order, until: u64) -> Value {
    let until = at(until).epoch_ms();
    // DynamoDB may remove the item a day later. It counts in seconds.
    let forget_at = until / 1_000 + 86_400;
    json!({"id": order.user_id.as_str(), "slot_7": until, "forget_at": forget_at})
}

#[tokio::test]
async fn item_of_a_buyer_is_forgotten_a_day_after_its_last_slot() {
    let (store, tables) = tables().await;
    let order = placed_in_slot(&store).await;
    assert_eq!(tables.buyer(&order).await, buyer_item(&order, 30));
    assert_eq!(tables.order(&order).await["slot"], 7);
    commit(&store, extension_of(&order)).await;
    assert_eq!(tables.buyer(&order).await, buyer_item(&order, 310));
    assert_eq!(tables.order(&order).await["extended"], true);

    let order = placed_in_slot(&store).await;
    commit(&store, transition(&order, &Command::Cancel)).await;
    let mut freed = buyer_item(&order, 30);
    freed.as_object_mut().unwrap().remove("slot_7");
    assert_eq!(tables.buyer(&order).await, freed);
}

#[tokio::test]
async fn unknown_attributes_of_a_buyer_survive() {
    let (store, tables) = tables().await;
    let first = placed_in_slot(&store).await;
    let newer = json!({"newer": unknown()["newer"], "schema": 1, "slot_50": 1, "slot_x": "x"});
    tables.change_buyer(&first, &newer).await;
    let mut expected = buyer_item(&first, 310);
    expected.as_object_mut().unwrap().extend(newer.as_object().unwrap().clone());
    let extended = commit(&store, extension_of(&first)).await;
    assert_eq!(tables.buyer(&first).await, expected);
    commit(&store, transition(&extended, &Command::Cancel)).await;
    let next = order_in(&store, &first.user_id, slot(), 280).await;
    assert_eq!(store.place(&placement(&next)).await.unwrap(), PlaceOutcome::Placed);
    assert_eq!(tables.buyer(&first).await, expected);
}

/// The buyer gets no other ticket, and the orders that the buyer has go on without the slots.
#[tokio::test]
async fn buyer_that_cannot_be_read_is_never_changed() {
    let (store, tables) = tables().await;
    for index in 0..3 {
        let order = placed_in_slot(&store).await;
        let next = order_in(&store, &order.user_id, slot(), 30).await;
        tables.change_buyer(&order, &json!({"schema": 2})).await;
        let before = tables.buyer(&order).await;
        assert_unreadable(&store.find_slots(&order.user_id).await);
        let outcome = store.place(&placement(&next)).await.unwrap();
        assert_eq!(outcome, PlaceOutcome::Conflict);
        let change = slot_changes(&order)[index].clone();
        let changed = commit(&store, change).await;
        assert_eq!(store.find(order.id).await.unwrap(), Some(changed));
        assert_eq!(tables.buyer(&order).await, before);
    }
}

/// A withdrawal keeps title and price of the item, for releases that do not know withdrawals.
#[tokio::test]
async fn withdrawn_ticket_keeps_its_title_and_price() {
    let (store, tables) = tables().await;
    let order = placed_order(&store).await;
    let mut expected = tables.ticket(&order).await;
    apply_next(&store, &withdrawal(&order.ticket.id, 4)).await;
    expected["version"] = json!(4);
    expected["withdrawn"] = json!(true);
    assert_eq!(tables.ticket(&order).await, expected);
    apply(&store, &sale(&order.ticket.id, 5), TicketRule::Next, Some(4)).await;
    assert_eq!(tables.ticket(&order).await.get("withdrawn"), None);
}

#[tokio::test]
async fn list_goes_on_after_orders_that_cannot_be_read() {
    let (store, tables) = tables().await;
    // The letters are the orders by time of placing: readable or not.
    for (orders, sizes) in [("rurr", 1..=4), ("uuur", 1..=5), ("ruuu", 1..=4), ("uuu", 1..=4)] {
        let user: orders_domain::UserId = format!("user-{orders}").parse().unwrap();
        let mut readable = Vec::new();
        for (second, letter) in (0..).zip(orders.chars()) {
            let order = order_at(&new_ticket(&store).await, second);
            let order = Order { user_id: user.clone(), ..order };
            store.place(&placement(&order)).await.unwrap();
            if letter == 'u' {
                let unreadable = unreadable_orders();
                let kind = usize::try_from(second).unwrap() % unreadable.len();
                tables.change_order(&order, &unreadable[kind]).await;
            } else {
                readable.push(order);
            }
        }
        for size in sizes {
            for direction in [Direction::OldestFirst, Direction::NewestFirst] {
                let size = u8::try_from(size).unwrap().try_into().unwrap();
                let query = ListQuery { user_id: user.clone(), size, direction, after: None };
                let mut listed = list_all(&store, query, orders.len()).await;
                if direction == Direction::NewestFirst {
                    listed.reverse();
                }
                assert_eq!(listed, readable, "{orders}");
            }
        }
    }
}

/// All orders of a list with at most this many pages.
async fn list_all(store: &DynamoStore, mut query: ListQuery, max_pages: usize) -> Vec<Order> {
    let mut listed = Vec::new();
    for _ in 0..max_pages {
        let page = store.list(&query).await.unwrap();
        assert!(page.orders.len() <= usize::from(query.size.get()));
        listed.extend(page.orders);
        query.after = page.next;
        if page.next.is_none() {
            return listed;
        }
    }
    panic!("endless list: {listed:#?}");
}

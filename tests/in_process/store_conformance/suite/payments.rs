//! Payments, booked in the transactions of their orders.

use orders_domain::{
    Availability, BookedPayment, Command, CommitOutcome, Order, OrderStore, Payment, PaymentResult,
    RefundReason, Transition,
};
use orders_testing::{LATE_LIMIT, at, payment, transition};

use super::{
    assert_conflicts, cancelled_order, commit, expired_order, late_payment_of, new_payment_id,
    paid_order, payment_of, placed_order, rows_of, transition_on,
};

/// The transition of this payment at second 1.
fn paying(order: &Order, payment: &Payment) -> Transition {
    let payment = Payment { order_id: order.id, ..payment.clone() };
    transition(order, &Command::Pay { payment, late_limit: LATE_LIMIT, now: at(1) })
}

async fn booked(store: &impl OrderStore, transition: &Transition) -> Option<BookedPayment> {
    store.find_payment(&transition.booked().unwrap().payment.id).await.unwrap()
}

pub(crate) async fn payment_is_booked_with_its_result(store: &impl OrderStore) {
    let refund = PaymentResult::RefundDue;
    for (transition, result) in [
        (payment_of(&placed_order(store).await), PaymentResult::Bought),
        (late_payment_of(&expired_order(store).await, Availability::Free), PaymentResult::Bought),
        (payment_of(&paid_order(store).await), refund(RefundReason::AlreadyPaid)),
        (payment_of(&cancelled_order(store).await), refund(RefundReason::OrderCancelled)),
        (
            late_payment_of(&expired_order(store).await, Availability::Sold),
            refund(RefundReason::TicketTaken),
        ),
    ] {
        assert_eq!(transition.booked().unwrap().result, result);
        assert_eq!(booked(store, &transition).await, None);
        commit(store, &transition).await;
        assert_eq!(booked(store, &transition).await.as_ref(), transition.booked());
    }
}

pub(crate) async fn payment_without_an_amount_is_booked_without_one(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let trusted = Payment { amount: None, ..payment(&new_payment_id(), &order, 1) };
    let buying = paying(&order, &trusted);
    commit(store, &buying).await;
    assert_eq!(booked(store, &buying).await.map(|booked| booked.payment), Some(trusted));
}

/// The payment has bought an order, or its refund is due. It changes no other order.
pub(crate) async fn payment_of_another_order_changes_nothing(store: &impl OrderStore) {
    for first in [placed_order(store).await, paid_order(store).await] {
        let payment = payment(&new_payment_id(), &first, 1);
        let earlier = paying(&first, &payment);
        commit(store, &earlier).await;
        for second in [placed_order(store).await, cancelled_order(store).await] {
            let before = rows_of(store, &[&first, &second]).await;
            let outcome = store.commit(&paying(&second, &payment)).await.unwrap();
            assert_eq!(outcome, CommitOutcome::PaymentOfAnotherOrder(first.id));
            assert_eq!(rows_of(store, &[&first, &second]).await, before);
            assert_eq!(booked(store, &earlier).await.as_ref(), earlier.booked());
        }
    }
}

pub(crate) async fn late_payment_of_another_order_changes_nothing(store: &impl OrderStore) {
    let first = placed_order(store).await;
    let payment = payment(&new_payment_id(), &first, 1);
    commit(store, &paying(&first, &payment)).await;
    let second = expired_order(store).await;
    let payment = Payment { order_id: second.id, ..payment };
    let command = Command::Pay { payment, late_limit: LATE_LIMIT, now: at(40) };
    let late = transition_on(&second, &command, Availability::Free);
    let before = rows_of(store, &[&second]).await;
    let outcome = store.commit(&late).await.unwrap();
    assert_eq!(outcome, CommitOutcome::PaymentOfAnotherOrder(first.id));
    assert_eq!(rows_of(store, &[&second]).await, before);
}

/// A restored order does not know its payment, which is booked again.
pub(crate) async fn payment_of_the_same_order_is_booked_again(store: &impl OrderStore) {
    let order = paid_order(store).await;
    let payment = payment(&new_payment_id(), &order, 1);
    let refund = commit(store, &paying(&order, &payment)).await;
    let restored = Order { refunds_due: Vec::new(), ..refund };
    let again = paying(&restored, &payment);
    assert_eq!(store.commit(&again).await.unwrap(), CommitOutcome::Committed);
    assert_eq!(booked(store, &again).await.as_ref(), again.booked());
}

pub(crate) async fn conflict_books_no_payment(store: &impl OrderStore) {
    let order = placed_order(store).await;
    let stale = payment_of(&order);
    let paid = commit(store, &payment_of(&order)).await;
    let stale_refund = payment_of(&paid);
    commit(store, &payment_of(&paid)).await;
    assert_conflicts(store, &[stale, stale_refund], &[&order]).await;
}

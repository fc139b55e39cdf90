//! Conformance suite for every store: in memory, on a DynamoDB engine in this process, and on test
//! tables at the stack's endpoint. `ORDERS_DYNAMODB_ENDPOINT` names another endpoint: a URL, or
//! `aws` for the account of the current credentials.

mod faults;
mod first_edition;
mod histories;
mod items;
mod retention;
mod suite;
mod tables;

use orders_tests::stores;

/// Defines each test of the suite for each store. The tests in `repaired` change rows beside the
/// store.
macro_rules! conformance {
    (store { $($test:ident)* } repaired { $($repaired:ident)* }) => {
        mod in_memory {
            use std::time::Duration;

            use orders_domain::{BookedPayment, Command, OrderStore, PaymentResult};
            use orders_testing::{MemoryStore, after, at, order, payment};

            /// Tests put rows into the store, as a restore or a manual repair does.
            #[tokio::test]
            async fn rows_can_be_overwritten_and_removed() {
                let (one, two) = (order(1), order(2));
                let store = MemoryStore::holding([], [one.clone()]);
                store.put_order(two.clone());
                for order in [&one, &two] {
                    assert_eq!(store.find(order.id).await.unwrap().as_ref(), Some(order));
                }
                store.remove_order(one.id);
                assert_eq!(store.find(one.id).await.unwrap(), None);
                let booked =
                    BookedPayment { payment: payment("p1", &two, 0), result: PaymentResult::Bought };
                store.put_payment(booked.clone());
                assert_eq!(store.payments(), [booked]);
            }

            #[tokio::test]
            async fn order_is_forgotten_at_its_time() {
                let (live, ended) = (order(1), after(&order(2), &Command::Cancel));
                let store = MemoryStore::holding([], [live.clone(), ended.clone()]);
                let kept = Duration::from_mins(1);
                store.forget(kept, at(89));
                assert_eq!(store.find(ended.id).await.unwrap(), Some(ended.clone()));
                store.forget(kept, at(90));
                assert_eq!(store.find(ended.id).await.unwrap(), None);
                assert_eq!(store.find(live.id).await.unwrap(), Some(live));
            }

            $(#[tokio::test]
            async fn $test() {
                super::suite::$test(&MemoryStore::default()).await;
            })*

            $(#[tokio::test]
            async fn $repaired() {
                let store = MemoryStore::default();
                super::suite::$repaired(&store, &store).await;
            })*
        }

        mod in_process {
            use crate::{stores, tables::Tables};

            $(#[tokio::test]
            async fn $test() {
                super::suite::$test(&stores::in_process().await).await;
            })*

            $(#[tokio::test]
            async fn $repaired() {
                let (store, tables) = Tables::on(&stores::in_process_endpoint()).await;
                super::suite::$repaired(&store, &tables).await;
            })*
        }

        mod at_endpoint {
            use crate::{stores, tables::Tables};

            $(#[tokio::test]
            async fn $test() {
                super::suite::$test(&stores::at_endpoint().await).await;
            })*

            $(#[tokio::test]
            async fn $repaired() {
                let (store, tables) = Tables::on(&stores::endpoint().await).await;
                super::suite::$repaired(&store, &tables).await;
            })*
        }
    };
}

conformance! {
    store {
        missing_rows_are_not_found
        ticket_write_follows_the_version_rule
        ticket_write_keeps_the_lock
        placed_order_is_stored_and_locks_its_ticket
        order_id_is_used_once
        place_conflicts_with_a_changed_ticket
        takeover_expires_the_lapsed_order
        takeover_conflicts_with_a_changed_order
        takeover_conflicts_with_an_active_hold
        cancelled_or_expired_order_frees_its_ticket
        expired_order_is_cancelled_without_its_ticket
        paid_order_locks_its_ticket_permanently
        free_ticket_is_sold_by_its_placement
        free_ticket_is_taken_over_permanently
        cancelled_free_order_gives_its_ticket_back
        payment_of_a_free_order_is_a_refund_due
        extension_moves_the_end_of_order_and_lock
        extended_order_ends_like_any_other
        extended_order_is_not_ended_by_what_was_decided_before
        extension_conflicts_with_a_changed_order
        withdrawal_keeps_the_lock
        place_conflicts_with_a_withdrawal
        withdrawn_ticket_is_put_back_on_sale
        refunds_due_are_appended_and_keep_the_lock
        refund_due_survives_later_transitions
        refunded_order_frees_its_ticket
        refund_beside_the_lock_conflicts_with_an_own_lock
        settled_refund_changes_only_its_state
        refund_conflicts_with_a_changed_order
        placed_order_occupies_its_slot
        order_without_a_slot_occupies_none
        place_conflicts_with_an_occupied_slot
        lapsed_slot_is_free
        cancellation_and_payment_free_the_slot
        extension_moves_the_slot
        free_order_occupies_its_slot_for_the_usual_hold
        transition_leaves_the_slot_of_a_later_order
        stale_transition_leaves_its_slot
        takeover_occupies_the_slot_of_the_new_order_only
        stale_commit_writes_nothing
        order_ends_beside_its_lock_only_without_it
        late_payment_buys_a_ticket_that_is_free_or_still_locked
        late_payment_buys_at_the_same_price_of_a_newer_version
        late_payment_expires_the_order_of_a_lapsed_lock
        late_payment_conflicts_with_a_changed_price
        late_payment_conflicts_with_a_withdrawal
        late_payment_conflicts_with_a_changed_order
        late_payment_conflicts_with_an_active_hold
        late_payment_of_a_missing_ticket_conflicts
        payment_is_booked_with_its_result
        payment_without_an_amount_is_booked_without_one
        payment_of_another_order_changes_nothing
        late_payment_of_another_order_changes_nothing
        payment_of_the_same_order_is_booked_again
        conflict_books_no_payment
        list_contains_own_orders_once_in_both_directions
        list_contains_orders_of_the_same_millisecond
        concurrent_buyers_of_one_ticket_get_one_order
        concurrent_repeats_place_one_order
        concurrent_cancel_and_payment_commit_once
        concurrent_extension_and_takeover_commit_once
        concurrent_orders_of_one_buyer_never_exceed_the_slots
        concurrent_orders_of_one_payment_get_one_result
        concurrent_late_payment_and_takeover_commit_once
        concurrent_ticket_versions_end_at_the_newest
        scan_finds_each_lapsed_hold_once
    }

    repaired {
        order_without_its_lock_ends_beside_it
        extension_conflicts_with_a_lock_that_is_not_its_own
        refund_never_frees_a_ticket_of_another_order
        transition_commits_without_the_slots_of_its_buyer
        takeover_of_an_ended_order_leaves_it_as_it_is
        takeover_of_an_ended_order_conflicts_with_a_live_order
        takeover_conflicts_with_a_lock_of_another_order
        missing_order_takes_its_own_lapsed_lock_over
        lock_of_a_paid_order_is_made_permanent
        lock_is_made_permanent_only_for_the_order_as_read
        lapsed_lock_of_an_ended_order_is_released
        lock_is_released_only_after_its_order_and_its_end
        late_payment_passes_the_lock_of_an_ended_order
        late_payment_conflicts_with_a_lock_of_another_order
        late_payment_conflicts_with_a_live_order_assumed_to_have_ended
    }
}

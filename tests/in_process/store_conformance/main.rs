//! Conformance suite for every store: in memory, on a DynamoDB engine in this process, and on test
//! tables at the stack's endpoint. `ORDERS_DYNAMODB_ENDPOINT` names another endpoint: a URL, or
//! `aws` for the account of the current credentials.

mod faults;
mod histories;
mod suite;

use orders_tests::stores;

/// Defines each test of the suite for each store.
macro_rules! conformance {
    ($($test:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $test() {
                super::suite::$test(&orders_testing::MemoryStore::default()).await;
            })*
        }

        mod in_process {
            $(#[tokio::test]
            async fn $test() {
                super::suite::$test(&super::stores::in_process().await).await;
            })*
        }

        mod at_endpoint {
            $(#[tokio::test]
            async fn $test() {
                super::suite::$test(&super::stores::at_endpoint().await).await;
            })*
        }
    };
}

conformance! {
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
    paid_order_locks_its_ticket_permanently
    late_payment_locks_only_a_free_ticket
    refund_due_is_stored_and_keeps_the_lock
    stale_commit_writes_nothing
    list_contains_own_orders_once_in_both_directions
    list_contains_orders_of_the_same_millisecond
    concurrent_buyers_of_one_ticket_get_one_order
    concurrent_repeats_place_one_order
    concurrent_cancel_and_payment_commit_once
    concurrent_ticket_versions_end_at_the_newest
}

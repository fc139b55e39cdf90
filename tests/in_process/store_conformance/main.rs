//! One suite that every store passes: in memory, on a DynamoDB engine inside this process, and on
//! tables made where the stack is. Set `ORDERS_DYNAMODB_ENDPOINT` to a URL, or to `aws` for the
//! account of the current credentials, to make them there instead.

mod faults;
mod histories;
mod suite;

use orders_tests::stores;

/// Makes each test of the suite a test of each store.
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
    what_was_never_written_is_not_there
    a_ticket_is_written_where_the_version_rule_allows_and_nowhere_else
    a_ticket_event_never_touches_the_lock
    a_placed_order_is_there_whole_and_has_its_ticket
    an_order_id_is_used_once
    an_order_for_a_ticket_that_has_moved_is_not_placed
    a_takeover_expires_the_lapsed_order_in_the_same_step
    a_takeover_of_an_order_that_has_moved_is_not_placed
    a_hold_that_has_not_lapsed_is_not_taken_over
    an_order_that_lets_its_ticket_go_frees_it
    a_paid_order_has_its_ticket_for_good
    a_late_payment_takes_a_free_ticket_again_and_no_other
    a_refund_due_is_kept_with_the_order_and_changes_no_lock
    a_stale_change_writes_nothing_and_touches_no_lock
    a_list_has_each_of_the_buyers_orders_once_in_either_direction
    orders_placed_in_the_same_millisecond_are_all_listed
    of_many_who_want_one_ticket_at_once_one_gets_it
    of_many_sendings_of_one_order_at_once_one_is_placed
    of_a_cancel_and_a_payment_at_once_one_wins
    ticket_versions_at_once_end_at_the_newest
}

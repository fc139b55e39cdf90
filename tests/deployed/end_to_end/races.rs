//! Concurrent requests of many buyers.

use serde_json::json;
use tokio::task::JoinSet;

use orders_tests::buyers::{ApiResponse, TestStack, new_buyer, new_buyers};

const BUYERS: usize = 200;
const ROUNDS: usize = 20;

#[tokio::test]
async fn two_hundred_buyers_of_one_ticket_get_one_order() {
    let test_stack = TestStack::connect().await;
    let buyers = new_buyers(BUYERS);
    for ticket in test_stack.new_tickets(ROUNDS).await {
        let mut requests = JoinSet::new();
        for buyer in buyers.clone() {
            let ticket = ticket.clone();
            requests.spawn(async move { buyer.order(&ticket).await });
        }
        let responses = requests.join_all().await;
        let (winners, losers): (Vec<ApiResponse>, Vec<ApiResponse>) =
            responses.into_iter().partition(|response| response.status == 201);
        assert_eq!(winners.len(), 1, "{ticket}");
        for loser in losers {
            assert_eq!(loser.checked_status(), 409, "{loser:?}");
        }
        let winner = winners[0].json();
        let row = test_stack.ticket_row(&ticket).await.unwrap();
        assert_eq!(row["locked_by"], winner["id"]);
        let orders = test_stack.orders_for(&ticket).await;
        assert_eq!(orders.len(), 1);
        assert_eq!(orders[0]["id"], winner["id"]);
        assert_eq!(orders[0]["expires_at"], row["locked_until"]);
    }
}

#[tokio::test]
async fn fifty_concurrent_repeats_of_a_key_create_one_order() {
    let test_stack = TestStack::connect().await;
    let [ticket, other] = test_stack.new_tickets(2).await.try_into().unwrap();
    let alice = new_buyer();
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        let (alice, ticket) = (alice.clone(), ticket.clone());
        requests.spawn(async move { alice.order_with_key(&ticket, "one-attempt").await });
    }
    let responses = requests.join_all().await;
    let (first, repeats): (Vec<_>, Vec<_>) =
        responses.iter().partition(|response| response.status == 201);
    assert_eq!((first.len(), repeats.len()), (1, 49), "{responses:#?}");
    for repeat in repeats {
        assert_eq!(repeat.status, 200, "{repeat:?}");
        assert_eq!(repeat.header("location"), first[0].header("location"));
    }
    assert_eq!(test_stack.orders_for(&ticket).await.len(), 1);
    let reused = alice.order_with_key(&other, "one-attempt").await;
    assert_eq!(reused.checked_status(), 422);

    let id = responses[0].json()["id"].as_str().unwrap().to_owned();
    assert_eq!(alice.cancel(&id).await.status, 204);
    let repeat = alice.order_with_key(&ticket, "one-attempt").await;
    assert_eq!(repeat.status, 200);
    assert_eq!((&repeat.json()["id"], &repeat.json()["status"]), (&json!(id), &json!("cancelled")));
}

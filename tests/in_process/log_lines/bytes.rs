//! Bytes of the lines that are written most often. The page of the costs counts with them.

use orders_domain::Order;

use super::{correlation::record, *};

const COSTS: &str = include_str!("../../../docs/costs.md");
/// Bytes that CloudWatch counts for each line beyond its text (CloudWatch Logs API reference,
/// `PutLogEvents`).
const OVERHEAD: usize = 26;

fn documented(name: &str) -> usize {
    let row = COSTS.lines().find_map(|line| line.strip_prefix(&format!("| {name} | ")));
    row.and_then(|row| row.strip_suffix(" |")?.parse().ok()).expect("a row of the costs")
}

/// With a correlation id as long as a request id of API Gateway or Lambda.
#[tokio::test]
async fn lines_have_the_bytes_of_the_costs() {
    let correlation_id = order_id(2).to_string();
    let show = Event::for_order("GET", &order_id(1).to_string())
        .set("routeKey", json!("GET /api/orders/{id}"))
        .header("x-correlation-id", &correlation_id);
    let request = lines_of(Api { store: MemoryStore::default() }.show(&show)).await;
    let correlation_id = correlation_id.parse().unwrap();
    let order = Order { correlation_id, ..order_with_hold(7, 30) };
    let sink = aws_responses::relay_sink(aws_responses::success);
    let deadline = Instant::now() + Duration::from_secs(9);
    let records = [record(None, &order)];
    let events = lines_of(order_relay::relay(&sink, at(0), deadline, &records)).await;
    for (name, lines) in [("request", request), ("event published", events)] {
        let [line] = &lines[..] else { panic!("one line: {lines:?}") };
        let bytes = line.to_string().len() + OVERHEAD;
        // The time can have fewer digits.
        assert!(bytes.abs_diff(documented(name)) <= 6, "{name} has {bytes} bytes");
    }
}

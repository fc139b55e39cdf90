//! The correlation id on the log lines of every function, and the query of the runbook that follows one
//! order by it.

use std::{
    fs,
    future::pending,
    path::{Path, PathBuf},
};

use order_relay::sink::{AwsRelaySink, Expiry, RelaySink};
use orders_contracts::OutgoingEvent;
use orders_domain::{Lock, Order, OrderId, Status, TicketReplica, Timestamp};
use orders_lambda::stream::{Change, Content, Record};
use orders_testing::{TRACEPARENT, after, order, pay};
use orders_tests::aws_responses::AwsResponse;

use super::*;

/// Correlation id of the requests here. The orders of `orders_testing` have another.
const REQUEST: &str = "attempt-1";
const ORDER: &str = "request-1";

/// Lines outside of requests, messages, records and orders.
const WITHOUT_CORRELATION: [&str; 6] = [
    "Warm-up read failed",
    "Writing metrics failed",
    "Scan of the tickets failed",
    "Deadline reached before the end of the scan",
    "Reconciled lapsed holds",
    // Written without the order if it cannot be read.
    "Forgotten hold not repaired",
];

const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

/// A queue whose every call fails.
struct BrokenQueue;

impl Queue for BrokenQueue {
    async fn set_visibility_timeout(&self, _: &str, _: Duration) -> Result<(), BoxError> {
        Err("throttled".into())
    }

    async fn send(&self, _: &str, _: Duration) -> Result<(), BoxError> {
        Err("throttled".into())
    }

    async fn dead_letter(&self, _: &str) -> Result<(), BoxError> {
        Err("throttled".into())
    }
}

/// A bus that never responds.
struct SilentSink;

impl RelaySink for SilentSink {
    async fn publish(&self, _: &[OutgoingEvent]) -> Vec<bool> {
        pending().await
    }

    async fn schedule_expiry(&self, _: Expiry, _: Timestamp) -> Result<(), BoxError> {
        pending().await
    }

    async fn unschedule_expiry(&self, _: Expiry) -> Result<(), BoxError> {
        pending().await
    }

    async fn send_expiries(&self, _: &[Expiry]) -> Vec<bool> {
        pending().await
    }

    async fn dead_letter(&self, _: &str) -> Result<(), BoxError> {
        pending().await
    }
}

/// Lines of a batch with this message, received for the third time, 20 s after it was sent.
async fn lines_of_message(
    body: &Value,
    handler: impl AsyncFn(Message<'_>) -> Result<Outcome, Failure>,
) -> Vec<Value> {
    let mut batch = batch_of(body);
    let sent_at_ms = clock::now().epoch_ms() - 20_000;
    batch["Records"][0]["attributes"]["SentTimestamp"] = json!(sent_at_ms.to_string());
    batch["Records"][0]["attributes"]["ApproximateReceiveCount"] = json!("3");
    let event: SqsEvent = serde_json::from_value(batch).unwrap();
    lines_of(async { process(&event, &context(), clock::now(), &BrokenQueue, &handler).await })
        .await
}

async fn lines_of_payment(store: &MemoryStore, body: &Value) -> Vec<Value> {
    lines_of_message(body, async |message| {
        payment_events::handle(store, PAYMENT_LIMITS, at(10), message).await
    })
    .await
}

/// Lines of the relay with a sink that fails in these operations.
async fn lines_of_relay(records: &[Record<'_>], failing: &'static [&'static str]) -> Vec<Value> {
    relay_until(Duration::from_secs(9), records, sink(failing)).await
}

async fn relay_until(left: Duration, records: &[Record<'_>], sink: impl RelaySink) -> Vec<Value> {
    lines_of(order_relay::relay(&sink, at(0), Instant::now() + left, records)).await
}

fn sink(failing: &'static [&'static str]) -> AwsRelaySink {
    aws_responses::relay_sink(move |operation, request| {
        if failing.contains(&operation) {
            refused()
        } else {
            aws_responses::success(operation, request)
        }
    })
}

fn refused() -> AwsResponse {
    (400, json!({"__type": "ThrottlingException", "message": "slow down"}))
}

/// Every entry of the operation is refused, and the call succeeds.
fn sink_refusing_entries() -> AwsRelaySink {
    aws_responses::relay_sink(|operation, request| match operation {
        "PutEvents" => {
            (200, json!({"FailedEntryCount": 1, "Entries": [{"ErrorCode": "Throttling"}]}))
        }
        _ => aws_responses::success(operation, request),
    })
}

fn sink_refusing_expiries() -> AwsRelaySink {
    aws_responses::relay_sink(|operation, request| match operation {
        "SendMessageBatch" => {
            let refused = |entry: &Value| json!({"Id": entry["Id"], "Code": "Throttling", "SenderFault": false});
            let failed: Vec<_> =
                request["Entries"].as_array().unwrap().iter().map(refused).collect();
            (200, json!({"Successful": [], "Failed": failed}))
        }
        _ => aws_responses::success(operation, request),
    })
}

pub(crate) fn record(before: Option<&Order>, after: &Order) -> Record<'static> {
    let change = Change { before: before.cloned(), after: after.clone(), at: at(0) };
    let content = Ok(Content::Change(Box::new(change)));
    Record { raw: "", sequence_number: "1".to_owned(), content }
}

async fn lines_of_requests() -> Vec<Value> {
    let event =
        Event::for_order("GET", &order_id(1).to_string()).header("x-correlation-id", REQUEST);
    let mut lines = lines_of(Api { store: MemoryStore::default() }.show(&event)).await;
    for error in
        [StoreError::Unavailable("throttled".into()), StoreError::Refused("no table".into())]
    {
        lines.extend(lines_of(event.to(|_| async { Err(Problem::from(error)) })).await);
    }
    let paid = Order { status: Status::Paid { payment_id: "p1".parse().unwrap() }, ..order(1) };
    let lock = Lock::Held { by: paid.id, until: paid.expires_at };
    let sale = Sale::Open(paid.ticket.clone());
    let store = MemoryStore::holding([TicketReplica { sale, lock, locked_for: None }], [paid]);
    let event =
        Event::post(r#"{"ticketId":"ticket-1"}"#).by("bob").header("x-correlation-id", REQUEST);
    lines.extend(lines_of(Api { store }.create(&event)).await);
    lines
}

/// Lines of a request and of a message that find an unreadable order.
async fn lines_of_an_unreadable_order() -> Vec<Value> {
    let (store, id) = store_with_an_unreadable_order().await;

    let handler = async |message: Message<'_>| expire_orders::handle(&store, at(0), message).await;
    let timer = lines_of_message(&json!({ "orderId": id }), handler).await;
    // Without the order, the message itself has no correlation id.
    let [item, ..] = &timer[..] else { panic!("no line") };
    assert_eq!(item["fields"]["message"], "Item cannot be read");
    let event = Event::for_order("GET", &id).header("x-correlation-id", ORDER);
    let request = lines_of(Api { store }.show(&event)).await;
    [vec![item.clone()], request].concat()
}

async fn lines_of_messages() -> Vec<Value> {
    let metadata = json!({ "correlationId": REQUEST });
    let order = order_id(9).to_string();
    let mut payment = events::payment("p1", &order, at(10));
    payment["detail"]["metadata"] = metadata.clone();
    let mut lines = lines_of_payment(&MemoryStore::default(), &payment).await;
    payment["detail-type"] = json!("PaymentLost");
    lines.extend(lines_of_payment(&MemoryStore::default(), &payment).await);
    let fail = async |_: Message<'_>| Err(Failure::Transient("throttled".into()));
    lines.extend(lines_of_message(&payment, fail).await);
    let mut gap: Value =
        serde_json::from_str(include_str!("../../support/fixtures/ticket_created.json")).unwrap();
    gap["detail-type"] = json!("TicketUpdated");
    gap["detail"]["version"] = json!(5);
    gap["detail"]["metadata"] = metadata;
    let store = MemoryStore::default();
    let handler = async |message: Message<'_>| ticket_events::handle(&store, message).await;
    lines.extend(lines_of_message(&gap, handler).await);
    lines
}

/// Lines of messages whose order was read: the order's correlation id replaces the message's.
async fn lines_of_messages_for_an_order() -> Vec<Value> {
    let (store, order) = (MemoryStore::default(), order_with_hold(7, 30));
    place(&store, &order).await;
    let id = order.id.to_string();
    let mut refund = events::payment_refunded("p1", &id, at(10));
    refund["detail"]["metadata"] = json!({ "correlationId": REQUEST });
    let mut lines = lines_of_payment(&store, &refund).await;
    let handler = async |message: Message<'_>| expire_orders::handle(&store, at(0), message).await;
    lines.extend(lines_of_message(&json!({ "orderId": id }), handler).await);
    for line in &lines {
        assert_eq!(line["span"]["correlation_id"], ORDER, "{line}");
    }
    lines
}

async fn lines_of_records() -> Vec<Value> {
    let (short, long) = (order_with_hold(7, 30), order_with_hold(8, 300));
    let new = [record(None, &short)];
    let mut lines = lines_of_relay(&new, &[]).await;
    lines.extend(lines_of_relay(&new, &["PutEvents"]).await);
    lines.extend(lines_of_relay(&new, &["SendMessageBatch"]).await);
    let nine = Duration::from_secs(9);
    lines.extend(relay_until(nine, &new, sink_refusing_entries()).await);
    lines.extend(relay_until(nine, &new, sink_refusing_expiries()).await);
    lines.extend(relay_until(Duration::ZERO, &new, SilentSink).await);
    lines.extend(lines_of_relay(&[record(None, &long)], &["CreateSchedule"]).await);
    let paid = record(Some(&long), &after(&long, &pay("p1", &long, 1)));
    lines.extend(lines_of_relay(&[paid], &["DeleteSchedule"]).await);
    let batch = include_str!("../../support/fixtures/stream_batch.json");
    let batch = batch.replace("awaiting_payment", "of_a_newer_release");
    lines.extend(lines_of_relay(&stream::read(&batch).unwrap(), &["SendMessage"]).await);
    let removal = include_str!("../../support/fixtures/stream_batch.json")
        .replace("INSERT", "REMOVE")
        .replace("NewImage", "OldImage");
    lines.extend(lines_of_relay(&stream::read(&removal).unwrap(), &[]).await);
    lines
}

async fn lines_of_a_forgotten_hold() -> Vec<Value> {
    let (store, order) = (MemoryStore::default(), order_with_hold(7, 30));
    place(&store, &order).await;
    let later = Instant::now() + Duration::from_mins(1);
    lines_of(reconcile::reconcile(&store, reconcile::Request::default(), at(10_000), later)).await
}

/// The values of a line that are correlation ids.
fn correlation_ids(line: &Value) -> Vec<&str> {
    let places = ["/fields", "/span"].map(|part| line.pointer(part));
    let places = places.into_iter().flatten();
    let ids = places.flat_map(|part| [&part["correlation_id"], &part["correlation_ids"]]);
    ids.filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn every_line_has_the_correlation_id() {
    let lines = [
        (REQUEST, lines_of_requests().await),
        (ORDER, lines_of_an_unreadable_order().await),
        (REQUEST, lines_of_messages().await),
        (ORDER, lines_of_messages_for_an_order().await),
        (ORDER, lines_of_records().await),
        (ORDER, lines_of_a_forgotten_hold().await),
    ];
    for (id, lines) in &lines {
        for line in lines {
            let message = line["fields"]["message"].as_str().unwrap();
            let ids = correlation_ids(line);
            let has_id = |text: &&str| *text == *id || *text == format!("[\"{id}\"]");
            let has_none = WITHOUT_CORRELATION.contains(&message);
            assert!(has_none || ids.iter().any(has_id), "{id} is missing in {line}");
        }
    }
    let lines: Vec<Value> = lines.into_iter().flat_map(|(_, lines)| lines).collect();
    let written = |template: &str| lines.iter().any(|line| is_written_as(line, template));
    for (path, template) in messages_of_the_code() {
        let is_covered = WITHOUT_CORRELATION.contains(&template.as_str()) || written(&template);
        assert!(is_covered, "{path}: no line here is \"{template}\"; add one to this test");
    }
    for name in names(RUNBOOK) {
        let found = lines
            .iter()
            .any(|line| line.pointer(&format!("/{}", name.replace('.', "/"))).is_some());
        assert!(found, "docs/runbook.md: no line has the field {name}");
    }
}

/// Whether the line's message has the fixed parts of the template.
fn is_written_as(line: &Value, template: &str) -> bool {
    let message = line["fields"]["message"].as_str().unwrap();
    let fixed = template.split(['{', '}']).step_by(2);
    let mut rest = Some(message);
    for part in fixed {
        rest = rest.and_then(|rest| Some(rest.split_once(part)?.1));
    }
    rest.is_some() && (template.contains('{') || message == template)
}

/// The messages of all log calls in the functions and in the crates that they share, with their files.
fn messages_of_the_code() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = ["functions", "shared"].map(|folder| rust_files(&root.join(folder))).concat();
    let mut messages = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let found = ["error!(", "warn!(", "info!(", "debug!(", "trace!("].map(|call| {
            let calls = code.split(call).skip(1);
            calls.map(|rest| message_of(rest).to_owned()).collect::<Vec<_>>()
        });
        messages.extend(found.concat().into_iter().map(|it| (file.display().to_string(), it)));
    }
    for known in WITHOUT_CORRELATION {
        assert!(messages.iter().any(|(_, message)| message == known), "no line is {known}");
    }
    assert!(messages.len() > 20, "{messages:?}");
    messages
}

/// The message of a log call: its last text. `rest` begins after the opening parenthesis.
fn message_of(rest: &str) -> &str {
    let mut depth = 1;
    let mut message = "";
    // Every second part is a text.
    for (index, part) in rest.split('"').enumerate() {
        if index % 2 == 1 {
            message = part;
            continue;
        }
        for letter in part.chars() {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            if depth == 0 {
                return message;
            }
        }
    }
    message
}

/// The source files below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    entries
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| is_rust(path))
        .collect()
}

/// The log fields named in a text: `fields.order_id`.
fn names(text: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || "._".contains(letter);
    let words = text.split(|letter| !is_part(letter)).map(|word| word.trim_matches('.'));
    let is_name = |word: &&str| word.starts_with("fields.") || word.starts_with("span.");
    words.filter(is_name).map(str::to_owned).collect()
}

/// The query string of the runbook's section "Follow one order".
fn query() -> &'static str {
    let section = RUNBOOK.split("## Follow one order\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section.split("--query-string \"").nth(1).unwrap().split('"').next().unwrap()
}

/// The lines that the query finds, with the messages and the event types.
fn found_by_query(lines: &[Value], order: OrderId, correlation_id: &str) -> Vec<String> {
    let filter = query().split('|').find_map(|step| step.trim().strip_prefix("filter ")).unwrap();
    let terms: Vec<String> = filter
        .split(" or ")
        .map(|term| {
            term.trim().strip_prefix("@message like '$").unwrap().strip_suffix('\'').unwrap()
        })
        .map(|name| match name {
            "ORDER" => order.to_string(),
            "CORRELATION_ID" => correlation_id.to_owned(),
            other => panic!("unknown variable {other}"),
        })
        .collect();
    let lines = lines.iter().filter(|line| {
        let line = line.to_string();
        terms.iter().any(|term| line.contains(term))
    });
    let shown = lines.map(|line| {
        let text = |name: &str| line["fields"][name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("message"), text("event")).trim_end().to_owned()
    });
    shown.collect()
}

#[tokio::test]
async fn query_of_the_runbook_follows_one_order() {
    let api = Api { store: MemoryStore::default() };
    for id in ["t1", "t2"] {
        let sale = Sale::Open(ticket(id, 0));
        api.store.apply_ticket(&sale, TicketRule::FirstOrNext).await.unwrap();
    }
    let post = |ticket: &str, correlation_id: &str| {
        let event = Event::post(&json!({ "ticketId": ticket }).to_string());
        let event = event.set("routeKey", json!("POST /api/orders"));
        event.header("traceparent", TRACEPARENT).header("x-correlation-id", correlation_id)
    };
    let mut id = None;
    let mut lines = lines_of(async {
        api.create(&post("t2", "checkout-41")).await;
        let created = api.create(&post("t1", "checkout-42")).await.body();
        id = Some(created["id"].as_str().unwrap().parse::<OrderId>().unwrap());
    })
    .await;
    let id = id.unwrap();
    let mut before = None;
    for event in [None, Some("PaymentCreated"), Some("PaymentRefunded")] {
        if let Some(kind) = event {
            let mut body = events::payment("p1", &id.to_string(), clock::now());
            body["detail-type"] = json!(kind);
            lines.extend(lines_of_payment(&api.store, &body).await);
        }
        let after = api.store.find(id).await.unwrap().unwrap();
        lines.extend(lines_of_relay(&[record(before.as_ref(), &after)], &[]).await);
        before = Some(after);
    }
    let show = Event::for_order("GET", &id.to_string());
    lines.extend(lines_of(api.show(&show.set("routeKey", json!("GET /api/orders/{id}")))).await);
    let expected = [
        "POST /api/orders 201",
        "Event published OrderCreated",
        "Event published OrderPaid",
        "Event published OrderRefunded",
        "GET /api/orders/{id} 200",
    ];
    assert_eq!(found_by_query(&lines, id, "checkout-42"), expected);
    let published = lines.iter().find(|line| line["fields"]["event"] == "OrderCreated").unwrap();
    assert_eq!(published["fields"]["trace_id"].as_str(), TRACEPARENT.split('-').nth(1));
}

#[test]
fn line_without_a_correlation_id_is_found() {
    let line = json!({"fields": {"message": "late", "order_id": ORDER}, "span": {"name": "x"}});
    assert_eq!(correlation_ids(&line), Vec::<&str>::new());
    assert!(is_written_as(&line, "late") && !is_written_as(&line, "too late"));
    assert_eq!(message_of(r#"id = f(1), "late", x()) "other")"#), "late");
    assert_eq!(names("`fields.order_id` and span.x_y,"), ["fields.order_id", "span.x_y"]);
}

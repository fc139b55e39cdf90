//! The tables of both releases, on a DynamoDB engine in this process: latency, and checks of each read
//! and write.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture},
    orchestrator::{HttpRequest, HttpResponse},
};
use orders_tests::dynamodb;
use serde_json::{Value, json};
use tokio::task_local;

use crate::{
    checks::{check_tickets, check_write},
    release::Release,
    world::{Key, Shared, State, World},
};

/// Longest time of a request on its way to the table, and of its response on the way back.
const LATENCY_MS: u64 = 40;

task_local! {
    /// The invocation that the current task runs.
    pub(crate) static INVOCATION: Arc<Invocation>;
}

/// An invocation of a function.
pub(crate) struct Invocation {
    pub(crate) release: Release,
    /// Items that the invocation has found and that its release cannot read, with their tables.
    pub(crate) unreadable: Mutex<Vec<(Key, Value)>>,
}

/// Access of all functions to the tables.
pub(crate) struct Tables(pub(crate) Shared);

impl fmt::Debug for Tables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tables")
    }
}

impl HttpConnector for Tables {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (world, invocation) = (Arc::clone(&self.0), INVOCATION.get());
        HttpConnectorFuture::new(async move {
            world.sleep_ms(0..=LATENCY_MS).await;
            let response = world.call(&invocation, &request);
            world.sleep_ms(0..=LATENCY_MS).await;
            Ok(response)
        })
    }
}

impl World {
    fn call(&self, invocation: &Invocation, request: &HttpRequest) -> HttpResponse {
        let response = dynamodb::respond(&self.database, request);
        let operation = dynamodb::operation(request);
        let parse = |bytes: Option<&[u8]>| -> Value {
            serde_json::from_slice(bytes.expect("a body in memory")).expect("a JSON body")
        };
        let (request, reply) = (parse(request.body().bytes()), parse(response.body().bytes()));
        let succeeded = response.status().is_success();
        self.log(|| format!("  {:?}: {operation} {succeeded}", invocation.release));
        let mut state = self.state();
        for (table, item) in found(operation, &request, &reply) {
            if !invocation.release.can_read(item) {
                state.unreadable += 1;
                let key = (table.to_owned(), crate::release::text(item, "id").to_owned());
                let mut unreadable = invocation.unreadable.lock().expect("an unpoisoned lock");
                unreadable.push((key, item.clone()));
            }
        }
        if succeeded {
            let changed = written(operation, &request);
            if !changed.is_empty() {
                self.record_writes(&mut state, invocation.release, &changed);
            }
        }
        drop(state);
        response
    }

    /// Checks the writes of a request and puts the changes of orders into the stream.
    fn record_writes(&self, state: &mut State, release: Release, keys: &[Key]) {
        state.writes += 1;
        let mut checked = Ok(());
        for key in keys {
            let (old, new) = (state.items.get(key).cloned(), self.item(key));
            if old.as_ref() == Some(&new) {
                continue;
            }
            checked = checked.and(check_write(state, &self.tables, release, key, &new));
            if key.0 == self.tables.orders {
                let number = state.records.len() + 1;
                state.records.push(record(number, self.now_ms(), old.as_ref(), &new));
                self.arrivals.notify_waiters();
            }
            state.items.insert(key.clone(), new);
        }
        if let Err(violation) = checked.and_then(|()| check_tickets(state, &self.tables)) {
            state.report(format!("{violation}, by {release:?}"));
        }
    }

    fn item(&self, (table, id): &Key) -> Value {
        let get = json!({"TableName": table, "Key": {"id": {"S": id}}, "ConsistentRead": true});
        let get = serde_json::from_value(get).expect("a request");
        let reply = self.database.get_item(get).expect("a table");
        serde_json::to_value(reply.item).expect("JSON")
    }
}

/// Items that the store reads from a response, with their tables.
fn found<'a>(operation: &str, request: &'a Value, reply: &'a Value) -> Vec<(&'a str, &'a Value)> {
    let table = |request: &'a Value| request["TableName"].as_str().unwrap_or_default();
    let items: Vec<(&str, &Value)> = match operation {
        // The item found by a failed condition.
        "GetItem" | "UpdateItem" => vec![(table(request), &reply["Item"])],
        "Query" => {
            // The last item only shows that another page follows.
            let size = request["Limit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
            let size = size.expect("a limit") - 1;
            let items = reply["Items"].as_array().into_iter().flatten();
            items.take(size).map(|item| (table(request), item)).collect()
        }
        "TransactWriteItems" => {
            let write = request["TransactItems"][0].as_object().expect("a write");
            let write = write.values().next().expect("an operation");
            vec![(table(write), &reply["CancellationReasons"][0]["Item"])]
        }
        other => panic!("the store does not call {other}"),
    };
    items.into_iter().filter(|(_, item)| item.is_object()).collect()
}

/// Keys of the items that a successful request writes.
fn written(operation: &str, request: &Value) -> Vec<Key> {
    let key = |write: &Value, id: &Value| -> Key {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        (text(&write["TableName"]), text(&id["id"]["S"]))
    };
    let change = |write: &Value| match (write.get("Put"), write.get("Update")) {
        (Some(put), _) => Some(key(put, &put["Item"])),
        (None, Some(update)) => Some(key(update, &update["Key"])),
        (None, None) => None,
    };
    match operation {
        "UpdateItem" => vec![key(request, &request["Key"])],
        "TransactWriteItems" => {
            let writes = request["TransactItems"].as_array();
            writes.into_iter().flatten().filter_map(change).collect()
        }
        _ => Vec::new(),
    }
}

/// A record in DynamoDB's format (`NEW_AND_OLD_IMAGES`).
fn record(number: usize, now_ms: u64, old: Option<&Value>, new: &Value) -> String {
    let mut record = json!({
        "eventID": number.to_string(),
        "eventName": if old.is_some() { "MODIFY" } else { "INSERT" },
        "eventSource": "aws:dynamodb",
        "eventVersion": "1.1",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": now_ms / 1_000,
            "Keys": {"id": new["id"]},
            "NewImage": new,
            "SequenceNumber": format!("{number:021}"),
            "SizeBytes": 1,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    });
    if let Some(old) = old {
        record["dynamodb"]["OldImage"] = old.clone();
    }
    record.to_string()
}

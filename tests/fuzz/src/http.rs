//! HTTP requests, through the entry point of all HTTP functions.

use std::{str, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use lambda_http::{Body, aws_lambda_events::apigw::ApiGatewayV2httpResponse};
use orders_domain::{OrderId, Timestamp};
use orders_lambda::http::respond;
use orders_testing::MemoryStore;
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use crate::fixture;

/// The functions of the HTTP API.
#[derive(Clone, Copy, Debug)]
enum Function {
    Create,
    Show,
    List,
    Cancel,
}

impl Function {
    /// Documented statuses of the function, without 5xx.
    fn statuses(self) -> &'static [i64] {
        match self {
            Self::Create => &[200, 201, 400, 401, 404, 409, 410, 413, 415, 422],
            Self::Show => &[200, 304, 400, 401, 404],
            Self::List => &[200, 400, 401],
            Self::Cancel => &[204, 400, 401, 404, 409],
        }
    }
}

/// Any bytes as the event of a function, chosen by the first byte. The response always has a
/// documented status and body.
pub fn http_event(input: &[u8]) {
    let Some((first, event)) = input.split_first() else { return };
    let Ok(event) = str::from_utf8(event) else { return };
    let function = match first {
        b'P' => Function::Create,
        b'G' => Function::Show,
        b'L' => Function::List,
        b'D' => Function::Cancel,
        _ => return,
    };
    fixture::run(async {
        let response = call(&OnceCell::new(), function, event, fixture::now()).await;
        check(function, &response);
    });
}

/// A buyer's request. The target builds a valid event from it, so that inputs get past the parser
/// of the event:
///
/// ```text
/// POST /api/orders
/// sub: alice
/// idempotency-key: key-1
///
/// {"ticketId": "free"}
/// ```
///
/// Beyond [`http_event`]: a buyer gets no other buyer's order; a repeat of a creation, a second
/// later, gets the same order; the next page of a list exists.
pub fn http_request(input: &[u8]) {
    let Some(request) = Request::read(input) else { return };
    fixture::run(async {
        let store = OnceCell::new();
        let event = request.event();
        let response = call(&store, request.function, &event, fixture::now()).await;
        let body = check(request.function, &response);
        if matches!(response.status_code, 200 | 201) {
            let orders = body.as_array().cloned().unwrap_or_else(|| vec![body.clone()]);
            assert!(orders.iter().all(|order| order["userId"] == *request.header("sub")));
        }
        if matches!((request.function, response.status_code), (Function::Create, 200 | 201)) {
            let later = fixture::now().plus(Duration::from_secs(1));
            let replay = call(&store, request.function, &event, later).await;
            assert_eq!(replay.status_code, 200);
            let mut replayed = check(request.function, &replay);
            let seconds_left = body["expiresIn"].as_u64().expect("a number");
            assert_eq!(replayed["expiresIn"], seconds_left.saturating_sub(1));
            replayed["expiresIn"] = json!(seconds_left);
            assert_eq!(replayed, body);
        }
        if let Some(link) = response.headers.get("link") {
            let link = link.to_str().expect("an ASCII link");
            let target = link.trim_start_matches('<').split('>').next().unwrap_or_default();
            let next = format!("GET {target}\nsub: alice\n\n");
            let next = Request::read(next.as_bytes()).expect("a request");
            let page = call(&store, Function::List, &next.event(), fixture::now()).await;
            assert_eq!(page.status_code, 200);
        }
    });
}

/// Calls a function. The store is created on first use, because most inputs fail before.
async fn call(
    store: &OnceCell<MemoryStore>,
    function: Function,
    event: &str,
    now: Timestamp,
) -> ApiGatewayV2httpResponse {
    let new_id = |now| Ok(OrderId::new(now, &[7; 10]));
    let handler = async |request| {
        let store = store.get_or_init(fixture::store).await;
        match function {
            Function::Create => {
                create_order::handle(store, fixture::ORDER_LIMITS, new_id, request).await
            }
            Function::Show => show_order::handle(store, request).await,
            Function::List => list_orders::handle(store, request).await,
            Function::Cancel => cancel_order::handle(store, request).await,
        }
    };
    respond(event, &fixture::context(), now, handler).await
}

/// Checks that the response is documented. Returns its body.
fn check(function: Function, response: &ApiGatewayV2httpResponse) -> Value {
    let status = response.status_code;
    assert!(function.statuses().contains(&status), "undocumented status {status} of {function:?}");
    let body = match &response.body {
        None => Value::Null,
        Some(Body::Text(text)) => serde_json::from_str(text).expect("a JSON body"),
        Some(other) => panic!("unexpected body {other:?}"),
    };
    let content_type = response.headers.get("content-type").and_then(|value| value.to_str().ok());
    match status {
        204 | 304 => assert!(body.is_null() && content_type.is_none()),
        200 | 201 => assert_eq!(content_type, Some("application/json")),
        _ => {
            assert_eq!(content_type, Some("application/problem+json"));
            assert_eq!(body["status"], status);
            assert!(body["errors"].as_array().is_some_and(|errors| !errors.is_empty()));
        }
    }
    // The runtime serialises the response.
    serde_json::to_string(response).expect("a JSON response");
    body
}

/// A parsed request.
struct Request<'a> {
    function: Function,
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: Map<String, Value>,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let end = input.windows(2).position(|two| two == b"\n\n")?;
        let mut lines = str::from_utf8(&input[..end]).ok()?.lines();
        let (method, target) = lines.next()?.split_once(' ')?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let function = match (method, path.strip_prefix("/api/orders/")) {
            ("POST", None) => Function::Create,
            ("GET", Some(_)) => Function::Show,
            ("GET", None) => Function::List,
            ("DELETE", Some(_)) => Function::Cancel,
            _ => return None,
        };
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), json!(value))).collect();
        Some(Self { function, method, path, query, headers, body: &input[end + 2..] })
    }

    /// Returns a header. `sub` is given as a header too.
    fn header(&self, name: &str) -> &Value {
        self.headers.get(name).unwrap_or(&Value::Null)
    }

    /// Builds the API Gateway event. A body that is not UTF-8 is encoded in base64.
    fn event(&self) -> String {
        let text = str::from_utf8(self.body);
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": self.headers,
            "pathParameters": {"id": self.path.trim_start_matches("/api/orders/")},
            "requestContext": {
                "authorizer": {"jwt": {"claims": {"sub": self.header("sub")}, "scopes": null}},
                "http": {"method": self.method, "path": self.path},
            },
            "body": text.map_or_else(|_| STANDARD.encode(self.body), str::to_owned),
            "isBase64Encoded": text.is_err(),
        })
        .to_string()
    }
}

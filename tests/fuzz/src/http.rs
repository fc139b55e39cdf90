//! Requests of the HTTP API, through the entry that every HTTP function has.

use std::{str, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use lambda_http::{Body, aws_lambda_events::apigw::ApiGatewayV2httpResponse};
use orders_domain::{OrderId, Timestamp};
use orders_lambda::http::respond;
use orders_testing::MemoryStore;
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use crate::shop;

/// The functions behind the HTTP API.
#[derive(Clone, Copy, Debug)]
enum Function {
    Create,
    Show,
    List,
    Cancel,
}

impl Function {
    /// Every status that it may answer with. None of them says that the service is broken.
    fn statuses(self) -> &'static [i64] {
        match self {
            Self::Create => &[201, 400, 401, 404, 409, 413, 415, 422],
            Self::Show => &[200, 304, 400, 401, 404],
            Self::List => &[200, 400, 401],
            Self::Cancel => &[204, 400, 401, 404, 409],
        }
    }
}

/// Any bytes as the event of a function; the first says which function. There is always an answer,
/// with a status and a body that the API has.
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
    shop::run(async {
        let answer = ask(&OnceCell::new(), function, event, shop::now()).await;
        check(function, &answer);
    });
}

/// A request, as its buyer would write it. It gets through API Gateway, so that an input reaches
/// further than the JSON of an event:
///
/// ```text
/// POST /api/orders
/// sub: alice
/// idempotency-key: key-1
///
/// {"ticketId": "free"}
/// ```
///
/// Beyond [`http_event`]: a buyer sees nobody else's orders; a repeat with a key, a second later, gets
/// the same answer; the next page that a list links to is there.
pub fn http_request(input: &[u8]) {
    let Some(request) = Request::read(input) else { return };
    shop::run(async {
        let shop = OnceCell::new();
        let event = request.event();
        let answer = ask(&shop, request.function, &event, shop::now()).await;
        let body = check(request.function, &answer);
        if matches!(answer.status_code, 200 | 201) {
            let orders = body.as_array().cloned().unwrap_or_else(|| vec![body]);
            assert!(orders.iter().all(|order| order["userId"] == *request.header("sub")));
        }
        if answer.status_code == 201 && !request.header("idempotency-key").is_null() {
            let later = shop::now().plus(Duration::from_secs(1));
            assert_eq!(ask(&shop, request.function, &event, later).await, answer);
        }
        if let Some(link) = answer.headers.get("link") {
            let link = link.to_str().expect("a link is ASCII");
            let target = link.trim_start_matches('<').split('>').next().unwrap_or_default();
            let next = format!("GET {target}\nsub: alice\n\n");
            let next = Request::read(next.as_bytes()).expect("a link is a request");
            let page = ask(&shop, Function::List, &next.event(), shop::now()).await;
            assert_eq!(page.status_code, 200);
        }
    });
}

/// Asks the function, in a shop that opens with the first request that gets that far: most do not.
async fn ask(
    shop: &OnceCell<MemoryStore>,
    function: Function,
    event: &str,
    now: Timestamp,
) -> ApiGatewayV2httpResponse {
    let new_id = |now| Ok(OrderId::new(now, &[7; 10]));
    let handler = async |call| {
        let store = shop.get_or_init(shop::open).await;
        match function {
            Function::Create => create_order::handle(store, shop::HOLD, new_id, call).await,
            Function::Show => show_order::handle(store, call).await,
            Function::List => list_orders::handle(store, call).await,
            Function::Cancel => cancel_order::handle(store, call).await,
        }
    };
    respond(event, &shop::context(), now, handler).await
}

/// Looks that the answer is one that the API has; returns its body.
fn check(function: Function, answer: &ApiGatewayV2httpResponse) -> Value {
    let status = answer.status_code;
    assert!(function.statuses().contains(&status), "{function:?} answers {status}");
    let body = match &answer.body {
        None => Value::Null,
        Some(Body::Text(text)) => serde_json::from_str(text).expect("a body is JSON"),
        Some(other) => panic!("a body is text, not {other:?}"),
    };
    let content_type = answer.headers.get("content-type").and_then(|value| value.to_str().ok());
    match status {
        204 | 304 => assert!(body.is_null() && content_type.is_none()),
        200 | 201 => assert_eq!(content_type, Some("application/json")),
        _ => {
            assert_eq!(content_type, Some("application/problem+json"));
            assert_eq!(body["status"], status);
            assert!(body["errors"].as_array().is_some_and(|errors| !errors.is_empty()));
        }
    }
    // As the runtime sends it.
    serde_json::to_string(answer).expect("an answer is JSON");
    body
}

/// A request that API Gateway hands to a function.
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

    /// A header; the buyer's name is given like one.
    fn header(&self, name: &str) -> &Value {
        self.headers.get(name).unwrap_or(&Value::Null)
    }

    /// The event that API Gateway makes of it: in base64, if the body is not text.
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

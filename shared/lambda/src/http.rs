//! Requests and responses of the HTTP API.
//!
//! API Gateway forwards invalid requests too, and `lambda_http` panics on some of them (a body that is
//! not base64, a query that is not a URI). All of these get a 400 here.

use std::convert::Infallible;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    uri::PathAndQuery,
};
use lambda_http::{
    Body, Request, RequestExt,
    aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse},
    request::{LambdaRequest, RequestContext},
};
use lambda_runtime::{Context, LambdaEvent, service_fn};
use orders_contracts::FieldError;
use orders_domain::{
    CorrelationId, IdError, Order, OrderId, OrderStore, Timestamp, TraceParent, UserId,
};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, error_span, field::display};

use crate::{
    BoxError, clock,
    problem::{self, Problem},
    telemetry::{self, error_chain},
};

/// Maximum size of a body, in bytes.
const MAX_BODY_BYTES: usize = 4_096;

/// An authenticated request.
#[derive(Debug)]
pub struct ApiRequest {
    /// Buyer (`sub` of the JWT).
    pub user_id: UserId,
    /// Time of the request.
    pub now: Timestamp,
    /// Correlation id of everything that the request causes.
    pub correlation_id: CorrelationId,
    /// Trace of the request; `None` without a valid `traceparent` header.
    pub traceparent: Option<TraceParent>,
    received: Instant,
    inner: Request,
}

/// Handles requests for the lifetime of the environment.
///
/// # Errors
/// If the Lambda Runtime API fails.
pub async fn run<H, F>(handler: H) -> Result<(), BoxError>
where
    H: Fn(ApiRequest) -> F,
    F: Future<Output = Result<Response<String>, Problem>>,
{
    let handler = &handler;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        let response = respond(event.payload.get(), &event.context, clock::now(), handler).await;
        telemetry::flush_metrics();
        Ok::<_, Infallible>(response)
    }))
    .await
}

/// Responds to an API Gateway event (payload format 2.0) received at `now`, even to an invalid event, and
/// logs one line.
pub async fn respond<H, F>(
    event: &str,
    context: &Context,
    now: Timestamp,
    handler: H,
) -> ApiGatewayV2httpResponse
where
    H: FnOnce(ApiRequest) -> F,
    F: Future<Output = Result<Response<String>, Problem>>,
{
    let mut log = RequestLog::new(context);
    let result = match ApiRequest::read(event, context, now, &mut log) {
        Ok(request) => {
            // Boxed: the futures of SDK calls are large, and nested deeper than the compiler's limit.
            let outcome = Box::pin(handler(request));
            // A span of the highest level, so that no log level removes the ids of the handler's lines.
            let span = error_span!(
                "request",
                request_id = context.request_id,
                correlation_id = log.correlation_id,
            );
            let outcome = outcome.instrument(span);
            let result = timeout_at(clock::work_deadline(context, now), outcome).await;
            result.unwrap_or_else(|elapsed| Err(Problem::Unavailable(elapsed.into())))
        }
        Err(problem) => Err(problem),
    };
    gateway_response(match result {
        Ok(response) => {
            log.success(&response);
            response
        }
        Err(problem) => {
            log.problem(&problem);
            problem.into_response()
        }
    })
}

/// Subject of a request's log line. Texts of the client stay out of the log: a path or a token may contain
/// anything. The correlation id is the exception, because its purpose is the search in logs.
struct RequestLog {
    route: String,
    order_id: Option<OrderId>,
    correlation_id: String,
}

impl RequestLog {
    /// The subject before the event is parsed.
    fn new(context: &Context) -> Self {
        let route = "invalid request".to_owned();
        Self { route, order_id: None, correlation_id: context.request_id.clone() }
    }

    fn success(&self, response: &Response<String>) {
        let Self { route, correlation_id, .. } = self;
        let status = response.status().as_u16();
        // A new order has its id in the response only.
        let order_id = self.order_id.or(response.extensions().get().copied()).map(display);
        tracing::info!(order_id, correlation_id, status, "{route} {status}");
    }

    fn problem(&self, problem: &Problem) {
        let Self { route, correlation_id, .. } = self;
        let (order_id, status) = (self.order_id.map(display), problem.status().as_u16());
        if let Problem::Unavailable(cause) = problem {
            let error = error_chain(cause.as_ref());
            tracing::warn!(
                route,
                order_id,
                correlation_id,
                status,
                error,
                "Request outcome unknown"
            );
        } else if let Problem::Internal(cause) = problem {
            let error = error_chain(cause.as_ref());
            tracing::error!(route, order_id, correlation_id, status, error, "Request failed");
        } else {
            tracing::info!(order_id, correlation_id, status, "{route} {status}");
        }
    }
}

/// A response with a JSON body.
///
/// # Errors
/// [`Problem::Internal`] if the body is not valid JSON or a header is invalid.
pub fn json(
    status: StatusCode,
    headers: &[(&str, String)],
    body: &impl serde::Serialize,
) -> Result<Response<String>, Problem> {
    let body = serde_json::to_string(body).map_err(|error| Problem::Internal(error.into()))?;
    let headers = [&[("content-type", "application/json".to_owned())], headers].concat();
    with_headers(status, &headers, body)
}

/// A response without a body.
///
/// # Errors
/// [`Problem::Internal`] if a header is invalid.
pub fn empty(status: StatusCode, headers: &[(&str, String)]) -> Result<Response<String>, Problem> {
    with_headers(status, headers, String::new())
}

fn with_headers(
    status: StatusCode,
    headers: &[(&str, String)],
    body: String,
) -> Result<Response<String>, Problem> {
    let response =
        headers.iter().fold(Response::builder().status(status), |response, (name, value)| {
            response.header(*name, value)
        });
    let mut response = response.body(body).map_err(|error| Problem::Internal(error.into()))?;
    // An order belongs to one buyer and changes any time.
    response
        .headers_mut()
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static(problem::NO_STORE));
    Ok(response)
}

impl ApiRequest {
    fn read(
        event: &str,
        context: &Context,
        now: Timestamp,
        log: &mut RequestLog,
    ) -> Result<Self, Problem> {
        let event: ApiGatewayV2httpRequest = serde_json::from_str(event)
            .map_err(|_| FieldError::general("the request or its token cannot be parsed"))?;
        log.route = event.route_key.clone().unwrap_or_default();
        log.order_id = event.path_parameters.get("id").and_then(|id| id.parse().ok());
        let request = to_request(event)?;
        let traceparent = traceparent(&request);
        let correlation_id = correlation_id(&request, traceparent, context)?;
        log.correlation_id = correlation_id.to_string();
        let user_id = user_id(&request).ok_or(Problem::MissingUserId)?;
        Ok(Self {
            user_id,
            now,
            correlation_id,
            traceparent,
            received: Instant::now(),
            inner: request,
        })
    }

    /// Time of the response: later than `now` by the time since the request.
    #[must_use]
    pub fn response_time(&self) -> Timestamp {
        self.now.plus(self.received.elapsed())
    }

    /// Value of a path parameter; empty if the route has no such parameter.
    #[must_use]
    pub fn path_parameter(&self, name: &str) -> &str {
        self.inner.path_parameters_ref().and_then(|all| all.first(name)).unwrap_or_default()
    }

    /// Value of a query parameter, if present.
    #[must_use]
    pub fn query_parameter(&self, name: &str) -> Option<&str> {
        self.inner.query_string_parameters_ref().and_then(|all| all.first(name))
    }

    /// Value of a header, if present.
    ///
    /// # Errors
    /// [`Problem::Invalid`] if the value is not ASCII.
    pub fn header(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        header(&self.inner, name)
    }

    /// Body of a JSON request. A missing `Content-Type` counts as JSON.
    ///
    /// # Errors
    /// [`Problem::NotJson`] for another `Content-Type`, [`Problem::TooLarge`] above 4,096 bytes.
    pub fn json_body(&self) -> Result<&[u8], Problem> {
        let content_type = self.header(CONTENT_TYPE.as_str())?.unwrap_or("application/json");
        // Parameters such as a charset do not matter: JSON is UTF-8 (RFC 8259, section 8.1).
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(Problem::NotJson);
        }
        let body: &[u8] = self.inner.body();
        if body.len() > MAX_BODY_BYTES {
            return Err(Problem::TooLarge { max: MAX_BODY_BYTES });
        }
        Ok(body)
    }
}

/// The buyer's own order named by the path's `id`.
///
/// # Errors
/// [`Problem::NoSuchOrder`] for an unknown order and for another buyer's order, so that a request never
/// reveals another buyer's order; the store's failure.
pub async fn own_order(store: &impl OrderStore, request: &ApiRequest) -> Result<Order, Problem> {
    let id = request.path_parameter("id").parse().map_err(|_: IdError| Problem::NoSuchOrder)?;
    let order = store.find(id).await?.filter(|order| order.user_id == request.user_id);
    order.ok_or(Problem::NoSuchOrder)
}

/// Converts the event, after rejecting everything on which `lambda_http` panics.
fn to_request(mut event: ApiGatewayV2httpRequest) -> Result<Request, Problem> {
    let body = event.body.as_deref().unwrap_or_default();
    if event.is_base64_encoded && STANDARD.decode(body).is_err() {
        return Err(FieldError::general("the body is not valid base64").into());
    }
    let query = event.raw_query_string.as_deref().unwrap_or_default();
    if PathAndQuery::try_from(format!("/?{query}")).is_err() {
        return Err(FieldError::general("the query is not a valid URI query").into());
    }
    // lambda_http builds a URI of path, stage and host, and panics if one is invalid. The service reads
    // only the query.
    event.raw_path = None;
    event.request_context.domain_name = None;
    event.request_context.stage = None;
    event.headers.remove(http::header::HOST);
    Ok(Request::from(LambdaRequest::ApiGatewayV2(event)))
}

/// The buyer: `sub` of the JWT, verified by the authorizer. API Gateway passes every claim as a string,
/// and a list as `[a b]`, which is not a buyer.
fn user_id(request: &Request) -> Option<UserId> {
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return None;
    };
    let claims = &context.authorizer.as_ref()?.jwt.as_ref()?.claims;
    let sub = claims.get("sub").filter(|sub| !sub.starts_with('['))?;
    sub.parse().ok()
}

/// The client's `X-Correlation-Id`, else the trace id of `traceparent`, else the request id. An invalid
/// header is ignored: no order fails because of it.
fn correlation_id(
    request: &Request,
    traceparent: Option<TraceParent>,
    context: &Context,
) -> Result<CorrelationId, Problem> {
    let sent = header(request, "x-correlation-id").ok().flatten();
    let trace_id = traceparent.map(TraceParent::trace_id);
    let ids = [sent, trace_id.as_deref(), Some(context.request_id.as_str())];
    let id = ids.into_iter().flatten().find_map(|id| id.parse().ok());
    id.ok_or_else(|| Problem::Internal("the invocation has no request id".into()))
}

/// The trace of the request. An invalid header is ignored as a whole (W3C Trace Context, section 3.2).
fn traceparent(request: &Request) -> Option<TraceParent> {
    header(request, "traceparent").ok().flatten()?.parse().ok()
}

fn header<'a>(request: &'a Request, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let value = request.headers().get(name).map(http::HeaderValue::to_str).transpose();
    Ok(value.map_err(|_| FieldError::for_field(name, "must be printable ASCII"))?)
}

fn gateway_response(response: Response<String>) -> ApiGatewayV2httpResponse {
    let (parts, body) = response.into_parts();
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = parts.status.as_u16().into();
    response.headers = parts.headers;
    response.body = (!body.is_empty()).then_some(Body::Text(body));
    response
}

//! Requests of the HTTP API, and their answers.
//!
//! API Gateway passes on much that is not a good request, and `lambda_http` panics on some of it
//! (a body that is not base64, a query that is not a URI). All of that gets a 400 here.

use std::convert::Infallible;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Response, StatusCode, header::CONTENT_TYPE, uri::PathAndQuery};
use lambda_http::{
    Body, Request, RequestExt,
    aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse},
    request::{LambdaRequest, RequestContext},
};
use lambda_runtime::{Context, LambdaEvent, service_fn};
use orders_contracts::FieldError;
use orders_domain::{CorrelationId, IdError, Order, OrderStore, Timestamp, UserId};
use serde_json::value::RawValue;
use tokio::time::timeout_at;

use crate::{BoxError, clock, problem::Problem, telemetry};

/// The most bytes that a body may have.
const MAX_BODY_BYTES: usize = 4_096;

/// A request by a known buyer.
#[derive(Debug)]
pub struct ApiRequest {
    /// The buyer: the token's `sub`.
    pub user_id: UserId,
    /// When the request came in.
    pub now: Timestamp,
    /// What ties together everything the request causes.
    pub correlation_id: CorrelationId,
    inner: Request,
}

/// Answers requests for as long as the function lives.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
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

/// Answers one API Gateway event (payload format 2.0) that came in now. Whatever the event is, there
/// is an answer.
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
    let result = match ApiRequest::read(event, context, now) {
        // Boxed: the futures of SDK calls are large and nested deeper than the compiler likes.
        Ok(request) => timeout_at(clock::work_deadline(context, now), Box::pin(handler(request)))
            .await
            .unwrap_or_else(|elapsed| Err(Problem::Unavailable(elapsed.into()))),
        Err(problem) => Err(problem),
    };
    let response = result.unwrap_or_else(|problem| problem.into_response());
    tracing::info!(status = response.status().as_u16(), "answered");
    gateway_response(response)
}

/// An answer with a JSON body.
///
/// # Errors
/// [`Problem::Internal`] if the body cannot be written as JSON, or a header is not one.
pub fn json(
    status: StatusCode,
    headers: &[(&str, String)],
    body: &impl serde::Serialize,
) -> Result<Response<String>, Problem> {
    let body = serde_json::to_string(body).map_err(|error| Problem::Internal(error.into()))?;
    let headers = [&[("content-type", "application/json".to_owned())], headers].concat();
    with_headers(status, &headers, body)
}

/// An answer without a body.
///
/// # Errors
/// [`Problem::Internal`] if a header is not one.
pub fn empty(status: StatusCode, headers: &[(&str, String)]) -> Result<Response<String>, Problem> {
    with_headers(status, headers, String::new())
}

fn with_headers(
    status: StatusCode,
    headers: &[(&str, String)],
    body: String,
) -> Result<Response<String>, Problem> {
    headers
        .iter()
        .fold(Response::builder().status(status), |response, (name, value)| {
            response.header(*name, value)
        })
        .body(body)
        .map_err(|error| Problem::Internal(error.into()))
}

impl ApiRequest {
    fn read(event: &str, context: &Context, now: Timestamp) -> Result<Self, Problem> {
        let event: ApiGatewayV2httpRequest = serde_json::from_str(event)
            .map_err(|_| FieldError::general("the request or its token cannot be read"))?;
        let request = to_request(event)?;
        let user_id = user_id(&request).ok_or(Problem::MissingUserId)?;
        let correlation_id = correlation_id(&request, context)?;
        Ok(Self { user_id, now, correlation_id, inner: request })
    }

    /// A parameter of the path; empty if the route has none of this name.
    #[must_use]
    pub fn path_parameter(&self, name: &str) -> &str {
        self.inner.path_parameters_ref().and_then(|all| all.first(name)).unwrap_or_default()
    }

    /// A parameter of the query, if it is given.
    #[must_use]
    pub fn query_parameter(&self, name: &str) -> Option<&str> {
        self.inner.query_string_parameters_ref().and_then(|all| all.first(name))
    }

    /// A header, if it is given.
    ///
    /// # Errors
    /// [`Problem::Invalid`] if it is not ASCII.
    pub fn header(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        header(&self.inner, name)
    }

    /// The body of a request that must send JSON. A request without `Content-Type` is taken at its
    /// word.
    ///
    /// # Errors
    /// [`Problem::NotJson`], [`Problem::TooLarge`]
    pub fn json_body(&self) -> Result<&[u8], Problem> {
        let content_type = self.header(CONTENT_TYPE.as_str())?.unwrap_or("application/json");
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

/// The order that the path's `id` names, if it is the caller's. Another buyer's order is answered
/// like none at all, so that nobody learns of it.
///
/// # Errors
/// [`Problem::NoSuchOrder`], or the store's failure.
pub async fn own_order(store: &impl OrderStore, request: &ApiRequest) -> Result<Order, Problem> {
    let id = request.path_parameter("id").parse().map_err(|_: IdError| Problem::NoSuchOrder)?;
    let order = store.find(id).await?.filter(|order| order.user_id == request.user_id);
    order.ok_or(Problem::NoSuchOrder)
}

/// The event as a request, once everything is ruled out that `lambda_http` panics on.
fn to_request(mut event: ApiGatewayV2httpRequest) -> Result<Request, Problem> {
    let body = event.body.as_deref().unwrap_or_default();
    if event.is_base64_encoded && STANDARD.decode(body).is_err() {
        return Err(FieldError::general("the body is not valid base64").into());
    }
    let query = event.raw_query_string.as_deref().unwrap_or_default();
    if PathAndQuery::try_from(format!("/?{query}")).is_err() {
        return Err(FieldError::general("the query is not a valid URI query").into());
    }
    // The URI is built from path, stage, host and scheme, whatever they are; nobody here reads it.
    event.raw_path = None;
    event.request_context.domain_name = None;
    event.request_context.stage = None;
    event.headers.remove(http::header::HOST);
    Ok(Request::from(LambdaRequest::ApiGatewayV2(event)))
}

/// The buyer: the `sub` that the JWT authorizer has verified. API Gateway hands on every claim as a
/// string, and a list of two as `[a b]`; no buyer is called that.
fn user_id(request: &Request) -> Option<UserId> {
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return None;
    };
    let claims = &context.authorizer.as_ref()?.jwt.as_ref()?.claims;
    let sub = claims.get("sub").filter(|sub| !sub.starts_with('['))?;
    sub.parse().ok()
}

/// The client's own id if it sent one, or the trace's (W3C Trace Context, section 3.2), or else the
/// request's. An id that is none is ignored: nobody's order fails for that.
fn correlation_id(request: &Request, context: &Context) -> Result<CorrelationId, Problem> {
    let header = |name| header(request, name).ok().flatten();
    let trace_id = header("traceparent")
        .and_then(|parent| parent.split('-').nth(1))
        .filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let ids = [header("x-correlation-id"), trace_id, Some(context.request_id.as_str())];
    let id = ids.into_iter().flatten().find_map(|id| id.parse().ok());
    id.ok_or_else(|| Problem::Internal("the invocation has no request id".into()))
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

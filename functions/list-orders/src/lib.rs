//! Lists a buyer's orders in pages.

use http::{Response, StatusCode};
use orders_contracts::{ListParameters, OrderBody, encode_cursor, sort_name};
use orders_domain::{ListQuery, OrderStore, Position};
use orders_lambda::{
    http::{ApiRequest, json},
    problem::Problem,
};

/// Handles `GET /api/orders`.
///
/// # Errors
/// A [`Problem`], the error response.
pub async fn handle(
    store: &impl OrderStore,
    request: ApiRequest,
) -> Result<Response<String>, Problem> {
    let parameters = ListParameters::parse(
        request.query_parameter("limit"),
        request.query_parameter("cursor"),
        request.query_parameter("sort"),
    )
    .map_err(Problem::Invalid)?;
    let query = ListQuery {
        user_id: request.user_id.clone(),
        size: parameters.size,
        direction: parameters.direction,
        after: parameters.after,
    };
    let page = store.list(&query).await?;
    let now = request.response_time();
    let orders: Vec<OrderBody> =
        page.orders.iter().map(|order| OrderBody::new(order, now)).collect();
    let link = page.next.map(|next| ("link", link_to(parameters, next)));
    json(StatusCode::OK, link.as_slice(), &orders)
}

/// `Link` header of the next page (RFC 8288), with the parameters of this page.
fn link_to(parameters: ListParameters, next: Position) -> String {
    let limit = parameters.size.get();
    let sort = sort_name(parameters.direction);
    let cursor = encode_cursor(next);
    format!("</api/orders?limit={limit}&sort={sort}&cursor={cursor}>; rel=\"next\"")
}

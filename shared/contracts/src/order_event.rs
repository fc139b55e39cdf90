//! Events published by this service.

use orders_domain::{CorrelationId, Order, OrderEvent, PaymentId, Timestamp};
use serde::Serialize;

use crate::{
    RefundBody, TicketBody,
    order::{paid_by, rfc3339},
};

/// `source` of every event of this service.
pub const SOURCE: &str = "orders";

/// An event for EventBridge: a `detail-type` and a `detail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingEvent {
    /// Id of the event: `<order id>:<version>`.
    pub event_id: String,
    /// Correlation id of the request that placed the order.
    pub correlation_id: CorrelationId,
    /// Type of the event.
    pub detail_type: &'static str,
    /// Content of the event, a JSON object.
    pub detail: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    id: String,
    version: u64,
    status: &'static str,
    user_id: &'a str,
    created_at: String,
    expires_at: String,
    ticket: TicketBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    paid_by: Option<&'a str>,
    refunds: Vec<RefundBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    event_id: &'a str,
    occurred_at: String,
    correlation_id: &'a str,
    causation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

impl OutgoingEvent {
    /// The event with the whole state of the order after it: a consumer that receives the newest event of
    /// an order needs none of the earlier events. `written_at` is the stream's time of the write, in whole
    /// seconds: `occurredAt` is at least the order's `createdAt`, and for an expiry its `expiresAt`.
    ///
    /// # Errors
    /// Never in practice: every order is valid JSON.
    pub fn new(
        event: &OrderEvent,
        order: &Order,
        written_at: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        let (detail_type, payment_id, reason) = match event {
            OrderEvent::Created => ("OrderCreated", None, None),
            OrderEvent::Paid { payment_id } => ("OrderPaid", payment_id.as_ref(), None),
            OrderEvent::Extended => ("OrderExtended", None, None),
            OrderEvent::Refunded { payment_id } => ("OrderRefunded", Some(payment_id), None),
            OrderEvent::RefundSettled(refund) => {
                ("OrderRefundSettled", Some(&refund.payment_id), Some(refund.reason.name()))
            }
            OrderEvent::Cancelled => ("OrderCancelled", None, None),
            OrderEvent::Expired => ("OrderExpired", None, None),
            OrderEvent::RefundDue(refund) => {
                ("OrderRefundDue", Some(&refund.payment_id), Some(refund.reason.name()))
            }
        };
        let occurred_at = match event {
            // Exact: the order holds the time of placing.
            OrderEvent::Created => order.created_at,
            // The stream's time is rounded down to a second, which could precede the cause.
            OrderEvent::Expired => written_at.max(order.expires_at),
            OrderEvent::Paid { .. }
            | OrderEvent::Extended
            | OrderEvent::Cancelled
            | OrderEvent::RefundDue(_)
            | OrderEvent::RefundSettled(_)
            | OrderEvent::Refunded { .. } => written_at.max(order.created_at),
        };
        let version = order.version.number();
        let event_id = format!("{}:{version}", order.id);
        let detail = Detail {
            id: order.id.to_string(),
            version,
            status: order.status.name(),
            user_id: order.user_id.as_str(),
            created_at: rfc3339(order.created_at),
            expires_at: rfc3339(order.expires_at),
            ticket: TicketBody::from(&order.ticket),
            paid_by: paid_by(order).map(PaymentId::as_str),
            refunds: order.refunds_due.iter().map(RefundBody::from).collect(),
            payment_id: payment_id.map(PaymentId::as_str),
            reason,
            metadata: Metadata {
                event_id: &event_id,
                occurred_at: rfc3339(occurred_at),
                correlation_id: order.correlation_id.as_str(),
                causation_id: causation_id(event, order),
                traceparent: traceparent(order),
            },
        };
        let detail = serde_json::to_string(&detail)?;
        let correlation_id = order.correlation_id.clone();
        Ok(Self { event_id, correlation_id, detail_type, detail })
    }
}

/// Cause of the event: the request that placed the order, the payment, or the order's preceding event.
fn causation_id(event: &OrderEvent, order: &Order) -> String {
    match event {
        OrderEvent::Created | OrderEvent::Paid { payment_id: None } => {
            order.correlation_id.to_string()
        }
        OrderEvent::Paid { payment_id: Some(payment_id) } | OrderEvent::Refunded { payment_id } => {
            payment_id.to_string()
        }
        OrderEvent::RefundDue(refund) | OrderEvent::RefundSettled(refund) => {
            refund.payment_id.to_string()
        }
        OrderEvent::Cancelled | OrderEvent::Expired | OrderEvent::Extended => {
            format!("{}:{}", order.id, order.version.number().saturating_sub(1))
        }
    }
}

/// The trace of the request that placed the order, continued by the event.
fn traceparent(order: &Order) -> Option<String> {
    let request = order.traceparent?;
    Some(request.of_event(order.id, order.version).to_string())
}

#[cfg(test)]
mod tests {
    use orders_domain::{OrderVersion, RefundDue, RefundReason, RefundState, Status, TraceParent};
    use orders_testing::{new_order, order_id, ticket};
    use serde_json::{Value, json};

    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_epoch_ms(1_700_000_000_000 + ms).unwrap()
    }

    fn order(status: Status, version: u64) -> Order {
        let order = Order::new(new_order(order_id(0), at(700)), ticket("ticket-1", 3));
        Order { status, version: OrderVersion::new(version), ..order }
    }

    fn published(event: &OrderEvent, order: &Order, written_at: u64) -> (&'static str, Value) {
        let event = OutgoingEvent::new(event, order, at(written_at)).unwrap();
        (event.detail_type, serde_json::from_str(&event.detail).unwrap())
    }

    fn refund(id: &str, reason: RefundReason) -> RefundDue {
        RefundDue { payment_id: id.parse().unwrap(), reason, amount: None, state: RefundState::Due }
    }

    #[test]
    fn created_event_has_all_fields() {
        let order = order(Status::AwaitingPayment, 0);
        let (detail_type, detail) = published(&OrderEvent::Created, &order, 0);
        assert_eq!(detail_type, "OrderCreated");
        let id = "00000000-0000-0000-0000-000000000000";
        assert_eq!(
            detail,
            json!({
                "id": id,
                "version": 0,
                "status": "awaiting_payment",
                "userId": "alice",
                "createdAt": "2023-11-14T22:13:20.700Z",
                "expiresAt": "2023-11-14T22:13:50.700Z",
                "ticket": {"id": "ticket-1", "title": "Concert", "price": 19.9, "version": 3},
                "refunds": [],
                "metadata": {
                    "eventId": format!("{id}:0"),
                    "occurredAt": "2023-11-14T22:13:20.700Z",
                    "correlationId": "request-1",
                    "causationId": "request-1",
                    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-9ed053d68db9291d-01",
                },
            })
        );
    }

    #[test]
    fn event_continues_the_trace_of_the_request() {
        let traceparent = |order: &Order| {
            let (_, detail) = published(&OrderEvent::Cancelled, order, 5_000);
            detail["metadata"].get("traceparent").cloned()
        };
        let traced = order(Status::Cancelled, 1);
        let request = traced.traceparent.unwrap();
        let event: TraceParent = traceparent(&traced).unwrap().as_str().unwrap().parse().unwrap();
        assert_eq!(event.trace_id(), request.trace_id());
        assert_ne!(event, request);
        // An event is published at least once, each time with the same content.
        assert_eq!(traceparent(&traced), traceparent(&traced.clone()));
        assert_ne!(traceparent(&traced), traceparent(&order(Status::Cancelled, 2)));
        assert_eq!(traceparent(&Order { traceparent: None, ..traced }), None);
    }

    #[test]
    fn payment_events_name_their_payment() {
        let payment_id: orders_domain::PaymentId = "p1".parse().unwrap();
        let paid = order(Status::Paid { payment_id: payment_id.clone() }, 1);
        let event = OrderEvent::Paid { payment_id: Some(payment_id.clone()) };
        let (detail_type, detail) = published(&event, &paid, 5_000);
        assert_eq!((detail_type, &detail["paymentId"]), ("OrderPaid", &json!("p1")));
        assert_eq!(detail["metadata"]["causationId"], "p1");

        let refund = refund("p1", RefundReason::OrderCancelled);
        let event = OrderEvent::RefundDue(refund);
        let (detail_type, detail) = published(&event, &order(Status::Cancelled, 2), 5_000);
        assert_eq!((detail_type, &detail["paymentId"]), ("OrderRefundDue", &json!("p1")));
        assert_eq!(detail["reason"], "order_cancelled");
        assert_eq!(detail["status"], "cancelled");
    }

    #[test]
    fn event_carries_the_whole_order() {
        let refunds_due =
            vec![refund("p2", RefundReason::AlreadyPaid), refund("p3", RefundReason::AlreadyPaid)];
        let status = Status::Paid { payment_id: "p1".parse().unwrap() };
        let order = Order { refunds_due, ..order(status, 3) };
        let event = OrderEvent::RefundDue(refund("p3", RefundReason::AlreadyPaid));
        let (_, detail) = published(&event, &order, 5_000);
        assert_eq!((&detail["status"], &detail["paidBy"]), (&json!("paid"), &json!("p1")));
        assert_eq!(
            detail["refunds"],
            json!([
                {"paymentId": "p2", "reason": "already_paid", "state": "due"},
                {"paymentId": "p3", "reason": "already_paid", "state": "due"},
            ])
        );
        assert_eq!(
            (&detail["paymentId"], &detail["reason"]),
            (&json!("p3"), &json!("already_paid"))
        );
    }

    #[test]
    fn refunds_made_are_published_with_their_payment() {
        let payment_id: PaymentId = "p1".parse().unwrap();
        let refunded = order(Status::Refunded { payment_id: payment_id.clone() }, 2);
        let event = OrderEvent::Refunded { payment_id };
        let (detail_type, detail) = published(&event, &refunded, 5_000);
        assert_eq!((detail_type, &detail["status"]), ("OrderRefunded", &json!("refunded")));
        assert_eq!((&detail["paymentId"], &detail["paidBy"]), (&json!("p1"), &json!("p1")));

        let settled =
            RefundDue { state: RefundState::Settled, ..refund("p2", RefundReason::OrderCancelled) };
        let order = Order { refunds_due: vec![settled.clone()], ..order(Status::Cancelled, 3) };
        let (detail_type, detail) = published(&OrderEvent::RefundSettled(settled), &order, 5_000);
        assert_eq!((detail_type, &detail["paymentId"]), ("OrderRefundSettled", &json!("p2")));
        assert_eq!(detail["refunds"][0]["state"], "settled");
    }

    #[test]
    fn free_ticket_is_paid_without_a_payment() {
        let event = OrderEvent::Paid { payment_id: None };
        let (detail_type, detail) = published(&event, &order(Status::Free, 0), 5_000);
        assert_eq!((detail_type, &detail["status"]), ("OrderPaid", &json!("paid")));
        assert!(detail["paymentId"].is_null() && detail["paidBy"].is_null(), "{detail}");
        assert_eq!(detail["metadata"]["causationId"], "request-1");
    }

    #[test]
    fn event_never_occurs_before_its_cause() {
        let (_, detail) = published(&OrderEvent::Expired, &order(Status::Expired, 1), 30_000);
        assert_eq!(detail["metadata"]["occurredAt"], detail["expiresAt"]);
        let (_, detail) = published(&OrderEvent::Cancelled, &order(Status::Cancelled, 1), 0);
        assert_eq!(detail["metadata"]["occurredAt"], "2023-11-14T22:13:20.700Z");
        assert!(detail["metadata"]["causationId"].as_str().unwrap().ends_with(":0"));
    }
}

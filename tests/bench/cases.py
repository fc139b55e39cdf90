"""The measured cases: a Lambda event and the AWS responses to the calls it causes."""

import copy
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
FIXTURES = TESTS / "support/fixtures"
TEMPLATE = (TESTS.parent / "template.yaml").read_text()
NOW_MS = int(time.time() * 1_000)
# Longer than a measurement takes: a hold that ends meanwhile would change the work.
HOLD_MS = 3_600_000
TICKET = {"id": "ticket-1", "title": "Concert in the park", "price": 2550, "version": 0}
SETTINGS = {
    "GLIBC_TUNABLES": re.search(r"GLIBC_TUNABLES: (\S+)", TEMPLATE)[1],
    "ORDERS_TABLE": "orders-Orders",
    "TICKETS_TABLE": "orders-Tickets",
    "PAYMENTS_TABLE": "orders-Payments",
    "HOLD_SECONDS": "30",
    "BUYERS_TABLE": "orders-Buyers",
    "LATE_PAYMENT_SECONDS": "600",
    "PAYMENT_SECONDS": "300",
    "HOLDS_PER_BUYER": "10",
    "KEEP_UNPAID_DAYS": "400",
    "QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/111122223333/queue",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/111122223333/dead-letters",
    "EXPIRY_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/111122223333/expiries",
    "EXPIRY_QUEUE_ARN": "arn:aws:sqs:us-east-1:111122223333:expiries",
    "POISON_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/111122223333/poison",
    "EXPIRY_DEAD_LETTER_QUEUE_ARN": "arn:aws:sqs:us-east-1:111122223333:expiries-dead",
    "EVENT_BUS_NAME": "orders",
    "SCHEDULE_GROUP_NAME": "orders",
    "SCHEDULER_ROLE_ARN": "arn:aws:iam::111122223333:role/scheduler",
}


class Case:
    """One event for one function.

    `replies` are the AWS responses by operation, each a value or a function of the request body; `status`
    and `calls` are the expected HTTP status (`None` for a batch) and AWS operations.
    """

    def __init__(self, name, function, event, replies, status=None, calls=()):
        self.name, self.function, self.status, self.calls = name, function, status, calls
        self.event, self.settings = json.dumps(event), SETTINGS
        self._replies = replies

    def replies(self, operation, body):
        # The warm-up, the read before the first event, finds nothing.
        if "warm-up" in body or _order_id(0) in body:
            return {}
        reply = self._replies.get(operation, {})
        return reply(body) if callable(reply) else reply


def _order_id(number):
    return f"00000000-0000-0000-0000-{number:012}"


def _attribute(value):
    if isinstance(value, dict):
        return {"M": {name: _attribute(field) for name, field in value.items()}}
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def _item(row):
    return _attribute(row)["M"]


def _order(number=1, **changes):
    return {
        "id": _order_id(number),
        "user_id": "alice",
        "ticket": TICKET,
        "status": "awaiting_payment",
        "version": 0,
        "created_at": NOW_MS,
        "expires_at": NOW_MS + HOLD_MS,
        "correlation_id": "request-1",
    } | changes


def _http(method, path, parameters=None, body=None):
    event = json.loads((FIXTURES / "http_api_request.json").read_text())
    event["routeKey"] = event["requestContext"]["routeKey"] = f"{method} /api/orders"
    event["rawPath"] = event["requestContext"]["http"]["path"] = path
    event["requestContext"]["http"]["method"] = method
    # The length of an identity provider's token.
    event["headers"]["authorization"] = "Bearer " + "x" * 900
    if parameters:
        event["pathParameters"] = parameters
    if body:
        event["body"] = json.dumps(body)
        event["headers"] |= {"content-type": "application/json", "content-length": str(len(event["body"]))}
    return event


def _of_order(method):
    order = _order_id(1)
    return _http(method, f"/api/orders/{order}", {"id": order})


def _batch(name, count, change):
    batch = json.loads((FIXTURES / name).read_text())
    first = batch["Records"][0]
    batch["Records"] = [change(copy.deepcopy(first), number) for number in range(1, count + 1)]
    return batch


def _ticket_message(record, number):
    event = json.loads((FIXTURES / "ticket_created.json").read_text())
    event["detail"]["id"] = f"ticket-{number}"
    return record | {"messageId": _order_id(number), "body": json.dumps(event)}


def _payment_message(record, number):
    detail = {"id": f"payment-{number}", "orderId": _order_id(number), "amount": TICKET["price"] / 100}
    time = datetime.fromtimestamp(NOW_MS // 1_000, UTC).isoformat()
    event = {"source": "payments", "detail-type": "PaymentCreated", "time": time, "detail": detail}
    return record | {"messageId": _order_id(number), "body": json.dumps(event)}


def _expiry_message(record, number):
    return record | {"messageId": _order_id(number), "body": json.dumps({"orderId": _order_id(number)})}


def _found(**changes):
    """Returns the order with the requested id."""

    def find(body):
        order = _order(**changes)
        return {"Item": _item(order | {"id": json.loads(body)["Key"]["id"]["S"]})}

    return find


def _placed(record, number):
    record["dynamodb"] |= {
        "ApproximateCreationDateTime": NOW_MS // 1_000,
        "Keys": _item({"id": _order_id(number)}),
        # Near: its expiry is a delayed message, not a schedule.
        "NewImage": _item(_order(number, expires_at=NOW_MS + 30_000)),
        "SequenceNumber": str(100 + number),
    }
    return record


def _put_events_reply(body):
    return {"FailedEntryCount": 0, "Entries": [{"EventId": "event"} for _ in json.loads(body)["Entries"]]}


def _send_message_batch_reply(body):
    return {
        "Successful": [
            {"Id": entry["Id"], "MessageId": "message", "MD5OfMessageBody": "md5"}
            for entry in json.loads(body)["Entries"]
        ]
    }


PLACE = _http("POST", "/api/orders", body={"ticketId": TICKET["id"]})
HELD = TICKET | {"locked_by": _order_id(9), "locked_until": NOW_MS + HOLD_MS, "locked_for": "bob"}

SHOW = Case("show", "show-order", _of_order("GET"), {"GetItem": {"Item": _item(_order())}}, 200, ["GetItem"])
BUYER = {"id": "alice", "slot_0": NOW_MS + HOLD_MS, "slot_1": NOW_MS - 1, "forget_at": NOW_MS // 1_000 + 86_400}


def _ticket_or_buyer(body):
    """Returns the free ticket, or the buyer with one slot in use."""
    return {"Item": _item(BUYER if SETTINGS["BUYERS_TABLE"] in body else TICKET)}


CREATE = Case(
    "create",
    "create-order",
    PLACE,
    {"GetItem": _ticket_or_buyer},
    201,
    ["GetItem", "GetItem", "TransactWriteItems"],
)
CASES = [
    SHOW,
    CREATE,
    Case("create, too late", "create-order", PLACE, {"GetItem": {"Item": _item(HELD)}}, 409, ["GetItem"]),
    Case(
        "list of 20",
        "list-orders",
        _http("GET", "/api/orders"),
        {"Query": {"Items": [_item(_order(number)) for number in range(1, 21)], "Count": 20}},
        200,
        ["Query"],
    ),
    Case(
        "cancel",
        "cancel-order",
        _of_order("DELETE"),
        {"GetItem": {"Item": _item(_order())}},
        204,
        ["GetItem", "TransactWriteItems"],
    ),
    Case(
        "10 ticket events",
        "ticket-events",
        _batch("sqs_batch.json", 10, _ticket_message),
        {},
        None,
        ["UpdateItem"] * 10,
    ),
    Case(
        "10 payments",
        "payment-events",
        _batch("sqs_batch.json", 10, _payment_message),
        {"GetItem": _found()},
        None,
        ["GetItem", "TransactWriteItems"] * 10,
    ),
    Case(
        "10 expiries",
        "expire-orders",
        _batch("sqs_batch.json", 10, _expiry_message),
        {"GetItem": _found(expires_at=NOW_MS - 1_000)},
        None,
        ["GetItem", "TransactWriteItems"] * 10,
    ),
    Case(
        "relay of 10",
        "order-relay",
        _batch("stream_batch.json", 10, _placed),
        {"PutEvents": _put_events_reply, "SendMessageBatch": _send_message_batch_reply},
        None,
        ["PutEvents", "SendMessageBatch"],
    ),
]
HELLO = Case("lambda_http hello", "hello", _of_order("GET"), {}, 200)

"""Items and stacks for the unit tests."""

import contextlib
import io
import json

import items
from stack import Stack

NOW = 1_700_000_000_000


def order_id(number):
    return f"00000000-0000-0000-0000-{number:012}"


def order_item(number, ticket_id="t1", status=items.AWAITING, **changes):
    """The item of an order whose hold ends in half a minute."""
    fields = {
        "id": order_id(number),
        "user_id": "alice",
        "ticket": {"id": ticket_id, "title": "Concert", "price": 2550, "version": 0},
        "status": status,
        "version": 0,
        "created_at": NOW,
        "expires_at": NOW + 30_000,
        "correlation_id": "request-1",
        **({"payment_id": f"p{number}"} if status in (items.PAID, items.REFUNDED) else {}),
    }
    return items.item(fields | changes)


def order(number, *arguments, **changes):
    return items.Order.parse(order_item(number, *arguments, **changes))


def ticket_item(order=None, **changes):
    """The item of a ticket that is locked for this order; without `locked_until` it is sold."""
    lock = {"locked_by": order_id(order), "locked_for": "alice"} if order else {}
    return items.item({"id": "t1", "title": "Concert", "price": 2550, "version": 0, **lock} | changes)


def ticket(*arguments, **changes):
    return items.Ticket.parse(ticket_item(*arguments, **changes))


def payment(number, result=items.BOUGHT, order=1):
    fields = {"id": f"p{number}", "order_id": order_id(order), "result": result, "sent_at": NOW}
    return items.Payment.parse(items.item(fields))


def quiet(call, *arguments):
    """Calls a function. Returns its result and its output."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(printed):
        result = call(*arguments)
    return result, printed.getvalue()


class FakeDynamo:
    """DynamoDB with these items by (table, id). The first transactions fail with these codes."""

    def __init__(self, rows, failures=()):
        self.rows, self.failures, self.writes = dict(rows), list(failures), []

    def get_item(self, TableName, Key, ConsistentRead):
        assert ConsistentRead
        item = self.rows.get((TableName, Key["id"]["S"]))
        return {"Item": item} if item else {}

    def transact_get_items(self, TransactItems):
        gets = [(it["Get"]["TableName"], it["Get"]["Key"]["id"]["S"]) for it in TransactItems]
        return {"Responses": [{"Item": self.rows[key]} if key in self.rows else {} for key in gets]}

    def transact_write_items(self, TransactItems):
        if self.failures:
            raise self.failures.pop(0)
        self.writes.append(TransactItems)

    def get_paginator(self, name):
        return self

    def paginate(self, TableName, **_):
        yield {"Items": [item for (table, _), item in self.rows.items() if table == TableName]}


class FakeBus:
    """A bus that keeps the published events. Each event has these effects on the rows."""

    def __init__(self, rows, effects):
        self.rows, self.effects, self.events = rows, effects, []

    def put_events(self, Entries):
        self.events += [(entry["DetailType"], json.loads(entry["Detail"])) for entry in Entries]
        self.rows |= self.effects
        return {"FailedEntryCount": 0}


class FakeLambda:
    """Lambda that records its invocations and gives these results."""

    def __init__(self, *results):
        self.results, self.calls = list(results), []

    def invoke(self, FunctionName, Payload):
        self.calls.append((FunctionName, json.loads(Payload)))
        result = self.results.pop(0)
        error = {"FunctionError": "Unhandled"} if isinstance(result, Exception) else {}
        return {"Payload": io.BytesIO(json.dumps(None if error else result).encode()), **error}


def stack(**clients):
    """A stack with these clients. Every name is an output of its own."""
    names = ("Orders", "Tickets", "Payments", "Buyers")
    outputs = {f"{name}TableName": name for name in names}
    outputs |= {f"{name}FunctionName": name for name in ("OrderRelay", "CancelOrder")}
    return Stack({**outputs, "ExpiryQueueUrl": "expiry", "EventBusName": "bus"}, clients.get)

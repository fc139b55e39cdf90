"""The stack under the smoke test: its buyers, API, bus and tables, and what the test leaves behind."""

import contextlib
import dataclasses
import datetime
import json
import threading
import time
import urllib.error
import urllib.request
import uuid

PREFIX = "smoke-"
POLL_SECONDS = 0.2
REQUEST_SECONDS = 30
# API Gateway and Lambda refuse requests above their limits; a buyer repeats them.
REFUSED_FOR_NOW = (429, 503)
REPEAT_SECONDS = 60


class Failed(Exception):
    """The stack does not behave as the service assumes."""


class NotHere(Exception):
    """The stack lacks what a step needs; the message names it."""


@dataclasses.dataclass(frozen=True)
class Buyer:
    """A buyer with tokens by kind: `id`, `access` or `given`."""

    tokens: dict

    @property
    def token(self):
        return next(iter(self.tokens.values()))


@dataclasses.dataclass(frozen=True)
class Answer:
    """Response of the API."""

    status: int
    body: object


class Site:
    """A stack, with names for this run. Everything that a step creates has an undo in `close`."""

    def __init__(self, stack, buyers, events):
        self.stack, self.buyers, self.events = stack, buyers, events
        self._undo, self._lock, self._turn, self._orders = [], threading.Lock(), 0, set()
        self.interrupted = False
        # What the steps have used: "api", routes, sources of events, "order", "expiry".
        self.used = set()

    def buyer(self):
        """Returns the next buyer: the hold limit counts the orders of all steps."""
        with self._lock:
            self._turn += 1
            return self.buyers[self._turn % len(self.buyers)]

    @property
    def emulated(self):
        """Whether the stack runs on an emulator of AWS."""
        return self.stack.emulated

    def needs(self, *features):
        """Raises `NotHere` on the emulator, which lacks these features of AWS."""
        if self.emulated:
            raise NotHere(f"the emulator has no {' and no '.join(features)}")

    def client(self, service):
        # boto3 does not create clients in several threads at once.
        with self._lock:
            return self.stack.client(service)

    def undo(self, what, action, *arguments, **options):
        """Registers the undo of a step. The last registered one runs first."""
        with self._lock:
            self._undo.append((what, lambda: action(*arguments, **options)))

    def interrupt(self):
        """Ends all waits."""
        self.interrupted = True
        self.events.interrupt()

    def close(self):
        """Undoes everything. Returns what remains, with its error."""
        self.interrupted, left = False, []
        while self._undo:
            what, action = self._undo.pop()
            try:
                action()
            except Exception as error:
                left.append(f"{what}: {error}")
        return left

    def request(self, method, path, token=None, body=None, **headers):
        """Sends a request to the API. Records its route, if its function has answered."""
        answer = self._send(method, path, token, body, headers)
        self.used.add("api")
        if answer.status not in (401, *REFUSED_FOR_NOW):
            self.used.add(f"{method} /api/orders{'/{id}' if path.startswith('/api/orders/') else ''}")
        return answer

    def _send(self, method, path, token, body, headers):
        headers |= {"Authorization": f"Bearer {token}"} if token is not None else {}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.stack.api_url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
                return Answer(response.status, _json(response.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _json(error.read()))

    def order(self, buyer, ticket, key=None):
        """Orders a ticket. Repeats the request while it is refused for now, with the same key."""
        headers, body = {"Idempotency-Key": key or str(uuid.uuid4())}, {"ticketId": ticket}
        deadline, repeated = time.monotonic() + REPEAT_SECONDS, False
        while True:
            answer = self.request("POST", "/api/orders", buyer.token, body, **headers)
            if answer.status not in REFUSED_FOR_NOW:
                break
            if time.monotonic() > deadline:
                raise Failed(f"POST /api/orders gets {answer.status} for {REPEAT_SECONDS} s")
            repeated = True
            time.sleep(1)
        if repeated and answer.status == 200 and answer.body["id"] not in self._orders:
            # A new order: the reply of the first request was lost.
            answer = Answer(201, answer.body)
        if answer.status == 201:
            self._orders.add(answer.body["id"])
            self.used.add("order")
            self.undo(f"order {answer.body['id']}", self._forget, buyer, answer.body["id"])
        return answer

    def hold(self, buyer=None):
        """Makes a ticket and orders it. Returns the order."""
        answer = self.order(buyer or self.buyer(), self.ticket())
        expect("POST /api/orders", answer.status, 201)
        return answer.body

    def expiry(self, order, seconds):
        """Waits for the expiry of an order. Returns its event."""
        event = self.events.wait(order["id"], "OrderExpired", seconds)
        self.used.add("expiry")
        return event

    def cancel(self, buyer, order):
        return self.request("DELETE", f"/api/orders/{order}", buyer.token).status

    def ticket(self):
        """Publishes a new ticket, and waits until it is in the table. Returns its id."""
        ticket = self.events.new_ticket()
        self.undo(f"ticket {ticket}", self._remove_ticket, ticket)
        self.publish("tickets", "TicketCreated", {"id": ticket, "title": "Smoke test", "price": 25.5, "version": 0})
        self.until(f"ticket {ticket} is in the table", lambda: self.item("Tickets", ticket), 60)
        return ticket

    def publish(self, source, kind, detail, **fields):
        """Publishes an event on the bus."""
        self.used.add(source)
        self.events.put(source, kind, detail, **fields)

    def item(self, table, key):
        """Returns an item of a table; `None` if there is none."""
        name = self.stack.output(f"{table}TableName")
        found = self.client("dynamodb").get_item(TableName=name, Key={"id": {"S": key}}, ConsistentRead=True)
        return found.get("Item")

    def waiting(self, queue, *kinds):
        """Returns the number of messages of a queue, by the approximate counts of SQS: `Delayed`, `NotVisible`."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in kinds]
        url = self.stack.output(f"{queue}QueueUrl")
        found = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def until(self, what, happens, seconds, poll_seconds=POLL_SECONDS):
        """Polls until a result is true, and returns the result. `what` is a text, or a function that returns it."""
        deadline = time.monotonic() + seconds
        while not (result := happens()):
            if self.interrupted:
                raise Failed("interrupted")
            if time.monotonic() > deadline:
                raise Failed(f"not within {seconds:.0f} s: {what() if callable(what) else what}")
            time.sleep(poll_seconds)
        return result

    def _forget(self, buyer, order):
        """Ends an order. Its time to live removes it: a deletion by hand would turn on an alarm."""
        status = self.cancel(buyer, order)
        if status not in (204, 404):
            raise Failed(f"DELETE /api/orders/{order} gets {status}")
        self.client("dynamodb").update_item(
            TableName=self.stack.output("OrdersTableName"),
            Key={"id": {"S": order}},
            UpdateExpression="SET forget_at = :now",
            ConditionExpression="attribute_exists(id)",
            ExpressionAttributeValues={":now": {"N": str(int(time.time()))}},
        )

    def _remove_ticket(self, ticket):
        self.client("dynamodb").delete_item(
            TableName=self.stack.output("TicketsTableName"),
            Key={"id": {"S": ticket}},
            ConditionExpression="attribute_not_exists(locked_by)",
        )


def expect(what, actual, expected):
    """Raises `Failed` unless both are equal."""
    if actual != expected:
        raise Failed(f"{what}: {actual}, not {expected}")


def moment(text):
    """Returns the epoch seconds of a time."""
    return datetime.datetime.fromisoformat(text).timestamp()


def _json(data):
    with contextlib.suppress(ValueError):
        return json.loads(data)
    return data.decode(errors="replace")

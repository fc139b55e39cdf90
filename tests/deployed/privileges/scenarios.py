"""Short scenarios of each role in the deployed service. A scenario needs only its own role: it writes the work
of other roles to the tables and queues itself."""

import json
import re
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime

import boto3


class Missing(Exception):
    """An expected effect of the role does not occur."""


class Service:
    """A local stack, with a time limit for each expected effect."""

    def __init__(self, description, clients=None, seconds=0):
        self._description = description
        self.stack_name, self.outputs = description["stackName"], description["outputs"]
        self._seconds = seconds
        names = "cloudformation", "dynamodb", "events", "iam", "lambda", "scheduler", "sqs"
        self._clients = clients or {name: self._client(name) for name in names}

    def _client(self, name):
        return boto3.client(
            name,
            endpoint_url=self._description["endpointUrl"],
            region_name=self._description["region"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def client(self, name):
        return self._clients[name]

    def waiting(self, seconds):
        """Returns the same service with this time limit."""
        return Service(self._description, self._clients, seconds)

    def until(self, what, happens):
        """Polls until a result is true, and returns the result."""
        deadline = time.monotonic() + self._seconds
        while not (result := happens()):
            if time.monotonic() > deadline:
                raise Missing(what)
            time.sleep(0.1)
        return result

    def ask(self, method, path, buyer="alice", body=None):
        """Sends a request that must succeed. Returns the body."""
        request = urllib.request.Request(
            self._description["apiUrl"] + path,
            method=method,
            data=body and json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._description['tokens'][buyer]}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer) if answer.status != 204 else None
        except urllib.error.HTTPError as error:
            raise Missing(f"{method} {re.sub('[^/]{36}', '{id}', path)} (status {error.code})") from None

    def row(self, table, key):
        found = self.client("dynamodb").get_item(
            TableName=self.outputs[f"{table}TableName"], Key={"id": {"S": key}}, ConsistentRead=True
        )
        return {name: next(iter(value.values())) for name, value in found.get("Item", {}).items()}

    def put(self, table, **fields):
        item = {name: _attribute(value) for name, value in fields.items()}
        self.client("dynamodb").put_item(TableName=self.outputs[f"{table}TableName"], Item=item)

    def change(self, table, key, **fields):
        self.client("dynamodb").update_item(
            TableName=self.outputs[f"{table}TableName"],
            Key={"id": {"S": key}},
            AttributeUpdates={name: {"Value": _attribute(value), "Action": "PUT"} for name, value in fields.items()},
        )

    def forget(self, table, key):
        self.client("dynamodb").delete_item(TableName=self.outputs[f"{table}TableName"], Key={"id": {"S": key}})

    def ticket(self, **lock):
        ticket = new_id()
        self.put("Tickets", id=ticket, title="Concert", price=2550, version=0, **lock)
        return ticket

    def held(self, seconds=600, order=None):
        """Writes an order that holds a ticket for this long, and occupies a slot of its buyer."""
        order, until = order or new_id(), now_ms() + seconds * 1000
        ticket = self.ticket(locked_by=order, locked_until=until)
        self.change("Buyers", "alice", slot_49=until)
        self.order(order, ticket, until, status="awaiting_payment", version=0, slot=49)
        return order, ticket

    def expired(self):
        """Writes an expired order and its free ticket."""
        order = new_id()
        self.order(order, self.ticket(), now_ms(), status="expired", version=1)
        return order

    def unlocked(self, seconds=600):
        """Writes an order that awaits payment without the lock of its ticket."""
        order = new_id()
        self.order(order, self.ticket(), now_ms() + seconds * 1000, status="awaiting_payment", version=0)
        return order

    def order(self, order, ticket, until, **state):
        shown = {"id": ticket, "title": "Concert", "price": 2550, "version": 0}
        self.put(
            "Orders",
            id=order,
            user_id="alice",
            created_at=now_ms(),
            expires_at=until,
            correlation_id="least-privilege",
            ticket=shown,
            **state,
        )

    def lapse(self, order, ticket, in_seconds=0):
        """Moves the end of a hold forward, without its timer: of two changes the relay sees the refund."""
        until = now_ms() + in_seconds * 1000
        refund = {"payment_id": new_id(), "reason": "wrong_amount"}
        self.change("Orders", order, expires_at=until, refunds_due=[refund])
        self.change("Tickets", ticket, locked_until=until)

    def publish(self, source, kind, detail):
        entry = {
            "EventBusName": self.outputs["EventBusName"],
            "Source": source,
            "DetailType": kind,
            "Detail": json.dumps(detail),
        }
        self.client("events").put_events(Entries=[entry])

    def tell_ticket(self, ticket, kind, version):
        self.publish("tickets", kind, {"id": ticket, "title": "Concert", "price": 25.5, "version": version})

    def tell_payment(self, order, payment=None, **more):
        self.publish("payments", "PaymentCreated", {"id": payment or new_id(), "orderId": order, **more})

    def send_expiry(self, order):
        self.client("sqs").send_message(
            QueueUrl=self.outputs["ExpiryQueueUrl"], MessageBody=json.dumps({"orderId": order})
        )

    def queue_arn(self, output):
        url = self.outputs[output]
        found = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return found["Attributes"]["QueueArn"]

    def waiting_messages(self, url):
        """Returns the number of messages in a queue, received ones included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def take(self, url):
        """Receives and deletes up to 10 messages. Returns their bodies."""
        queues = self.client("sqs")
        messages = queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            queues.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in messages]

    @contextmanager
    def listening(self):
        """Listens to the bus. Yields a function that checks whether an event of an order was received."""
        events, queues, name = self.client("events"), self.client("sqs"), f"least-privilege-{new_id()}"
        bus, heard = self.outputs["EventBusName"], set()
        url = queues.create_queue(QueueName=name)["QueueUrl"]
        arn = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        queues.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(_allow_rules(arn))})
        events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"source": ["orders"]}))
        events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "it", "Arn": arn}])

        def has_heard(kind, order):
            heard.update((event["detail-type"], event["detail"]["id"]) for event in map(json.loads, self.take(url)))
            return (kind, order) in heard

        try:
            yield has_heard
        finally:
            events.remove_targets(Rule=name, EventBusName=bus, Ids=["it"])
            events.delete_rule(Name=name, EventBusName=bus)
            queues.delete_queue(QueueUrl=url)

    def has_schedule(self, name):
        found = self.client("scheduler").list_schedules(GroupName=self.outputs["ScheduleGroupName"], NamePrefix=name)
        return bool(found["Schedules"])


def create_order(service):
    # Without slots in use: the earlier scenarios of the buyers count too.
    for buyer in ("alice", "bob"):
        service.forget("Buyers", buyer)
    service.ask("POST", "/api/orders", body={"ticketId": service.ticket()})
    order, ticket = service.held()
    service.lapse(order, ticket)
    service.ask("POST", "/api/orders", "bob", {"ticketId": ticket})


def takeover_from_a_missing_order(service):
    service.forget("Buyers", "alice")
    ticket = service.ticket(locked_by=new_id(), locked_until=now_ms())
    service.ask("POST", "/api/orders", body={"ticketId": ticket})


def show_order(service):
    order, _ = service.held()
    service.ask("GET", f"/api/orders/{order}")


def list_orders(service):
    service.held()
    if not service.ask("GET", "/api/orders"):
        raise Missing("an order in the list")


def cancel_order(service):
    order, _ = service.held()
    service.ask("DELETE", f"/api/orders/{order}")


def cancel_order_without_its_lock(service):
    service.ask("DELETE", f"/api/orders/{service.unlocked()}")


def ticket_event(service):
    ticket = new_id()
    service.tell_ticket(ticket, "TicketCreated", 0)
    service.until("a new ticket", lambda: service.row("Tickets", ticket))


def ticket_event_after_a_gap(service):
    """The event is retried twice and then applied, because the missing versions do not arrive."""
    ticket = new_id()
    service.tell_ticket(ticket, "TicketUpdated", 2)
    service.until("a ticket event after a gap", lambda: service.row("Tickets", ticket))


def payments(service):
    orders = {"a payment": service.held()[0], "a late payment": service.expired()}
    for order in orders.values():
        service.tell_payment(order)
    for what, order in orders.items():
        service.until(what, lambda: service.row("Orders", order)["status"] == "paid")


def payments_of_inconsistent_rows(service):
    """A late payment takes over from a missing order; another one expires an order without its lock first."""
    order = new_id()
    ticket = service.ticket(locked_by=new_id(), locked_until=now_ms())
    service.order(order, ticket, now_ms(), status="expired", version=1)
    service.tell_payment(order)
    service.until("a late payment that takes over", lambda: service.row("Orders", order)["status"] == "paid")
    unlocked = service.unlocked(seconds=0)
    service.tell_payment(unlocked, amount=1)
    service.until("a refund of an order without its lock", lambda: service.row("Orders", unlocked).get("refunds_due"))


def payment_of_a_removed_order(service):
    """The payment is done, because its row names the order."""
    payment, order = new_id(), new_id()
    service.put("Payments", id=payment, order_id=order, result="bought", sent_at=now_ms())
    service.tell_payment(order, payment)
    url = service.outputs["PaymentEventsQueueUrl"]
    time.sleep(1)
    service.until("an empty queue", lambda: not service.waiting_messages(url))


def payment_before_its_order(service):
    """The payment is retried until the order exists."""
    order = new_id()
    service.tell_payment(order)
    time.sleep(1)
    service.held(order=order)
    service.until("a payment before its order", lambda: service.row("Orders", order)["status"] == "paid")


def expiry_of_an_order_without_its_lock(service):
    order = service.unlocked(seconds=0)
    service.send_expiry(order)
    service.until("an expiry without the lock", lambda: service.row("Orders", order)["status"] == "expired")


def expiry(service):
    order, ticket = service.held()
    service.lapse(order, ticket)
    service.send_expiry(order)
    service.until("an expiry", lambda: service.row("Orders", order)["status"] == "expired")


def malformed_ticket_event(service):
    _malformed(service, "TicketEvents")


def malformed_payment_event(service):
    _malformed(service, "PaymentEvents")


def malformed_expiry(service):
    _malformed(service, "Expiry")


def _malformed(service, name):
    """The function dead-letters the message."""
    message = new_id()
    service.client("sqs").send_message(QueueUrl=service.outputs[f"{name}QueueUrl"], MessageBody=message)
    dead_letters = service.outputs[f"{name}DeadLetterQueueUrl"]
    service.until("a dead-lettered message", lambda: message in service.take(dead_letters))


def early_expiry(service):
    """The message is replaced by a delayed one: nothing waits in flight."""
    order, ticket = service.held()
    service.lapse(order, ticket, in_seconds=30)
    service.send_expiry(order)
    time.sleep(1)
    url = service.outputs["ExpiryQueueUrl"]
    service.until("a replaced expiry", lambda: not service.waiting_messages(url))


def expiry_of_an_order_that_cannot_be_read(service):
    """The message is retried 5 s later; without the right, after the visibility timeout of the queue."""
    order = new_id()
    service.order(order, service.ticket(), now_ms(), status="awaiting_payment", version=0, schema=9)
    service.send_expiry(order)
    time.sleep(1)
    service.change("Orders", order, schema=1)
    service.until("a retried expiry", lambda: service.row("Orders", order)["status"] == "expired")


def order_with_a_schedule(service):
    with service.listening() as heard:
        order, _ = service.held()
        service.until("OrderCreated", lambda: heard("OrderCreated", order))
        service.until("a schedule", lambda: service.has_schedule(order))
        service.change("Orders", order, status="cancelled", version=1)
        service.until("OrderCancelled", lambda: heard("OrderCancelled", order))
        service.until("the deletion of a schedule", lambda: not service.has_schedule(order))


def order_too_short_for_a_schedule(service):
    """The next event is published only after the expiry message is sent."""
    with service.listening() as heard:
        order, _ = service.held(20)
        service.change("Orders", order, status="cancelled", version=1)
        service.until("the event after a short hold", lambda: heard("OrderCancelled", order))


def poison_record(service):
    record, queue = new_id(), service.outputs["OrderRelayDeadLetterQueueUrl"]
    service.put("Orders", id=record, status="lost")
    service.until("a dead-lettered record", lambda: any(record in text for text in service.take(queue)))


def forgotten_holds(service):
    """Reconcile expires an order, frees a ticket whose order is missing, and makes the lock of a paid order
    permanent."""
    expiring, held = forgotten_hold(service)
    freed = service.ticket(locked_by=new_id(), locked_until=long_ago())
    paid = new_id()
    sold = service.ticket(locked_by=paid, locked_until=long_ago())
    service.order(paid, sold, long_ago(), status="paid", version=1, payment_id=new_id())
    name = service.outputs["ReconcileFunctionName"]
    service.client("lambda").invoke(FunctionName=f"{name}:live", Payload=b"{}")
    for what, happened in {
        "a reconciled order": service.row("Orders", expiring)["status"] == "expired",
        "its free ticket": "locked_by" not in service.row("Tickets", held),
        "a ticket without its order": "locked_by" not in service.row("Tickets", freed),
        "a permanent lock": "locked_until" not in service.row("Tickets", sold),
    }.items():
        if not happened:
            raise Missing(what)


def start_of_reconcile(service):
    """The role of the recurring schedule, with a schedule that fires at once."""
    order, _ = forgotten_hold(service)
    names = {"StackName": service.stack_name, "LogicalResourceId": "ReconcileSchedule"}
    resource = service.client("cloudformation").describe_stack_resource(**names)["StackResourceDetail"]
    group, name = f"{service.stack_name}-reconcile", resource["PhysicalResourceId"]
    recurring = service.client("scheduler").get_schedule(GroupName=group, Name=name)
    fire(service, group, {key: recurring["Target"][key] for key in ("Arn", "RoleArn")})
    service.until("a run of reconcile", lambda: service.row("Orders", order)["status"] == "expired")


def forgotten_hold(service):
    """Writes an order whose hold has lapsed, and whose timer does not come."""
    order, ticket = service.held()
    service.lapse(order, ticket, in_seconds=-3600)
    return order, ticket


def long_ago():
    """Longer than reconcile waits for a timer."""
    return now_ms() - 3600 * 1000


def schedule(service):
    order, ticket = service.held()
    service.lapse(order, ticket)
    send_by_schedule(service, service.queue_arn("ExpiryQueueUrl"), {"orderId": order})
    service.until("a schedule's message", lambda: service.row("Orders", order)["status"] == "expired")


def schedule_that_fails(service):
    order, queue = new_id(), service.outputs["ExpiryDeadLetterQueueUrl"]
    send_by_schedule(service, service.queue_arn("ExpiryQueueUrl") + "-that-is-gone", {"orderId": order})
    service.until("an undelivered message", lambda: any(order in text for text in service.take(queue)))


def send_by_schedule(service, queue, message):
    """Sends a message like the relay's schedules."""
    relay = service.client("lambda").get_function_configuration(FunctionName=service.outputs["OrderRelayFunctionName"])
    target = {
        "Arn": queue,
        "Input": json.dumps(message),
        "RoleArn": relay["Environment"]["Variables"]["SCHEDULER_ROLE_ARN"],
        "DeadLetterConfig": {"Arn": service.queue_arn("ExpiryDeadLetterQueueUrl")},
    }
    fire(service, service.outputs["ScheduleGroupName"], target)


def fire(service, group, target):
    """Creates a schedule that fires now."""
    service.client("scheduler").create_schedule(
        GroupName=group,
        Name=new_id(),
        FlexibleTimeWindow={"Mode": "OFF"},
        ScheduleExpression=f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})",
        ActionAfterCompletion="DELETE",
        Target=target,
    )


# The fastest scenario first.
SCENARIOS = {
    "CreateOrderRole": [create_order, takeover_from_a_missing_order],
    "ShowOrderRole": [show_order],
    "ListOrdersRole": [list_orders],
    "CancelOrderRole": [cancel_order, cancel_order_without_its_lock],
    "TicketEventsRole": [ticket_event, ticket_event_after_a_gap, malformed_ticket_event],
    "PaymentEventsRole": [
        payments,
        payments_of_inconsistent_rows,
        payment_of_a_removed_order,
        payment_before_its_order,
        malformed_payment_event,
    ],
    "ExpireOrdersRole": [
        expiry,
        expiry_of_an_order_without_its_lock,
        expiry_of_an_order_that_cannot_be_read,
        early_expiry,
        malformed_expiry,
    ],
    "OrderRelayRole": [order_with_a_schedule, order_too_short_for_a_schedule, poison_record],
    "SchedulerRole": [schedule, schedule_that_fails],
    "ReconcileRole": [forgotten_holds],
    "ReconcileScheduleRole": [start_of_reconcile],
}


def new_id():
    return str(uuid.uuid4())


def now_ms():
    return int(time.time() * 1000)


def _allow_rules(queue_arn):
    """The policy of a queue that receives events."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _attribute(value):
    if isinstance(value, dict):
        return {"M": {name: _attribute(part) for name, part in value.items()}}
    if isinstance(value, list):
        return {"L": [_attribute(part) for part in value]}
    return {"N": str(value)} if isinstance(value, int) else {"S": value}

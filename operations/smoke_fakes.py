"""A stack in memory for the tests of the smoke test. Each fault is a setting."""

import base64
import contextlib
import datetime
import io
import itertools
import json
import threading
import types
import unittest.mock
import uuid

import smoke_buyers
from smoke_platform import FUNCTIONS, wake_queues
from smoke_site import Answer, Buyer, Failed, Site
from stack import Stack

START = 1_700_000_000
HOLD_SECONDS = 30


class Clock:
    """A clock that moves only with `sleep`."""

    def __init__(self):
        self.now = float(START)

    def sleep(self, seconds):
        self.now += seconds

    @contextlib.contextmanager
    def installed(self):
        with (
            unittest.mock.patch("time.sleep", self.sleep),
            unittest.mock.patch("time.monotonic", lambda: self.now),
            unittest.mock.patch("time.time", lambda: self.now),
        ):
            yield self


class FakeEvents:
    """The events of the orders of a site."""

    prefix = "smoke-test-"

    def __init__(self):
        self.numbers, self.put_events = itertools.count(), []

    def new_ticket(self):
        return f"{self.prefix}{next(self.numbers)}"

    def put(self, source, kind, detail, **fields):
        self.put_events.append((source, kind, detail, fields))
        self.site.receive(kind, detail, fields)

    def wait(self, order, kind, seconds):
        return self.site.event(order, kind, seconds)

    def interrupt(self):
        pass


class FakeSite(Site):
    """A site without faults, unless they are settings."""

    def __init__(self, emulated=False, buyers=50, **settings):
        self.settings = types.SimpleNamespace(**{**DEFAULTS, **settings})
        outputs = {f"{name}QueueUrl": name for name in ("Expiry", "ExpiryDeadLetter", "TicketEventsDeadLetter")}
        outputs |= {f"{name}TableName": name for name in ("Orders", "Tickets")}
        outputs |= {f"{name}FunctionName": name for name in ("Reconcile", *FUNCTIONS.values())}
        description = {"endpointUrl": "http://emulator"} if emulated else {}
        stack = Stack(
            {**outputs, "ScheduleGroupName": "group", "ApiId": "api-id"},
            lambda name: FakeAws(self),
            "orders",
            description,
        )
        tokens = {kind: jwt(kind) for kind in ("id", "access")}
        super().__init__(stack, [Buyer(tokens) for _ in range(buyers)], FakeEvents())
        self.events.site = self
        self.tickets, self.orders, self.by_key, self.schedules, self.early_messages = set(), {}, {}, {}, 0
        self.clock, self.sold, self.writes = Clock(), 0, threading.Lock()
        # First call of each queue.
        self.called_at = {}

    def run(self, step):
        """Runs a step with its own clock."""
        with self.clock.installed():
            wake_queues(self)
            return step(self)

    def receive(self, kind, detail, fields):
        if kind == "TicketCreated" and "version" in detail and not self.settings.loses_tickets:
            self.tickets.add(detail["id"])
        if kind == "PaymentStarted":
            order = self.orders[detail["orderId"]]
            end = fields["Time"] + self.settings.payment_seconds
            if end > order["expires"] > self.clock.now:
                order |= {"expires": end, "extended": True}
                self.schedule(order)

    def schedule(self, order):
        if self.settings.has_schedules and order["expires"] - self.clock.now >= 70:
            self.schedules[order["id"]] = order["expires"] - 60 + self.settings.schedule_late_seconds

    def event(self, id, kind, seconds):
        order = self.orders[id]
        if kind == "OrderExpired":
            late = self.settings.expires_late_seconds
            occurred = order["expires"] + (late or 0)
            if late is None or occurred > self.clock.now + seconds:
                raise Failed(f"no {kind} within {seconds} s")
            self.clock.now = max(self.clock.now, occurred)
            version = self.settings.expired_version
        elif not order.get("extended"):
            raise Failed(f"no {kind} within {seconds} s")
        else:
            occurred, version = self.clock.now, 1
        times = {"expiresAt": text(order["expires"]), "metadata": {"occurredAt": text(occurred)}}
        return {"detail-type": kind, "detail": {"id": id, "version": version, **times}}

    def item(self, table, key):
        return {"id": {"S": key}} if key in self.tickets else None

    def waiting(self, queue, *kinds):
        if queue == "Expiry":
            return self.early_messages
        return self.settings.dead_letters if self.early_messages else 0

    def _send(self, method, path, token, body, headers):
        if token not in (jwt("id"), jwt("access")) and token not in self.accepted():
            return Answer(401, {})
        if token in self.settings.refuses:
            return Answer(401, {})
        if method == "POST":
            with self.writes:
                return self.post(body["ticketId"], headers["Idempotency-Key"])
        if method == "DELETE":
            return Answer(self.delete(path.split("/")[-1]), None)
        if path.startswith("/api/orders?"):
            return Answer(200, [self.shown(order) for order in self.orders.values()])
        order = self.orders.get(path.split("/")[-1])
        return Answer(200, [] if path == "/api/orders" else self.shown(order) if order else {})

    def accepted(self):
        """The broken tokens that the API accepts."""
        return [smoke_buyers.broken(jwt("id"))[name] for name in self.settings.accepts]

    def post(self, ticket, key):
        if self.settings.refusals:
            return Answer(self.settings.refusals.pop(), {})
        if key in self.by_key and self.settings.refused_repeats:
            return Answer(self.settings.refused_repeats.pop(), {})
        if key in self.by_key and self.settings.knows_keys:
            return Answer(200, self.shown(self.by_key[key]))
        if self.sold >= self.settings.sells and (not self.settings.sells or ticket in self.taken()):
            return Answer(self.settings.loser, {})
        self.sold += 1
        order = {"id": str(uuid.uuid4()), "ticket": {"id": ticket}, "created": self.clock.now}
        order |= {"expires": self.clock.now + self.settings.hold_seconds, "status": "awaiting_payment"}
        self.orders[order["id"]] = self.by_key[key] = order
        self.schedule(order)
        if self.settings.lost_replies:
            return Answer(self.settings.lost_replies.pop(), {})
        return Answer(201, self.shown(order))

    def taken(self):
        return [order["ticket"]["id"] for order in self.orders.values()]

    def delete(self, id):
        if self.settings.deletes_schedules:
            self.schedules.pop(id, None)
        return 204

    def shown(self, order):
        status = order["status"]
        if self.settings.expires_before_its_time:
            status = "expired"
        times = {"createdAt": text(order["created"]), "expiresAt": text(order["expires"])}
        return {"id": order["id"], "status": status, "ticket": order["ticket"], **times}


# A site without faults.
DEFAULTS = {
    "accepts": (),
    "alarm": "ALARM",
    "changes_dead_letters": False,
    "concurrency": 1000,
    "dead_letters": 0,
    "deletes_schedules": True,
    "expired_version": 1,
    "expires_before_its_time": False,
    "expires_late_seconds": 0.5,
    "fires": True,
    "function_error": False,
    "has_schedules": True,
    "hold_seconds": HOLD_SECONDS,
    "init_ms": 150.0,
    "keeps_early_messages": True,
    "knows_keys": True,
    "logs_reports": True,
    "loser": 409,
    "loses_tickets": False,
    "lost_replies": (),
    "metrics_without_data": (),
    "payment_seconds": 300,
    "refusals": (),
    "refused_repeats": (),
    "refuses": (),
    "schedule_late_seconds": 3,
    "sells": 1,
    "show_status": 404,
}


class FakeAws:
    """The clients of all services, for a site."""

    def __init__(self, site):
        self.site, self.settings = site, site.settings

    # Lambda

    def get_account_settings(self):
        count = self.settings.concurrency
        return {"AccountLimit": {"ConcurrentExecutions": count, "UnreservedConcurrentExecutions": count}}

    def get_function_configuration(self, FunctionName):
        return {"Environment": {"Variables": {"PAYMENT_SECONDS": str(self.settings.payment_seconds)}}}

    def invoke(self, FunctionName, Payload, LogType=""):
        init = f"Init Duration: {self.settings.init_ms} ms" if self.settings.init_ms else ""
        report = f"REPORT RequestId: 1 Duration: 2.5 ms {init}" if self.settings.logs_reports else ""
        error = {"FunctionError": "Unhandled"} if self.settings.function_error else {}
        body = json.dumps({"statusCode": self.settings.show_status})
        log = base64.b64encode(f"START RequestId: 1\n{report}".encode()).decode()
        return {"Payload": io.BytesIO(body.encode()), "LogResult": log, **error}

    # Scheduler

    def list_schedules(self, GroupName, NamePrefix):
        fires = self.site.schedules.get(NamePrefix)
        is_waiting = fires is not None and (self.site.clock.now < fires or not self.settings.fires)
        return {"Schedules": [{}] if is_waiting else []}

    # SQS

    def send_message_batch(self, QueueUrl, Entries):
        if self.settings.keeps_early_messages:
            self.site.early_messages += len(Entries)
        return {}

    def get_queue_attributes(self, QueueUrl, AttributeNames):
        self.site.called_at.setdefault(QueueUrl, self.site.clock.now)

    def receive_message(self, **_):
        detail = {**self.site.events.put_events[-1][2]}
        if self.settings.changes_dead_letters:
            detail["title"] = "7"
        return {"Messages": [{"Body": json.dumps({"detail": detail}), "ReceiptHandle": "1"}]}

    # CloudFormation and CloudWatch

    def get_paginator(self, _):
        resources = [{"ResourceType": "AWS::CloudWatch::Alarm", **_resource(name, name)} for name in ALARMS]
        names = ("ServerlessDeploymentApplication", "ShowOrderFunctionDeploymentGroup")
        resources += [{"ResourceType": "other", **_resource(name, name)} for name in names]
        page = {"StackResourceSummaries": resources}
        return types.SimpleNamespace(paginate=lambda StackName: [page])

    def describe_alarms(self, AlarmNames, MaxRecords=None):
        return {"MetricAlarms": [{**_alarm(*ALARMS[name]), "StateValue": self.settings.alarm} for name in AlarmNames]}

    def get_metric_statistics(self, Namespace, MetricName, Dimensions, **_):
        without_data = self.settings.metrics_without_data
        is_there = MetricName not in without_data and Dimensions[0]["Value"] not in without_data
        if Namespace == "AWS/SQS":
            # After the first call of a queue in hours; no queue has a message.
            first_call = self.site.called_at[Dimensions[0]["Value"]]
            is_there &= self.site.clock.now >= first_call + 15 * 60 and MetricName != "ApproximateAgeOfOldestMessage"
        return {"Datapoints": [{}] if is_there else []}


# Namespace, metric and dimension of each alarm.
ALARMS = {
    "TicketEventsDeadLetters": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "TicketEventsDeadLetter"),
    "ExpiryQueueAge": ("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", "Expiry"),
    "TicketVersionGaps": ("Orders", "TicketVersionGaps", "Function", "TicketEvents"),
    "ApiErrors": ("AWS/ApiGateway", "5xx", "ApiId", "api-id"),
    **{f"{name}Errors": ("AWS/Lambda", "Errors", "FunctionName", name) for name in ("Reconcile", *FUNCTIONS.values())},
    **{route: ("Orders/orders", "Requests", "Route", route) for route in FUNCTIONS if " " in route},
}


def _alarm(namespace, metric, dimension, value):
    return {"Namespace": namespace, "MetricName": metric, "Dimensions": [{"Name": dimension, "Value": value}]}


def _resource(logical, physical):
    return {"LogicalResourceId": logical, "PhysicalResourceId": physical}


def jwt(kind):
    """A token with a valid form."""
    parts = {"alg": "RS256"}, {"sub": "alice", "kind": kind}, {"signature": "x" * 30}
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


def text(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()

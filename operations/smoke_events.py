"""Access to the bus: publishes events, and records the order events of the tickets of this run."""

import itertools
import json
import threading
import time
import uuid

import botocore.exceptions

from smoke_site import PREFIX, Failed

PROBE = "smoke"
RECEIVE_SECONDS = 2
# A new rule and a new queue policy take effect within a minute.
START_SECONDS = 120


class Events:
    """The events of a run. Its tickets have ids of their own, so a rule selects their events."""

    def __init__(self, stack):
        self._bus, self._events, self._sqs = stack.output("EventBusName"), stack.client("events"), stack.client("sqs")
        self.prefix, self._numbers = f"{PREFIX}{uuid.uuid4().hex[:8]}-", itertools.count()
        self._received, self._changed, self._stopped, self._problem = [], threading.Condition(), False, ""
        self._url = self._thread = None

    def new_ticket(self):
        """Returns the id of a new ticket."""
        return f"{self.prefix}{next(self._numbers)}"

    def put(self, source, kind, detail, **fields):
        """Publishes an event."""
        entry = {"EventBusName": self._bus, "Source": source, "DetailType": kind, "Detail": json.dumps(detail)}
        result = self._events.put_events(Entries=[{**entry, **fields}])
        if result["FailedEntryCount"]:
            raise Failed(f"PutEvents refused {kind}: {result['Entries'][0].get('ErrorCode')}")

    def start(self, site):
        """Creates a queue and a rule, and waits until an event arrives."""
        name = self.prefix.rstrip("-")
        self._url = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        site.undo(f"queue {name}", self._sqs.delete_queue, QueueUrl=self._url)
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]
        pattern = {"source": ["orders", PROBE], "detail": {"ticket": {"id": [{"prefix": self.prefix}]}}}
        on_bus = {"EventBusName": self._bus}
        rule = self._events.put_rule(Name=name, EventPattern=json.dumps(pattern), **on_bus)["RuleArn"]
        site.undo(f"rule {name}", self._events.delete_rule, Name=name, **on_bus)
        policy = json.dumps(_policy(attributes["QueueArn"], rule))
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": policy})
        self._events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": attributes["QueueArn"]}], **on_bus)
        site.undo(f"target of rule {name}", self._events.remove_targets, Rule=name, Ids=["queue"], **on_bus)
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()
        site.undo("receiver of events", self._stop)
        self._wait_for_probe()

    def wait(self, order, kind, seconds):
        """Waits for an event of an order. Returns it."""
        return self._wait(lambda it: it["detail"].get("id") == order and it["detail-type"] == kind, kind, seconds)

    def interrupt(self):
        """Ends all waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _wait_for_probe(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.put(PROBE, "Probe", {"ticket": {"id": self.prefix}})
            try:
                self._wait(lambda it: it["source"] == PROBE, "a probe", RECEIVE_SECONDS)
                return
            except Failed:
                if time.monotonic() > deadline:
                    raise

    def _wait(self, matches, what, seconds):
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or any(map(matches, self._received)), seconds)
            if not any(map(matches, self._received)):
                raise Failed(f"no {what} within {seconds:.0f} s {self._problem}".rstrip())
            return next(filter(matches, self._received))

    def _receive(self):
        while not self._stopped:
            try:
                self._receive_once()
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
                self._problem = f"(last error: {error})"
                time.sleep(1)

    def _receive_once(self):
        found = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=RECEIVE_SECONDS)
        for message in found.get("Messages", []):
            with self._changed:
                self._received.append(json.loads(message["Body"]))
                self._changed.notify_all()
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])

    def _stop(self):
        self.interrupt()
        self._thread.join(RECEIVE_SECONDS + 10)


def _policy(queue, rule):
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}

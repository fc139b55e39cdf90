"""Tests of the delivery of events to queues: policies, dead letters, times, sizes."""

import json
import tempfile
import time
import unittest
import uuid

from botocore.exceptions import ClientError

from emulator_testing import ACCOUNT, Emulator

ALLOW_RULES = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": "*",
        },
    ],
}
LONG_AGO = 1_700_000_000


class Events(unittest.TestCase):
    """The tests share an emulator with all fixes, and one without both."""

    @classmethod
    def setUpClass(cls):
        def start(without):
            folder = cls.enterClassContext(tempfile.TemporaryDirectory())
            return cls.enterClassContext(Emulator(folder, without, AUTH="true"))

        cls.strict, cls.without_policies, cls.without_entries = map(start, ("", "rule_delivery", "event_entries"))

    def test_rule_needs_the_policy_of_the_queue(self):
        def probe(emulator):
            return [len(delivered(emulator, allowed=allowed)[0]) for allowed in (True, False)]

        self.assertEqual(probe(self.strict), [1, 0])
        self.assertEqual(probe(self.without_policies), [1, 1])

    def test_undelivered_event_is_a_dead_letter_with_its_cause(self):
        def probe(emulator, **queue):
            _, dead = delivered(emulator, **queue)
            return [(json.loads(it["Body"])["detail-type"], attribute(it, "ERROR_CODE")) for it in dead]

        self.assertEqual(probe(self.strict, allowed=False), [("Test", "NO_PERMISSIONS")])
        self.assertEqual(probe(self.strict, missing=True), [("Test", "NO_RESOURCE")])
        self.assertEqual(probe(self.without_policies, missing=True), [])

    def test_event_has_the_time_of_its_entry(self):
        def probe(emulator):
            (message,), _ = delivered(emulator, Time=LONG_AGO)
            return json.loads(message["Body"])["time"]

        self.assertEqual(probe(self.strict), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(LONG_AGO)))
        self.assertNotEqual(probe(self.without_entries), probe(self.strict))

    def test_events_of_a_call_have_less_than_one_mebibyte(self):
        def probe(emulator):
            half = {"Source": "test", "DetailType": "Test", "Detail": json.dumps("x" * 2**19)}
            try:
                return emulator.client("events").put_events(Entries=[half, half])["FailedEntryCount"]
            except ClientError as error:
                return error.response["Error"]["Code"]

        self.assertEqual(probe(self.strict), "ValidationException")
        self.assertEqual(probe(self.without_entries), 0)


def delivered(emulator, allowed=True, missing=False, **entry):
    """Puts an event for a queue that allows rules, or not, or is missing. Returns the messages of the queue and of the
    dead-letter queue."""
    events, sqs, name = emulator.client("events"), emulator.client("sqs"), str(uuid.uuid4())
    events.create_event_bus(Name=name)
    queue, dead = create_queue(sqs, name, allowed), create_queue(sqs, f"{name}-dead", True)
    events.put_rule(Name=name, EventBusName=name, EventPattern='{"source": ["test"]}')
    target = {"Id": "queue", "Arn": arn(f"{name}-missing" if missing else name)}
    dead_letters = {"DeadLetterConfig": {"Arn": arn(f"{name}-dead")}}
    events.put_targets(Rule=name, EventBusName=name, Targets=[{**target, **dead_letters}])
    events.put_events(Entries=[{"EventBusName": name, "Source": "test", "DetailType": "Test", "Detail": "{}", **entry}])
    return [
        sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"]).get("Messages", []) for url in (queue, dead)
    ]


def create_queue(sqs, name, allowed):
    attributes = {"Policy": json.dumps(ALLOW_RULES)} if allowed else {}
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def arn(queue):
    return f"arn:aws:sqs:us-east-1:{ACCOUNT}:{queue}"


def attribute(message, name):
    return message["MessageAttributes"][name]["StringValue"]


if __name__ == "__main__":
    unittest.main()

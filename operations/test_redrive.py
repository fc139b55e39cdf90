"""Tests of redrive: moved and kept messages, and the printed report."""

import base64
import contextlib
import datetime
import io
import json
import time
import unittest

import redrive
from stack import Stack

STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/1"
DEAD_LETTERS = {name: f"https://queues/{name}-dead" for name in ("PaymentEvents", "Expiry", "OrderRelay")}
PAYMENTS, EXPIRIES = "https://queues/payments", "https://queues/expiries"


class FakeSqs:
    """SQS with an empty response to every second receive."""

    def __init__(self):
        self.messages, self.ids, self.receives = {}, iter(range(1000)), 0
        self.clock = lambda: time.time() + 1

    def put(self, url, body, sent=None):
        id = str(next(self.ids))
        self.messages.setdefault(url, []).append(
            {
                "MessageId": id,
                "ReceiptHandle": id,
                "Body": body,
                "hidden": False,
                "Attributes": {"SentTimestamp": str(int((sent or self.clock()) * 1000))},
            }
        )

    def bodies(self, url):
        return [message["Body"] for message in self.messages.get(url, [])]

    def send_message(self, QueueUrl, MessageBody):
        self.put(QueueUrl, MessageBody)

    def receive_message(self, QueueUrl, MaxNumberOfMessages, **_):
        self.receives += 1
        if self.receives % 2:
            return {}
        found = [message for message in self.messages.get(QueueUrl, []) if not message["hidden"]][:MaxNumberOfMessages]
        for message in found:
            message["hidden"] = True
        return {"Messages": found}

    def delete_message(self, QueueUrl, ReceiptHandle):
        self.messages[QueueUrl] = [
            message for message in self.messages[QueueUrl] if message["ReceiptHandle"] != ReceiptHandle
        ]

    def change_message_visibility(self, QueueUrl, ReceiptHandle, VisibilityTimeout):
        for message in self.messages[QueueUrl]:
            message["hidden"] &= message["ReceiptHandle"] != ReceiptHandle


class FakeLambda:
    """Lambda with a relay: fails on some records, dead-letters poison, and accepts all others."""

    def __init__(self, queues):
        self.queues, self.accepted = queues, []

    def invoke(self, FunctionName, Payload):
        assert FunctionName == "relay:live"
        [record] = json.loads(Payload)["Records"]
        if record.get("fails"):
            failures = [{"itemIdentifier": "1"}]
        else:
            failures = []
            self.accepted.append(record)
        if record.get("poison"):
            self.queues.put(DEAD_LETTERS["OrderRelay"], json.dumps(record, separators=(",", ":")))
        return {"Payload": io.BytesIO(json.dumps({"batchItemFailures": failures}).encode())}


class FakeStreams:
    """A stream with the sequence numbers 1 to 9: an empty page, then pages of two records."""

    class exceptions:
        class TrimmedDataAccessException(Exception):
            pass

        class ResourceNotFoundException(Exception):
            pass

    def get_shard_iterator(self, StreamArn, ShardId, ShardIteratorType, SequenceNumber):
        assert (StreamArn, ShardId, ShardIteratorType) == (STREAM, "shard", "AT_SEQUENCE_NUMBER")
        if SequenceNumber == "0":
            raise self.exceptions.TrimmedDataAccessException
        return {"ShardIterator": f"{SequenceNumber} empty"}

    def get_records(self, ShardIterator):
        first, *empty = ShardIterator.split()
        if empty:
            return {"Records": [], "NextShardIterator": first}
        numbers = range(int(first), min(int(first) + 2, 10))
        return {"Records": [self.record(number) for number in numbers], "NextShardIterator": str(numbers.stop)}

    def record(self, number):
        at = datetime.datetime.fromtimestamp(1_700_000_000, datetime.UTC)
        return {
            "eventName": "INSERT",
            "dynamodb": {
                "ApproximateCreationDateTime": at,
                "SequenceNumber": str(number),
                "NewImage": {"data": {"B": b"\x00\x01"}},
            },
        }


class Redrive(unittest.TestCase):
    def setUp(self):
        self.queues = FakeSqs()
        self.relay = FakeLambda(self.queues)
        clients = {"sqs": self.queues, "lambda": self.relay, "dynamodbstreams": FakeStreams()}
        outputs = {"PaymentEventsQueueUrl": PAYMENTS, "ExpiryQueueUrl": EXPIRIES, "OrderRelayFunctionName": "relay"}
        outputs |= {f"{name}DeadLetterQueueUrl": url for name, url in DEAD_LETTERS.items()}
        self.dead_letter_queues = redrive.DeadLetterQueues(Stack(outputs, clients.__getitem__))

    def redrive(self, name, *bodies):
        """Redrives a queue with these messages. Returns the printed lines and the messages left in the queue."""
        for body in bodies:
            self.queues.put(DEAD_LETTERS[name], body, sent=1)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            self.dead_letter_queues.redrive(name)
        return printed.getvalue().splitlines(), self.queues.bodies(DEAD_LETTERS[name])

    def test_messages_of_any_form_return_to_their_queue(self):
        bodies = [f"no JSON {number}" for number in range(25)]
        self.assertEqual(self.redrive("PaymentEvents", *bodies), (["PaymentEvents: 25 moved back, 0 kept"], []))
        self.assertEqual(self.queues.bodies(PAYMENTS), bodies)

    def test_expiry_of_the_scheduler_is_unwrapped(self):
        expiry = '{"orderId":"1","expiresAt":"2026-11-23T09:25:30.123Z"}'
        request = {"QueueUrl": EXPIRIES, "MessageBody": expiry}
        bodies = [expiry, json.dumps(request), json.dumps({**request, "MessageBody": json.loads(expiry)}), "no JSON"]
        self.redrive("Expiry", *bodies)
        *expiries, other = self.queues.bodies(EXPIRIES)
        self.assertEqual([json.loads(body) for body in expiries], [json.loads(expiry)] * 3)
        self.assertEqual(other, "no JSON")

    def test_event_with_a_field_of_the_scheduler_returns_as_it_is(self):
        event = json.dumps({"detail": {}, "MessageBody": "text"})
        self.redrive("PaymentEvents", event)
        self.assertEqual(self.queues.bodies(PAYMENTS), [event])

    def test_record_rejected_again_is_reported_as_kept(self):
        printed, left = self.redrive("OrderRelay", '{"a": 1}', '{"poison": 1}', '{"a": 2}')
        self.assertEqual((printed, left), (["OrderRelay: 2 moved back, 1 kept"], ['{"poison":1}']))

    def test_record_rejected_again_is_delivered_once_whatever_the_clock_says(self):
        self.queues.clock = lambda: 1  # of SQS; the operator's clock is ahead
        printed, left = self.redrive("OrderRelay", '{"poison": 1, "a": 2}')
        self.assertEqual((printed, left), (["OrderRelay: 0 moved back, 1 kept"], ['{"poison":1,"a":2}']))
        self.assertEqual(len(self.relay.accepted), 1)

    def test_message_without_a_record_is_kept(self):
        printed, left = self.redrive("OrderRelay", "no JSON", '["no record"]')
        self.assertEqual(printed[0], "  kept: not a stream record: no JSON")
        self.assertEqual((printed[-1], left), ("OrderRelay: 0 moved back, 2 kept", ["no JSON", '["no record"]']))

    def test_record_of_a_failing_relay_is_kept_visible(self):
        _, left = self.redrive("OrderRelay", '{"fails": 1}')
        self.assertEqual(left, ['{"fails": 1}'])
        self.assertFalse(self.queues.messages[DEAD_LETTERS["OrderRelay"]][0]["hidden"])

    def test_records_dead_lettered_by_lambda_are_read_from_the_stream(self):
        printed, left = self.redrive("OrderRelay", self.pointer(3, 7))
        self.assertEqual((printed, left), (["OrderRelay: 5 moved back, 0 kept"], []))
        self.assertEqual([record["dynamodb"]["SequenceNumber"] for record in self.relay.accepted], list("34567"))
        self.assertEqual(
            self.relay.accepted[0],
            {
                "eventName": "INSERT",
                "eventSourceARN": STREAM,
                "dynamodb": {
                    "ApproximateCreationDateTime": 1_700_000_000,
                    "SequenceNumber": "3",
                    "NewImage": {"data": {"B": base64.b64encode(b"\x00\x01").decode()}},
                },
            },
        )

    def test_message_is_kept_if_the_stream_has_dropped_its_records(self):
        printed, left = self.redrive("OrderRelay", self.pointer(0, 1))
        self.assertEqual((printed[-1], left), ("OrderRelay: 0 moved back, 1 kept", [self.pointer(0, 1)]))

    def pointer(self, first, last):
        return json.dumps(
            {
                "DDBStreamBatchInfo": {
                    "streamArn": STREAM,
                    "shardId": "shard",
                    "startSequenceNumber": str(first),
                    "endSequenceNumber": str(last),
                }
            }
        )


if __name__ == "__main__":
    unittest.main()

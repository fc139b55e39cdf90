"""What goes back from the dead-letter queues, and what is said of it."""

import base64
import contextlib
import datetime
import io
import json
import time
import unittest
from unittest import mock

import redrive

STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/1"
DEAD_LETTERS = {name: f"https://queues/{name}-dead" for name in ("PaymentEvents", "OrderRelay")}
PAYMENTS = "https://queues/payments"


class Queues:
    """A fake of SQS that answers every second look with nothing."""

    def __init__(self):
        self.waiting, self.numbers, self.looks = {}, iter(range(1000)), 0

    def put(self, url, body, sent=None):
        number = str(next(self.numbers))
        self.waiting.setdefault(url, []).append({
            "MessageId": number, "ReceiptHandle": number, "Body": body, "hidden": False,
            "Attributes": {"SentTimestamp": str(int((sent or time.time() + 1) * 1000))}})

    def bodies(self, url):
        return [message["Body"] for message in self.waiting.get(url, [])]

    def send_message(self, QueueUrl, MessageBody):
        self.put(QueueUrl, MessageBody)

    def receive_message(self, QueueUrl, MaxNumberOfMessages, **_):
        self.looks += 1
        if self.looks % 2:
            return {}
        found = [message for message in self.waiting.get(QueueUrl, []) if not message["hidden"]][:MaxNumberOfMessages]
        for message in found:
            message["hidden"] = True
        return {"Messages": found}

    def delete_message(self, QueueUrl, ReceiptHandle):
        self.waiting[QueueUrl] = [it for it in self.waiting[QueueUrl] if it["ReceiptHandle"] != ReceiptHandle]

    def change_message_visibility(self, QueueUrl, ReceiptHandle, VisibilityTimeout):
        for message in self.waiting[QueueUrl]:
            message["hidden"] &= message["ReceiptHandle"] != ReceiptHandle


class Relay:
    """A fake of Lambda: a relay that fails, buries what is poison, and takes the rest."""

    def __init__(self, queues):
        self.queues, self.taken = queues, []

    def invoke(self, FunctionName, Payload):
        [record] = json.loads(Payload)["Records"]
        if record.get("fails"):
            failures = [{"itemIdentifier": "1"}]
        else:
            failures = []
            self.taken.append(record)
        if record.get("poison"):
            self.queues.put(DEAD_LETTERS["OrderRelay"], json.dumps(record, separators=(",", ":")))
        return {"Payload": io.BytesIO(json.dumps({"batchItemFailures": failures}).encode())}


class Streams:
    """A fake of a stream with a record for each number up to 9, two in a page after an empty one."""

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
        return {"eventName": "INSERT", "dynamodb": {
            "ApproximateCreationDateTime": at, "SequenceNumber": str(number), "NewImage": {"it": {"B": b"\x00\x01"}}}}


class Redrive(unittest.TestCase):
    def setUp(self):
        self.queues = Queues()
        self.relay = Relay(self.queues)
        clients = {"sqs": self.queues, "lambda": self.relay, "dynamodbstreams": Streams()}
        outputs = {"PaymentEventsQueueUrl": PAYMENTS, "OrderRelayFunctionName": "relay"}
        outputs |= {f"{name}DeadLetterQueueUrl": url for name, url in DEAD_LETTERS.items()}
        with mock.patch.object(redrive.boto3, "client", lambda service, **_: clients[service]):
            self.stack = redrive.Stack({"outputs": outputs, "region": "us-east-1", "endpointUrl": None})

    def redrive(self, name, *bodies):
        """What is said, and what is in the dead-letter queue then, of these that were in it."""
        for body in bodies:
            self.queues.put(DEAD_LETTERS[name], body, sent=1)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            self.stack.redrive(name)
        return said.getvalue().splitlines(), self.queues.bodies(DEAD_LETTERS[name])

    def test_messages_go_back_to_their_queue_whatever_they_are(self):
        bodies = [f"no JSON {number}" for number in range(25)]
        self.assertEqual(self.redrive("PaymentEvents", *bodies), (["PaymentEvents: 25 moved back, 0 kept"], []))
        self.assertEqual(self.queues.bodies(PAYMENTS), bodies)

    def test_a_record_that_is_still_poison_is_told_as_kept(self):
        said, left = self.redrive("OrderRelay", '{"a": 1}', '{"poison": 1}', '{"a": 2}')
        self.assertEqual((said, left), (["OrderRelay: 2 moved back, 1 kept"], ['{"poison":1}']))

    def test_what_is_no_record_is_kept(self):
        said, left = self.redrive("OrderRelay", "no JSON", '["no record"]')
        self.assertEqual(said[0], "  kept: no record, but no JSON")
        self.assertEqual((said[-1], left), ("OrderRelay: 0 moved back, 2 kept", ["no JSON", '["no record"]']))

    def test_a_record_that_the_relay_fails_at_is_kept_where_others_find_it(self):
        _, left = self.redrive("OrderRelay", '{"fails": 1}')
        self.assertEqual(left, ['{"fails": 1}'])
        self.assertFalse(self.queues.waiting[DEAD_LETTERS["OrderRelay"]][0]["hidden"])

    def test_records_that_lambda_gave_up_are_read_from_the_stream(self):
        said, left = self.redrive("OrderRelay", self.pointer(3, 7))
        self.assertEqual((said, left), (["OrderRelay: 5 moved back, 0 kept"], []))
        self.assertEqual([record["dynamodb"]["SequenceNumber"] for record in self.relay.taken], list("34567"))
        self.assertEqual(self.relay.taken[0], {
            "eventName": "INSERT", "eventSourceARN": STREAM, "dynamodb": {
                "ApproximateCreationDateTime": 1_700_000_000, "SequenceNumber": "3",
                "NewImage": {"it": {"B": base64.b64encode(b"\x00\x01").decode()}}}})

    def test_records_that_are_no_longer_in_the_stream_are_kept(self):
        said, left = self.redrive("OrderRelay", self.pointer(0, 1))
        self.assertEqual((said[-1], left), ("OrderRelay: 0 moved back, 1 kept", [self.pointer(0, 1)]))

    def pointer(self, first, last):
        return json.dumps({"DDBStreamBatchInfo": {
            "streamArn": STREAM, "shardId": "shard", "startSequenceNumber": str(first), "endSequenceNumber": str(last)}})


if __name__ == "__main__":
    unittest.main()

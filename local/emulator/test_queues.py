"""Tests of the limits of queues, and of the order in which functions receive messages."""

import io
import tempfile
import time
import unittest
import uuid
import zipfile

from botocore.exceptions import ClientError

from emulator_testing import ACCOUNT, Emulator, EmulatorTest, eventually, message_bodies

HALF_A_DAY = 12 * 60 * 60
MESSAGES = 40
# Sends the bodies of a batch to a queue, as one message.
HANDLER = """
import urllib.parse, urllib.request

def handler(event, context):
    bodies = " ".join(record["body"] for record in event["Records"])
    form = urllib.parse.urlencode({"Action": "SendMessage", "QueueUrl": "HANDLED", "MessageBody": bodies})
    urllib.request.urlopen(urllib.request.Request("ENDPOINT", form.encode(), {
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request"}))
"""


class Limits(unittest.TestCase):
    """Limits with the fix and without it; the tests share both emulators."""

    @classmethod
    def setUpClass(cls):
        folders = [cls.enterClassContext(tempfile.TemporaryDirectory()) for _ in range(2)]
        cls.strict = cls.enterClassContext(Emulator(folders[0]))
        cls.lenient = cls.enterClassContext(Emulator(folders[1], "queue_limits"))

    def compare(self, probe, strict, lenient):
        self.assertEqual(probe(self.strict), strict)
        self.assertEqual(probe(self.lenient), lenient)

    def test_visibility_timeout_ends_12_hours_after_the_receive(self):
        def probe(emulator):
            sqs, queue = create_queue(emulator)
            handle = sqs.receive_message(QueueUrl=queue)["Messages"][0]["ReceiptHandle"]
            time.sleep(1)
            message = {"QueueUrl": queue, "ReceiptHandle": handle}
            return [
                refusal(sqs.change_message_visibility, **message, VisibilityTimeout=HALF_A_DAY),
                refusal(sqs.change_message_visibility, **message, VisibilityTimeout=HALF_A_DAY + 1),
                refusal(sqs.change_message_visibility, **message, VisibilityTimeout=HALF_A_DAY - 60),
                batch_refusals(sqs, queue, handle, HALF_A_DAY, HALF_A_DAY - 60),
            ]

        invalid = "InvalidParameterValue"
        refused = [invalid, invalid, None, [invalid]]
        self.compare(probe, refused, [None, None, None, []])

    def test_visible_message_has_no_visibility_timeout(self):
        def probe(emulator):
            sqs, queue = create_queue(emulator)
            handle = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0)["Messages"][0]["ReceiptHandle"]
            change = {"QueueUrl": queue, "ReceiptHandle": handle, "VisibilityTimeout": 10}
            return refusal(sqs.change_message_visibility, **change)

        self.compare(probe, "InvalidParameterValue", None)

    def test_delays_and_waits_have_a_maximum(self):
        def probe(emulator):
            sqs, queue = create_queue(emulator)
            entries = [{"Id": str(delay), "MessageBody": "x", "DelaySeconds": delay} for delay in (900, 901)]
            sent = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
            return [
                refusal(sqs.send_message, QueueUrl=queue, MessageBody="x", DelaySeconds=900),
                refusal(sqs.send_message, QueueUrl=queue, MessageBody="x", DelaySeconds=901),
                [(fault["Id"], fault["Code"]) for fault in sent.get("Failed", [])],
                refusal(sqs.receive_message, QueueUrl=queue, WaitTimeSeconds=21),
                refusal(sqs.receive_message, QueueUrl=queue, VisibilityTimeout=HALF_A_DAY + 1),
            ]

        invalid = "InvalidParameterValue"
        refused = [None, invalid, [("901", invalid)], invalid, invalid]
        self.compare(probe, refused, [None, None, [], None, None])

    def test_message_and_batch_have_at_most_one_mebibyte(self):
        def probe(emulator):
            sqs, queue = create_queue(emulator)
            halves = [{"Id": str(number), "MessageBody": "x" * 2**19} for number in range(3)]
            return [
                refusal(sqs.send_message, QueueUrl=queue, MessageBody="x" * 2**20),
                refusal(sqs.send_message, QueueUrl=queue, MessageBody="x" * (2**20 + 1)),
                refusal(sqs.send_message_batch, QueueUrl=queue, Entries=halves),
            ]

        too_long = "AWS.SimpleQueueService.BatchRequestTooLong"
        limits = [None, "InvalidParameterValue", too_long]
        self.compare(probe, limits, limits)

    def test_batch_has_at_most_10_messages(self):
        def probe(emulator):
            sqs, queue = create_queue(emulator)
            entries = [{"Id": str(number), "MessageBody": "x"} for number in range(11)]
            return refusal(sqs.send_message_batch, QueueUrl=queue, Entries=entries)

        too_many = "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"
        self.compare(probe, too_many, too_many)


class Order(EmulatorTest):
    def test_function_receives_messages_in_any_order(self):
        def probe(emulator):
            sqs, queue = emulator.client("sqs"), emulator.client("sqs").create_queue(QueueName="test")["QueueUrl"]
            for first in range(0, MESSAGES, 10):
                numbers = range(first, first + 10)
                entries = [{"Id": str(number), "MessageBody": f"{number:02}"} for number in numbers]
                sqs.send_message_batch(QueueUrl=queue, Entries=entries)
            batches = handled(emulator, sqs)
            return [sorted(" ".join(batches).split()) == numbers_as_text(), batches == in_order()]

        self.check(probe, {"": [True, False], "delivery_order": [True, True]})


def handled(emulator, sqs):
    """Creates a function on the queue. Returns its batches, sorted."""
    handled_url = sqs.create_queue(QueueName="handled")["QueueUrl"]
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("index.py", HANDLER.replace("HANDLED", handled_url).replace("ENDPOINT", emulator.url))
    functions = emulator.client("lambda")
    functions.create_function(
        FunctionName="test",
        Runtime="python3.12",
        Handler="index.handler",
        Role=f"arn:aws:iam::{ACCOUNT}:role/test",
        Code={"ZipFile": package.getvalue()},
    )
    source = f"arn:aws:sqs:us-east-1:{ACCOUNT}:test"
    functions.create_event_source_mapping(FunctionName="test", EventSourceArn=source, BatchSize=10)
    found = set()
    eventually(lambda: len(" ".join(found.union(message_bodies(sqs, handled_url))).split()) == MESSAGES)
    return sorted(message_bodies(sqs, handled_url))


def numbers_as_text():
    return [f"{number:02}" for number in range(MESSAGES)]


def in_order():
    numbers = numbers_as_text()
    return [" ".join(numbers[first : first + 10]) for first in range(0, MESSAGES, 10)]


def create_queue(emulator):
    """Creates a queue with a message. Returns SQS and the URL of the queue."""
    sqs = emulator.client("sqs")
    url = sqs.create_queue(QueueName=f"test-{uuid.uuid4()}")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    return sqs, url


def batch_refusals(sqs, queue, handle, *timeouts):
    """Sends the changes as one batch. Returns the codes of the refused ones."""
    entries = [
        {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": timeout}
        for number, timeout in enumerate(timeouts)
    ]
    result = sqs.change_message_visibility_batch(QueueUrl=queue, Entries=entries)
    return [fault["Code"] for fault in result.get("Failed", [])]


def refusal(call, **request):
    """Returns the error code of a call; `None` if it succeeds."""
    try:
        call(**request)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


if __name__ == "__main__":
    unittest.main()

"""Tests of the stream delivery to functions."""

import io
import itertools
import json
import random
import time
import unittest
import zipfile

from emulator_testing import (
    ACCOUNT,
    Emulator,
    EmulatorTest,
    create_table,
    eventually,
    message_bodies,
    message_count,
    put_items,
)

CRASHES = 6
# Sends each record's key to a queue, and reports the record with key 3 as failed. Crashes at the key CRASH.
HANDLER = """
import json, urllib.parse, urllib.request

def handler(event, context):
    for record in event["Records"]:
        row = record["dynamodb"]["NewImage"]["id"]["N"]
        if row == "CRASH":
            raise ValueError(row)
        if row == "3":
            return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
        form = urllib.parse.urlencode({"Action": "SendMessage", "QueueUrl": "HANDLED", "MessageBody": row})
        urllib.request.urlopen(urllib.request.Request("ENDPOINT", form.encode(), {
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request"}))
    return {"batchItemFailures": []}
"""


class Delivery(EmulatorTest):
    def test_partial_failure_moves_the_checkpoint_and_ends_in_the_failure_destination(self):
        self.check(delivers_correctly, {"": True, "stream_mapping": False})

    def test_batch_of_a_crashing_function_is_halved_until_one_record_is_left(self):
        with Emulator(self.folder()) as emulator:
            sqs, handled, failed = create_relay(emulator, range(10, 15), crash="12", BisectBatchOnFunctionError=True)
            eventually(lambda: message_bodies(sqs, handled) == {"10", "11", "13", "14"})
            (letter,) = message_bodies(sqs, failed)
            self.assertEqual(json.loads(letter)["DDBStreamBatchInfo"]["batchSize"], 1)

    def test_function_receives_all_records_across_crashes(self):
        folder, numbers, port = self.folder(), iter(range(10, 1000)), None
        for crash in range(CRASHES):
            with Emulator(folder, port=port) as emulator:
                port = emulator.port
                if crash == 0:
                    sqs, handled, _ = create_relay(emulator, numbers=())
                put = list(itertools.islice(numbers, 10))
                put_items(emulator.client("dynamodb"), "rows", put)
                time.sleep(random.uniform(0, 0.5))
                emulator.crash()
        expected = set(map(str, range(10, put[-1] + 1)))
        with Emulator(folder, port=port):
            eventually(lambda: message_bodies(sqs, handled) == expected)


def delivers_correctly(emulator):
    """Puts ten items; the function always fails on the fourth.

    Returns whether the items before the failure and the next batch are handled once, and the rest of the
    failed batch goes to the failure destination.
    """
    sqs, handled, failed = create_relay(emulator, numbers=range(10))
    try:
        eventually(lambda: message_count(sqs, failed) and message_count(sqs, handled) >= 5, seconds=15)
    except AssertionError:
        return False
    return (message_count(sqs, failed), message_count(sqs, handled)) == (1, 5)


def create_relay(emulator, numbers, crash="none", **settings):
    """Creates a table with these keys and a function on its stream. Returns SQS and two queue URLs: for
    handled keys and for failures."""
    sqs = emulator.client("sqs")
    handled, failed = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("handled", "failed"))
    code = HANDLER.replace("HANDLED", handled).replace("ENDPOINT", emulator.url).replace("CRASH", crash)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("index.py", code)
    stream = create_table(emulator.client("dynamodb"), "rows")
    functions = emulator.client("lambda")
    functions.create_function(
        FunctionName="relay",
        Runtime="python3.12",
        Handler="index.handler",
        Role=f"arn:aws:iam::{ACCOUNT}:role/r",
        Code={"ZipFile": archive.getvalue()},
    )
    put_items(emulator.client("dynamodb"), "rows", numbers)
    functions.create_event_source_mapping(
        FunctionName="relay",
        EventSourceArn=stream,
        StartingPosition="TRIM_HORIZON",
        BatchSize=5,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": f"arn:aws:sqs:us-east-1:{ACCOUNT}:failed"}},
        **settings,
    )
    return sqs, handled, failed


if __name__ == "__main__":
    unittest.main()

"""Tests of the journal: crashes at any moment."""

import itertools
import random
import tempfile
import threading
import time
import unittest
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from emulator_testing import Emulator, EmulatorTest, create_table, message_bodies, put_items
from sam_template import TEMPLATE, deploy

CRASHES = 6
TABLES = ("left", "right")


class AcknowledgedWrites(EmulatorTest):
    """Moves numbers from a queue into two tables while the emulator crashes repeatedly."""

    def setUp(self):
        self.sent, self.moved = set(), set()

    def test_acknowledged_writes_survive_crashes(self):
        self.assertTrue(self.survives_crashes(without=""))

    def test_acknowledged_writes_are_lost_without_the_fix(self):
        self.assertFalse(self.survives_crashes(without="journal"))

    def survives_crashes(self, without):
        """Returns whether no acknowledged write is lost and the tables agree with the queue."""
        folder, port = self.folder(), None
        for crash in range(CRASHES):
            with Emulator(folder, without, port) as emulator:
                port = emulator.port
                try:
                    queue = create_resources(emulator) if crash == 0 else find_queue(emulator)
                    if not self.is_consistent(emulator, queue):
                        return False
                except ClientError:
                    return False
                work = threading.Thread(target=self.move_numbers, args=(emulator, queue))
                work.start()
                time.sleep(random.uniform(0.3, 0.8))
                emulator.crash()
                work.join()
        self.assertGreater(len(self.moved), CRASHES)
        return True

    def move_numbers(self, emulator, queue):
        """Runs until the emulator stops responding."""
        sqs, dynamodb = emulator.client("sqs"), emulator.client("dynamodb")
        try:
            for number in itertools.count(max(self.sent, default=0) + 1):
                sqs.send_message(QueueUrl=queue, MessageBody=str(number))
                self.sent.add(number)
                message = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0)["Messages"][0]
                item = {"id": {"N": message["Body"]}}
                dynamodb.transact_write_items(
                    TransactItems=[{"Put": {"TableName": name, "Item": item}} for name in TABLES]
                )
                self.moved.add(int(message["Body"]))
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        except BotoCoreError:
            pass

    def is_consistent(self, emulator, queue):
        """Returns whether each sent number is queued or moved, and each moved number is in both tables."""
        left, right = (table_numbers(emulator, name) for name in TABLES)
        queued = set(map(int, message_bodies(emulator.client("sqs"), queue)))
        return left == right and self.moved <= left and self.sent <= left | queued


class DeploymentCrash(EmulatorTest):
    template = TEMPLATE + "  Bus: { Type: AWS::Events::EventBus, Properties: { Name: test } }\n"

    def deployment_seconds(self):
        with Emulator(self.folder()) as emulator:
            began = time.monotonic()
            deploy(emulator, self.template)
            return time.monotonic() - began

    def test_deployment_is_complete_or_absent_after_a_crash(self):
        seconds = self.deployment_seconds()
        for crash in range(CRASHES):
            folder = self.folder()
            with self.subTest(crash=crash):
                with Emulator(folder) as emulator:
                    emulator.client("cloudformation").create_stack(
                        StackName="test", TemplateBody=self.template, Capabilities=["CAPABILITY_IAM"]
                    )
                    time.sleep(seconds * crash / CRASHES)
                    emulator.crash()
                with Emulator(folder) as emulator:
                    stacks = emulator.client("cloudformation").describe_stacks()["Stacks"]
                    if stacks:
                        self.assertEqual(stacks[0]["StackStatus"], "CREATE_COMPLETE")
                    else:
                        deploy(emulator, self.template)

    def test_change_set_is_absent_after_a_crash(self):
        folder = self.folder()
        for _ in range(2):
            with Emulator(folder) as emulator:
                emulator.client("cloudformation").create_change_set(
                    StackName="test", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=TEMPLATE
                )
                emulator.crash()


class StreamCrash(EmulatorTest):
    def test_stream_records_survive_a_crash(self):
        folder = self.folder()
        with Emulator(folder) as emulator:
            create_table(emulator.client("dynamodb"), "rows")
            put_items(emulator.client("dynamodb"), "rows", range(3))
            emulator.crash()
        with Emulator(folder) as emulator:
            put_items(emulator.client("dynamodb"), "rows", range(3, 5))
            self.assertEqual(stream_numbers(emulator, "rows"), list("01234"))


class JournalFormat(unittest.TestCase):
    def test_truncated_file_yields_complete_changes_only(self):
        from journal_file import JournalFile

        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "journal"
        writer = JournalFile(path)
        writer.compact(bool)
        self.addCleanup(writer.close)
        states = [{}]
        for change in ({"a": "1", "b": "1"}, {"a": "2", "b": ""}, {"a": "", "b": "3", "c": "3"}):
            writer.write(change)
            states.append(dict(writer.rows))
        content, found = path.read_bytes(), []
        for size in range(len(content) + 1):
            path.write_bytes(content[:size])
            reader = JournalFile(path)
            reader.read()
            if reader.rows not in found:
                found.append(reader.rows)
        self.assertEqual(found, states)


def create_resources(emulator):
    for name in TABLES:
        create_table(emulator.client("dynamodb"), name)
    return emulator.client("sqs").create_queue(QueueName="numbers")["QueueUrl"]


def find_queue(emulator):
    return emulator.client("sqs").get_queue_url(QueueName="numbers")["QueueUrl"]


def table_numbers(emulator, table):
    pages = emulator.client("dynamodb").get_paginator("scan").paginate(TableName=table)
    return {int(item["id"]["N"]) for page in pages for item in page["Items"]}


def stream_numbers(emulator, table):
    """Returns the keys in the records of a table's stream."""
    streams = emulator.client("dynamodbstreams")
    stream = emulator.client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
    shard = streams.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"][0]["ShardId"]
    start = streams.get_shard_iterator(StreamArn=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    records = streams.get_records(ShardIterator=start["ShardIterator"])["Records"]
    return [record["dynamodb"]["Keys"]["id"]["N"] for record in records]


if __name__ == "__main__":
    unittest.main()

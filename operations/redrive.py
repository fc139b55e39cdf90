"""What is in the dead-letter queues of a deployed stack, and a way back for it.

    redrive.py                lists every dead-letter queue with its count and a sample
    redrive.py QUEUE...       moves the messages of these (names as listed) back to where they came from

A message goes back to the queue that gave it up. A record of the orders table's stream has no queue:
it goes to the relay again, and leaves the dead-letter queue once the relay has taken it. If it was Lambda
that gave records up, the message only says where they are in the stream, which keeps them for a day; they
are read from there. The stack is
the one that ORDERS_STACK_FILE describes (default: local/stack.json, as `make run` writes it); with
"endpointUrl": null it is in the account of the current AWS credentials.
"""

import base64
import datetime
import json
import os
import sys
import time
from pathlib import Path

import boto3

ROOT = Path(__file__).resolve().parent.parent
SUFFIX = "DeadLetterQueueUrl"
RELAY = "OrderRelay"
SAMPLE_CHARACTERS = 300
LOOKS = 3


class Stack:
    """A deployed stack, by its outputs."""

    def __init__(self, description):
        self.outputs = description["outputs"]
        settings = {"region_name": description["region"]}
        if description["endpointUrl"]:
            settings.update(
                endpoint_url=description["endpointUrl"], aws_access_key_id="test", aws_secret_access_key="test")
        self.sqs = boto3.client("sqs", **settings)
        self.functions = boto3.client("lambda", **settings)
        self.streams = boto3.client("dynamodbstreams", **settings)

    def names(self):
        """What has a dead-letter queue."""
        return sorted(output.removesuffix(SUFFIX) for output in self.outputs if output.endswith(SUFFIX))

    def list(self):
        for name in self.names():
            print(f"{name}: {self._count(name)}")
            for message in self._receive(name, 1, visibility_seconds=0):
                print(f"  {message['Body'][:SAMPLE_CHARACTERS]}")

    def redrive(self, name):
        """Moves back what is there now; each is deleted here only once it is safe there. What the relay still
        cannot understand it puts here again."""
        began_ms, sent, kept, bad = time.time() * 1000, [], [], []
        for message in self._messages(name):
            body = message["Body"]
            if float(message["Attributes"]["SentTimestamp"]) >= began_ms:
                bad += [message] if _as_json(body) in sent else []
                kept.append(message)
            elif (moved := self._send_back(name, body)) is None:
                kept.append(message)
            else:
                sent += moved
                self.sqs.delete_message(
                    QueueUrl=self.outputs[f"{name}{SUFFIX}"], ReceiptHandle=message["ReceiptHandle"])
        for message in kept:
            self.sqs.change_message_visibility(
                QueueUrl=self.outputs[f"{name}{SUFFIX}"], ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
        print(f"{name}: {len(sent) - len(bad)} moved back, {len(kept)} kept")

    def _messages(self, name):
        """Each message once. One look may find nothing while there is something."""
        seen, looks = set(), LOOKS
        while looks:
            messages = [
                message for message in self._receive(name, 10, visibility_seconds=600)
                if message["MessageId"] not in seen]
            seen |= {message["MessageId"] for message in messages}
            looks = LOOKS if messages else looks - 1
            yield from messages

    def _send_back(self, name, body):
        """What has been sent; nothing if it must be kept."""
        if name != RELAY:
            self.sqs.send_message(QueueUrl=self.outputs[f"{name}QueueUrl"], MessageBody=body)
            return [_as_json(body)]
        record = _as_json(body)
        if not isinstance(record, dict):
            return _keep(f"no record, but {body[:SAMPLE_CHARACTERS]}")
        where = record.get("DDBStreamBatchInfo")
        try:
            records = list(self._read(where)) if where else [record]
        except (self.streams.exceptions.TrimmedDataAccessException, self.streams.exceptions.ResourceNotFoundException):
            records = []
        if not records:
            return _keep(f"its records are no longer in the stream: {json.dumps(where)}")
        # One by one, for there is a limit to what a function takes at once.
        if all(self._takes(name, record) for record in records):
            return records
        return _keep(f"the relay fails; its log says why: {body[:SAMPLE_CHARACTERS]}")

    def _takes(self, name, record):
        answer = self.functions.invoke(
            FunctionName=self.outputs[f"{name}FunctionName"], Payload=json.dumps({"Records": [record]}))
        result = json.loads(answer["Payload"].read() or b"null")
        return "FunctionError" not in answer and not result["batchItemFailures"]

    def _read(self, where):
        """The records of a batch, as Lambda would have handed them over."""
        last = int(where["endSequenceNumber"])
        iterator = self.streams.get_shard_iterator(
            StreamArn=where["streamArn"], ShardId=where["shardId"], ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=where["startSequenceNumber"])["ShardIterator"]
        while iterator:
            page = self.streams.get_records(ShardIterator=iterator)
            for record in page["Records"]:
                if int(record["dynamodb"]["SequenceNumber"]) <= last:
                    yield json.loads(json.dumps({**record, "eventSourceARN": where["streamArn"]}, default=_as_event))
                if int(record["dynamodb"]["SequenceNumber"]) >= last:
                    return
            iterator = page.get("NextShardIterator")

    def _count(self, name):
        wanted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = self.outputs[f"{name}{SUFFIX}"]
        counts = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
        return sum(map(int, counts.values()))

    def _receive(self, name, count, visibility_seconds):
        return self.sqs.receive_message(
            QueueUrl=self.outputs[f"{name}{SUFFIX}"], MaxNumberOfMessages=count,
            VisibilityTimeout=visibility_seconds, WaitTimeSeconds=1, MessageSystemAttributeNames=["SentTimestamp"],
        ).get("Messages", [])


def _as_json(body):
    """The message's JSON; if it is none, its text."""
    try:
        return json.loads(body)
    except ValueError:
        return body


def _as_event(value):
    """A value that JSON does not have, as it is in an event of Lambda's."""
    return value.timestamp() if isinstance(value, datetime.datetime) else base64.b64encode(value).decode()


def _keep(why):
    print(f"  kept: {why}")


def main(names):
    file = Path(os.environ.get("ORDERS_STACK_FILE", ROOT / "local/stack.json"))
    if not file.exists():
        sys.exit(f"{file} is not there. Start a stack (make run), or name one's description in ORDERS_STACK_FILE.")
    stack = Stack(json.loads(file.read_text()))
    unknown = set(names) - set(stack.names())
    if unknown:
        sys.exit(f"There is no {', '.join(sorted(unknown))}. There are: {', '.join(stack.names())}.")
    for name in names:
        stack.redrive(name)
    if not names:
        stack.list()


if __name__ == "__main__":
    main(sys.argv[1:])

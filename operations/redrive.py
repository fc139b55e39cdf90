"""Lists the dead-letter queues of a deployed stack, and moves their messages back.

    redrive.py                lists each dead-letter queue with its message count and a sample
    redrive.py NAME...        moves the messages of these queues (names as listed) back

A message returns to its source queue. A stream record has no source queue: `redrive.py` invokes the
relay with it, and deletes it from the dead-letter queue after the relay has succeeded. A message written
by Lambda holds only the position of the records in the stream; they are read from the stream, which
keeps them for a day.

ORDERS_STACK_FILE names the description of the stack (default: local/stack.json, written by `make run`).
With "endpointUrl": null, the stack is in the account of the current AWS credentials.
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
# SQS may return no message although the queue has some: this many empty responses end the search.
EMPTY_RECEIVES = 3
VISIBILITY_SECONDS = 600


class DeadLetterQueues:
    """The dead-letter queues of a deployed stack, found by the outputs of its template."""

    def __init__(self, description):
        self.outputs = description["outputs"]
        settings = {"region_name": description["region"]}
        if description["endpointUrl"]:
            settings.update(
                endpoint_url=description["endpointUrl"], aws_access_key_id="test", aws_secret_access_key="test"
            )
        self.sqs = boto3.client("sqs", **settings)
        self.functions = boto3.client("lambda", **settings)
        self.streams = boto3.client("dynamodbstreams", **settings)

    def names(self):
        """Returns the names of the queues."""
        return sorted(output.removesuffix(SUFFIX) for output in self.outputs if output.endswith(SUFFIX))

    def list(self):
        """Prints each queue with its message count and a sample."""
        for name in self.names():
            print(f"{name}: {self._count(name)}")
            for message in self._receive(name, 1, visibility_seconds=0):
                print(f"  {message['Body'][:SAMPLE_CHARACTERS]}")

    def redrive(self, name):
        """Moves the present messages back. Deletes each only after its delivery.

        Records that the relay rejects again return to this queue during the run; they count as kept.
        """
        started_ms, delivered, kept, rejected = time.time() * 1000, [], [], 0
        for message in self._messages(name):
            body = message["Body"]
            if float(message["Attributes"]["SentTimestamp"]) >= started_ms:
                rejected += _parse(body) in delivered
                kept.append(message)
            elif (records := self._deliver(name, body)) is None:
                kept.append(message)
            else:
                delivered += records
                self.sqs.delete_message(QueueUrl=self._url(name), ReceiptHandle=message["ReceiptHandle"])
        for message in kept:
            self.sqs.change_message_visibility(
                QueueUrl=self._url(name), ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        print(f"{name}: {len(delivered) - rejected} moved back, {len(kept)} kept")

    def _messages(self, name):
        """Yields each message of the queue once."""
        seen, empty = set(), 0
        while empty < EMPTY_RECEIVES:
            messages = [
                message for message in self._receive(name, 10, VISIBILITY_SECONDS) if message["MessageId"] not in seen
            ]
            seen |= {message["MessageId"] for message in messages}
            empty = 0 if messages else empty + 1
            yield from messages

    def _deliver(self, name, body):
        """Delivers a message. Returns the delivered records; `None` if the message must be kept."""
        if name != RELAY:
            self.sqs.send_message(QueueUrl=self.outputs[f"{name}QueueUrl"], MessageBody=body)
            return [_parse(body)]
        record = _parse(body)
        if not isinstance(record, dict):
            return _keep(f"not a stream record: {body[:SAMPLE_CHARACTERS]}")
        batch = record.get("DDBStreamBatchInfo")
        records = self._read_stream(batch) if batch else [record]
        if not records:
            return _keep(f"the records are no longer in the stream: {json.dumps(batch)}")
        # One record per call: the payload of an invocation is limited.
        if all(self._relay(record) for record in records):
            return records
        return _keep(f"the relay failed, see its log: {body[:SAMPLE_CHARACTERS]}")

    def _relay(self, record):
        """Invokes the relay with a record. Returns whether it succeeded."""
        response = self.functions.invoke(
            FunctionName=self.outputs[f"{RELAY}FunctionName"], Payload=json.dumps({"Records": [record]})
        )
        result = json.loads(response["Payload"].read() or b"null")
        return "FunctionError" not in response and not result["batchItemFailures"]

    def _read_stream(self, batch):
        """Returns the records of a batch in the format of Lambda; none if the stream has dropped them."""
        errors = self.streams.exceptions
        try:
            return list(self._records(batch))
        except (errors.TrimmedDataAccessException, errors.ResourceNotFoundException):
            return []

    def _records(self, batch):
        last = int(batch["endSequenceNumber"])
        iterator = self.streams.get_shard_iterator(
            StreamArn=batch["streamArn"],
            ShardId=batch["shardId"],
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=batch["startSequenceNumber"],
        )["ShardIterator"]
        while iterator:
            page = self.streams.get_records(ShardIterator=iterator)
            for record in page["Records"]:
                number = int(record["dynamodb"]["SequenceNumber"])
                if number <= last:
                    record = {**record, "eventSourceARN": batch["streamArn"]}
                    yield json.loads(json.dumps(record, default=_lambda_value))
                if number >= last:
                    return
            iterator = page.get("NextShardIterator")

    def _url(self, name):
        return self.outputs[f"{name}{SUFFIX}"]

    def _count(self, name):
        attributes = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        response = self.sqs.get_queue_attributes(QueueUrl=self._url(name), AttributeNames=attributes)
        return sum(map(int, response["Attributes"].values()))

    def _receive(self, name, count, visibility_seconds):
        return self.sqs.receive_message(
            QueueUrl=self._url(name),
            MaxNumberOfMessages=count,
            VisibilityTimeout=visibility_seconds,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["SentTimestamp"],
        ).get("Messages", [])


def _parse(body):
    """Returns the JSON value of a message; its text if it is not JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return body


def _lambda_value(value):
    """Converts a value without a JSON form as Lambda does: times to seconds, bytes to Base64."""
    return value.timestamp() if isinstance(value, datetime.datetime) else base64.b64encode(value).decode()


def _keep(reason):
    print(f"  kept: {reason}")


def main(names):
    file = Path(os.environ.get("ORDERS_STACK_FILE", ROOT / "local/stack.json"))
    if not file.exists():
        sys.exit(f"{file} does not exist. Start a stack (make run), or set ORDERS_STACK_FILE.")
    queues = DeadLetterQueues(json.loads(file.read_text()))
    unknown = set(names) - set(queues.names())
    if unknown:
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. Known: {', '.join(queues.names())}.")
    for name in names:
        queues.redrive(name)
    if not names:
        queues.list()


if __name__ == "__main__":
    main(sys.argv[1:])

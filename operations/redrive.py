"""Lists the dead-letter queues of a stack, or moves their messages back.

A message returns to its source queue. A message of EventBridge Scheduler is unwrapped first: only the
expiry message returns. A stream record has no source queue: the relay is invoked with it, and the record is
deleted from the dead-letter queue after the relay has succeeded. A message written by Lambda holds only the
position of the records in the stream; they are read from the stream, which keeps them for a day.

Remove the cause first: an invalid message returns to the dead-letter queue. Repeats change nothing.
"""

import json
import time

import stack as stacks
from stack import FOUND, Stack, UserError

SUFFIX = "DeadLetterQueueUrl"
RELAY, EXPIRY = "OrderRelay", "Expiry"
SAMPLE_CHARACTERS = 300
# SQS may return no message although the queue has some: this many empty responses end the search.
EMPTY_RECEIVES = 3
VISIBILITY_SECONDS = 600


class DeadLetterQueues:
    """The dead-letter queues of a stack, found by the outputs of its template."""

    def __init__(self, stack):
        self.stack = stack
        self.sqs = stack.client("sqs")

    def names(self):
        """Returns the names of the queues."""
        return sorted(output.removesuffix(SUFFIX) for output in self.stack.outputs if output.endswith(SUFFIX))

    def list(self, names):
        """Prints each queue with its message count and a sample."""
        for name in names:
            print(f"{name}: {self._count(name)}")
            for message in self._receive(name, 1, visibility_seconds=0):
                print(f"  {message['Body'][:SAMPLE_CHARACTERS]}")

    def redrive(self, name):
        """Moves the present messages back. Deletes each only after its delivery. Returns the number kept.

        Records that the relay rejects again return to this queue during the run; they count as kept. Each is
        recognized by its content: the clock of this computer may be ahead of the queue's.
        """
        started_ms, delivered, kept, moved = time.time() * 1000, set(), [], 0
        for message in self._messages(name):
            body = message["Body"]
            is_rejected = _content(_parse(body)) in delivered
            if is_rejected or float(message["Attributes"]["SentTimestamp"]) >= started_ms:
                moved -= is_rejected
                kept.append(message)
            elif (records := self._deliver(name, body)) is None:
                kept.append(message)
            else:
                moved += len(records)
                delivered |= {_content(record) for record in records}
                self.sqs.delete_message(QueueUrl=self._url(name), ReceiptHandle=message["ReceiptHandle"])
        for message in kept:
            self.sqs.change_message_visibility(
                QueueUrl=self._url(name), ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        print(f"{name}: {moved} moved back, {len(kept)} kept")
        return len(kept)

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
            body = _unwrapped(body) if name == EXPIRY else body
            self.sqs.send_message(QueueUrl=self.stack.output(f"{name}QueueUrl"), MessageBody=body)
            return [_parse(body)]
        record = _parse(body)
        if not isinstance(record, dict):
            return _keep(f"not a stream record: {body[:SAMPLE_CHARACTERS]}")
        batch = record.get("DDBStreamBatchInfo")
        records = self._read_stream(batch) if batch else [record]
        if not records:
            return _keep(f"the records are no longer in the stream: {json.dumps(batch)}")
        # One record per call: the payload of an invocation is limited.
        if all(stacks.relay(self.stack, [record]) is None for record in records):
            return records
        return _keep(f"the relay failed, see its log: {body[:SAMPLE_CHARACTERS]}")

    def _read_stream(self, batch):
        """Returns the records of a batch in the format of Lambda; none if the stream has dropped them."""
        errors = self.stack.client("dynamodbstreams").exceptions
        try:
            return list(self._records(batch))
        except (errors.TrimmedDataAccessException, errors.ResourceNotFoundException):
            return []

    def _records(self, batch):
        streams, last = self.stack.client("dynamodbstreams"), int(batch["endSequenceNumber"])
        iterator = streams.get_shard_iterator(
            StreamArn=batch["streamArn"],
            ShardId=batch["shardId"],
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=batch["startSequenceNumber"],
        )["ShardIterator"]
        while iterator:
            page = streams.get_records(ShardIterator=iterator)
            for record in page["Records"]:
                number = int(record["dynamodb"]["SequenceNumber"])
                if number <= last:
                    yield stacks.as_lambda({**record, "eventSourceARN": batch["streamArn"]})
                if number >= last:
                    return
            iterator = page.get("NextShardIterator")

    def _url(self, name):
        return self.stack.output(f"{name}{SUFFIX}")

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


def _unwrapped(body):
    """Returns the message inside a dead letter of EventBridge Scheduler; any other body is returned as it is.

    Scheduler writes the request that failed: the input of a target, or the parameters of `SendMessage` with the
    input in `MessageBody` (EventBridge Scheduler user guide, "Configuring a schedule's dead-letter queue").
    """
    request = _parse(body)
    inner = request.get("MessageBody") if isinstance(request, dict) else None
    return inner if isinstance(inner, str) else json.dumps(inner) if inner is not None else body


def _parse(body):
    """Returns the JSON value of a message; its text if it is not JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return body


def _content(value):
    """Returns a text that is the same for equal JSON values."""
    return json.dumps(value, sort_keys=True)


def _keep(reason):
    print(f"  kept: {reason}")


def main(words):
    parser = stacks.arguments(__doc__)
    parser.add_argument("queues", nargs="*", metavar="QUEUE", help="name as listed; default: list all queues")
    arguments = parser.parse_args(words)
    queues = DeadLetterQueues(Stack.named(arguments.stack))
    unknown = set(arguments.queues) - set(queues.names())
    if unknown:
        raise UserError(f"Unknown: {', '.join(sorted(unknown))}. Known: {', '.join(queues.names())}.")
    if arguments.write and not arguments.queues:
        raise UserError(f"A queue is missing. Known: {', '.join(queues.names())}.")
    if arguments.write:
        return FOUND if sum(map(queues.redrive, arguments.queues)) else 0
    queues.list(arguments.queues or queues.names())
    if arguments.queues:
        stacks.dry_run("the messages of these queues would return to their source")
    return 0


if __name__ == "__main__":
    stacks.run(main)

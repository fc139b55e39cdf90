"""What is in the dead-letter queues of a deployed stack, and a way back for it.

    redrive.py                lists every dead-letter queue with its count and a sample
    redrive.py QUEUE...       moves the messages of these (names as listed) back to where they came from

A message goes back to the queue that gave it up. A record of the orders table's stream has no queue:
it goes to the relay again, and leaves the dead-letter queue once the relay has taken it. The stack is
the one that ORDERS_STACK_FILE describes (default: local/stack.json, as `make run` writes it); with
"endpointUrl": null it is in the account of the current AWS credentials.
"""

import json
import os
import sys
from pathlib import Path

import boto3

ROOT = Path(__file__).resolve().parent.parent
SUFFIX = "DeadLetterQueueUrl"
RELAY = "OrderRelay"
SAMPLE_CHARACTERS = 300


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

    def names(self):
        """What has a dead-letter queue."""
        return sorted(output.removesuffix(SUFFIX) for output in self.outputs if output.endswith(SUFFIX))

    def list(self):
        for name in self.names():
            print(f"{name}: {self._count(name)}")
            for message in self._receive(name, 1, visibility_seconds=0):
                print(f"  {message['Body'][:SAMPLE_CHARACTERS]}")

    def redrive(self, name):
        """Moves back what is there now; each is deleted here only once it is safe there. One that is
        still bad will be here again."""
        moved = kept = 0
        left = self._count(name)
        while left > 0 and (messages := self._receive(name, min(left, 10), visibility_seconds=60)):
            left -= len(messages)
            for message in messages:
                if self._send_back(name, message["Body"]):
                    url = self.outputs[f"{name}{SUFFIX}"]
                    self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                    moved += 1
                else:
                    kept += 1
        print(f"{name}: {moved} moved back, {kept} kept")

    def _send_back(self, name, body):
        if name != RELAY:
            self.sqs.send_message(QueueUrl=self.outputs[f"{name}QueueUrl"], MessageBody=body)
            return True
        if "DDBStreamBatchInfo" in body:
            print(f"  not a record, but where it was in the stream: {body[:SAMPLE_CHARACTERS]}")
            return False
        answer = self.functions.invoke(
            FunctionName=self.outputs[f"{name}FunctionName"], Payload=json.dumps({"Records": [json.loads(body)]}))
        result = json.loads(answer["Payload"].read() or b"null")
        return "FunctionError" not in answer and not result["batchItemFailures"]

    def _count(self, name):
        wanted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = self.outputs[f"{name}{SUFFIX}"]
        counts = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
        return sum(map(int, counts.values()))

    def _receive(self, name, count, visibility_seconds):
        return self.sqs.receive_message(
            QueueUrl=self.outputs[f"{name}{SUFFIX}"], MaxNumberOfMessages=count,
            VisibilityTimeout=visibility_seconds, WaitTimeSeconds=1,
        ).get("Messages", [])


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

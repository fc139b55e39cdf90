"""The event bus as seen by another service: publishes events, and receives subscribed events."""

import json
import time

import botocore.exceptions

import aws
import events

RETRY_SECONDS = 1


class Bus:
    """The event bus of a local stack."""

    def __init__(self, endpoint, name):
        self._name = name
        self._events = aws.client("events", endpoint)
        self._sqs = aws.client("sqs", endpoint)

    def put(self, source, detail_type, detail):
        """Publishes an event."""
        response = self._events.put_events(
            Entries=[
                {"EventBusName": self._name, "Source": source, "DetailType": detail_type, "Detail": json.dumps(detail)}
            ]
        )
        # PutEvents succeeds even if it rejects an entry.
        if response["FailedEntryCount"]:
            raise RuntimeError(f"PutEvents rejected {detail_type}: {response['Entries'][0]}")

    def subscribe(self, name, sources):
        """Routes all events of these sources to an SQS queue, created if missing. Returns the queue URL.

        Events wait in the queue while no receiver runs.
        """
        queue = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        pattern = json.dumps({"source": sources})
        rule = self._events.put_rule(Name=name, EventBusName=self._name, EventPattern=pattern)
        policy = json.dumps(_delivery_policy(arn, rule["RuleArn"]))
        self._sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        self._events.put_targets(Rule=name, EventBusName=self._name, Targets=[{"Id": name, "Arn": arn}])
        return queue

    def receive(self, queue, handle):
        """Passes each event to `handle`, for ever, at least once: messages are deleted after their handling."""
        while True:
            try:
                response = self._sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=20)
                messages = response.get("Messages", [])
                for message in messages:
                    handle(events.read(message["Body"]))
                if messages:
                    handled = [{"Id": it["MessageId"], "ReceiptHandle": it["ReceiptHandle"]} for it in messages]
                    self._sqs.delete_message_batch(QueueUrl=queue, Entries=handled)
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                # The emulator is down; tests crash it.
                time.sleep(RETRY_SECONDS)


def _delivery_policy(queue, rule):
    """Returns the queue policy for a rule. A queue rejects messages from any rule missing in its policy."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}

"""The event bus as seen by another service: publishes events, and receives subscribed events."""

import json
import time

import botocore.exceptions

import aws

RETRY_SECONDS = 1


class Bus:
    """The event bus of a local stack."""

    def __init__(self, endpoint, name):
        self._name = name
        self._events = aws.client("events", endpoint)
        self._sqs = aws.client("sqs", endpoint)

    def put(self, source, detail_type, detail):
        """Publishes an event."""
        response = self._events.put_events(Entries=[{
            "EventBusName": self._name, "Source": source, "DetailType": detail_type, "Detail": json.dumps(detail)}])
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
        rule = self._events.put_rule(
            Name=name, EventBusName=self._name, EventPattern=json.dumps({"source": sources}))["RuleArn"]
        # A queue rejects messages from a rule unless its policy names the rule.
        self._sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps({
            "Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage",
                "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": rule}}}]})})
        self._events.put_targets(Rule=name, EventBusName=self._name, Targets=[{"Id": name, "Arn": arn}])
        return queue

    def receive(self, queue, handle):
        """Passes each event to `handle`, for ever, at least once: a message is deleted after its handling."""
        while True:
            try:
                response = self._sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=20)
                for message in response.get("Messages", []):
                    handle(json.loads(message["Body"]))
                    self._sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                # The emulator is down; tests crash it.
                time.sleep(RETRY_SECONDS)

"""The bus, as another service sees it: it puts events on it, and hears those that it has a rule for."""

import json
import time

import boto3
import botocore.exceptions

PAUSE_SECONDS = 1


class Bus:
    """The bus of the stack with this description (`stack.json`)."""

    def __init__(self, description):
        settings = {
            "endpoint_url": description["endpointUrl"], "region_name": description["region"],
            "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self._name = description["busName"]
        self._events = boto3.client("events", **settings)
        self._sqs = boto3.client("sqs", **settings)

    def put(self, source, kind, detail):
        """Puts an event on the bus."""
        answer = self._events.put_events(Entries=[{
            "EventBusName": self._name, "Source": source, "DetailType": kind, "Detail": json.dumps(detail)}])
        # A refusal of an entry is no error of the call.
        if answer["FailedEntryCount"]:
            raise RuntimeError(f"The bus has refused {kind}: {answer['Entries'][0]}")

    def subscribe(self, name, sources):
        """Sends every event of these sources to a queue of this name, which it makes if need be. What comes
        while nobody receives waits there."""
        queue = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        wanted = self._sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        arn = wanted["Attributes"]["QueueArn"]
        rule = self._events.put_rule(
            Name=name, EventBusName=self._name, EventPattern=json.dumps({"source": sources}))["RuleArn"]
        # A queue takes nothing from a rule that its policy does not name.
        self._sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps({
            "Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage",
                "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": rule}}}]})})
        self._events.put_targets(Rule=name, EventBusName=self._name, Targets=[{"Id": name, "Arn": arn}])
        return queue

    def receive(self, queue, hear):
        """Hands every event that comes to `hear`, for ever. One leaves the queue only after that; so it may
        come again, but is never lost."""
        while True:
            try:
                answer = self._sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=20)
                for message in answer.get("Messages", []):
                    hear(json.loads(message["Body"]))
                    self._sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                # The emulator is down; a test crashes it at times.
                time.sleep(PAUSE_SECONDS)

"""Tests of resources in templates: archives of an event bus, alarms on an expression, mappings of a queue."""

import json
import time
import unittest

from botocore.exceptions import ClientError, WaiterError

from emulator_testing import ACCOUNT, EmulatorTest, eventually, message_bodies

TEMPLATE = """
Resources:
  Bus:
    Type: AWS::Events::EventBus
    Properties: { Name: test }
  Archive:
    Type: AWS::Events::Archive
    Properties:
      ArchiveName: test
      SourceArn: !GetAtt Bus.Arn
      EventPattern: { source: [orders] }
      RetentionDays: 30
"""

ALARM = """
Resources:
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Properties:
      AlarmName: test
      Metrics:
        - { Id: share, Expression: failed / received }
        - Id: failed
          ReturnData: false
          MetricStat: { Metric: { Namespace: Test, MetricName: Failed }, Period: 60, Stat: Sum }
        - Id: received
          ReturnData: false
          MetricStat: { Metric: { Namespace: Test, MetricName: Received }, Period: 60, Stat: Sum }
      EvaluationPeriods: 1
      Threshold: 0.05
      ComparisonOperator: GreaterThanThreshold
"""


MAPPING = """
Parameters:
  Concurrency: { Type: Number, Default: 50 }
Resources:
  Queue:
    Type: AWS::SQS::Queue
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement: [{ Effect: Allow, Principal: { Service: lambda.amazonaws.com }, Action: sts:AssumeRole }]
  Function:
    Type: AWS::Lambda::Function
    Properties:
      Runtime: python3.11
      Handler: index.handler
      Role: !GetAtt Role.Arn
      Code: { ZipFile: "def handler(event, context): pass" }
  Mapping:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      EventSourceArn: !GetAtt Queue.Arn
      FunctionName: !Ref Function
      ScalingConfig: { MaximumConcurrency: !Ref Concurrency }
"""


class Alarms(EmulatorTest):
    def test_alarm_on_an_expression_is_deployable(self):
        def probe(emulator):
            if not is_deployed(emulator, ALARM):
                return None
            return [alarm["AlarmName"] for alarm in emulator.client("cloudwatch").describe_alarms()["MetricAlarms"]]

        self.check(probe, {"": ["test"], "expression_alarms": None})


class Mappings(EmulatorTest):
    def test_concurrency_of_a_mapping_is_a_parameter(self):
        def probe(emulator):
            assert is_deployed(emulator, MAPPING)
            sqs = emulator.client("sqs")
            (url,) = sqs.list_queues()["QueueUrls"]
            sqs.send_message(QueueUrl=url, MessageBody="{}")
            return is_received(sqs, url)

        self.check(probe, {"": True, "mapping_numbers": False})


class Archives(EmulatorTest):
    def test_archive_of_a_template_replays_its_events(self):
        self.check(replayed, {"": ["kept"], "event_archives": None})


def replayed(emulator):
    """Deploys an archive, sends events, and replays them to a rule that did not exist before. Returns the
    replayed events; `None` if the archive cannot be deployed."""
    if not is_deployed(emulator, TEMPLATE):
        return None
    events = emulator.client("events")
    for source, name in (("orders", "kept"), ("others", "left out")):
        entry = {"EventBusName": "test", "Source": source, "DetailType": name, "Detail": "{}"}
        events.put_events(Entries=[entry])
    url = listen(emulator)
    archive = events.describe_archive(ArchiveName="test")
    assert archive["RetentionDays"] == 30, archive
    events.start_replay(
        ReplayName="test",
        EventSourceArn=archive["ArchiveArn"],
        EventStartTime=time.time() - 60,
        EventEndTime=time.time() + 60,
        Destination={"Arn": archive["EventSourceArn"]},
    )
    sqs = emulator.client("sqs")
    bodies = set()
    eventually(lambda: bodies.update(message_bodies(sqs, url)) or bodies)
    return [json.loads(body)["detail-type"] for body in bodies]


def is_deployed(emulator, template):
    """Deploys a template. Returns whether the emulator accepts it."""
    cloudformation = emulator.client("cloudformation")
    try:
        cloudformation.create_stack(StackName="test", TemplateBody=template)
        cloudformation.get_waiter("stack_create_complete").wait(StackName="test", WaiterConfig={"Delay": 1})
    except (ClientError, WaiterError):
        return False
    return True


def is_received(sqs, url):
    """Returns whether a function receives the message of a queue within 10 seconds."""
    for _ in range(40):
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        if attributes["Attributes"]["ApproximateNumberOfMessages"] == "0":
            return True
        time.sleep(0.25)
    return False


def listen(emulator):
    """Creates a queue that receives every event of the bus. Returns its URL."""
    events, sqs = emulator.client("events"), emulator.client("sqs")
    url = sqs.create_queue(QueueName="test")["QueueUrl"]
    events.put_rule(Name="test", EventBusName="test", EventPattern=json.dumps({"account": [ACCOUNT]}))
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:test"
    events.put_targets(Rule="test", EventBusName="test", Targets=[{"Id": "queue", "Arn": arn}])
    return url


if __name__ == "__main__":
    unittest.main()

"""Tests of schedules, and of the permissions for queues and schedules."""

import contextlib
import io
import time
import unittest
import zipfile
from pathlib import Path

from botocore.exceptions import ClientError

from emulator_testing import ACCOUNT, EmulatorTest, eventually, message_count

QUEUES = f"arn:aws:sqs:us-east-1:{ACCOUNT}:"
SENDER = f"arn:aws:iam::{ACCOUNT}:role/sender"
POLICY = '{"Version": "2012-10-17", "Statement": [{ %s }]}'
TRUST = POLICY % (
    f'"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {{"AWS": "arn:aws:iam::{ACCOUNT}:root"}}'
)
DENY_PLAIN_HTTP = POLICY % (
    '"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "*",'
    '"Condition": {"Bool": {"aws:SecureTransport": "false"}}'
)
CREATE_SCHEDULE = (
    '"Effect": "Allow", "Action": "scheduler:CreateSchedule", "Resource": "arn:aws:scheduler:*:schedule/%s/*"'
)
PASS_ROLE = (
    f'"Effect": "Allow", "Action": "iam:PassRole", "Resource": "{SENDER}",'
    '"Condition": {"StringEquals": {"iam:PassedToService": "%s.amazonaws.com"}}'
)


class Queues(EmulatorTest):
    def test_queue_that_denies_plain_http_is_usable(self):
        def probe(emulator):
            sqs = emulator.client("sqs")
            queue = sqs.create_queue(QueueName="test", Attributes={"Policy": DENY_PLAIN_HTTP})["QueueUrl"]
            return is_allowed(sqs.send_message, QueueUrl=queue, MessageBody="x")

        self.check(probe, {"": True, "secure_transport": False}, AUTH="true")

    def test_send_message_permits_batches(self):
        def may_send_batch(emulator, queue, action):
            sqs = assume_role(emulator, action, f'"Effect": "Allow", "Action": "sqs:{action}", "Resource": "*"', "sqs")
            entries = [{"Id": "0", "MessageBody": "x"}]
            return is_allowed(sqs.send_message_batch, QueueUrl=queue, Entries=entries)

        def probe(emulator):
            queue = emulator.client("sqs").create_queue(QueueName="test")["QueueUrl"]
            return [may_send_batch(emulator, queue, action) for action in ("SendMessage", "ReceiveMessage")]

        self.check(probe, {"": [True, False], "batch_permissions": [False, False]}, AUTH="true")


class SchedulePermissions(EmulatorTest):
    def test_creation_needs_permission_for_the_group_and_the_role(self):
        callers = [
            f"{CREATE_SCHEDULE % group} }}, {{ {PASS_ROLE % service}"
            for group, service in (("test", "scheduler"), ("test", "lambda"), ("default", "scheduler"))
        ]

        def probe(emulator):
            return [
                may_create_schedule(emulator, f"caller-{number}", permissions)
                for number, permissions in enumerate(callers)
            ]

        self.check(probe, {"": [True, False, False], "schedule_permissions": [False, False, True]}, AUTH="true")

    def test_creation_needs_the_pass_role_permission(self):
        permissions = '"Effect": "Allow", "Action": "scheduler:*", "Resource": "*"'

        def probe(emulator):
            return may_create_schedule(emulator, "caller", permissions)

        self.check(probe, {"": False, "schedule_permissions": True}, AUTH="true")

    def test_delivery_needs_the_permission_of_the_schedules_role(self):
        allow = '"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:*:%s"'
        none = '"Effect": "Allow", "Action": "sqs:ReceiveMessage", "Resource": "*"'
        dead_letter = ('{"MessageBody": "now"}', "AccessDenied")
        for permissions, result in {
            allow % "due": (1, []),
            allow % "dead": (0, [dead_letter]),
            none: (0, []),
        }.items():
            with self.subTest(permissions=permissions):
                self.check(
                    lambda emulator: delivered(emulator, permissions),
                    {"": result, "schedule_permissions": (1, [])},
                    AUTH="true",
                )

    def test_invocation_needs_the_permission_of_the_schedules_role(self):
        allow = '"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "*:function:test:live"'
        none = '"Effect": "Allow", "Action": "lambda:GetFunction", "Resource": "*"'
        for permissions, invoked in {allow: True, none: False}.items():
            with self.subTest(permissions=permissions):
                self.check(
                    lambda emulator: is_invoked(emulator, permissions, Path(self.folder()) / "invoked"),
                    {"": invoked, "schedule_permissions": True},
                    AUTH="true",
                )


class ScheduleTimes(EmulatorTest):
    def test_schedule_fires_on_time(self):
        self.check(lambda emulator: max(delays(emulator)) < 5, {"": True, "schedules_on_time": False})


def may_create_schedule(emulator, role, permissions):
    scheduler = assume_role(emulator, role, permissions)
    admin = emulator.client("scheduler")
    with contextlib.suppress(admin.exceptions.ConflictException):
        admin.create_schedule_group(Name="test")
    return is_allowed(create_due_schedule, scheduler, role)


def delays(emulator):
    """Returns the delays of ten schedules, due in consecutive seconds.

    Without the fix the emulator checks every ten seconds, so some of them have just missed a check.
    """
    sqs, scheduler = emulator.client("sqs"), emulator.client("scheduler")
    url = sqs.create_queue(QueueName="due")["QueueUrl"]
    now, found = int(time.time()), []
    for due in range(now + 2, now + 12):
        scheduler.create_schedule(
            Name=str(due),
            ScheduleExpression=f"at({time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(due))})",
            FlexibleTimeWindow={"Mode": "OFF"},
            ActionAfterCompletion="DELETE",
            Target={"Arn": f"{QUEUES}due", "Input": str(due), "RoleArn": SENDER},
        )
    while len(found) < 10:
        for message in sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20, AttributeNames=["SentTimestamp"]
        )["Messages"]:
            found.append(int(message["Attributes"]["SentTimestamp"]) / 1000 - int(message["Body"]))
    return found


def delivered(emulator, permissions):
    """Fires a schedule whose role has these permissions. Returns the number of messages in the target queue, and the
    dead letters with their cause."""
    sqs, scheduler = emulator.client("sqs"), emulator.client("scheduler")
    due, dead = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("due", "dead"))
    scheduler.create_schedule_group(Name="test")
    create_role(emulator, "sender", permissions)
    create_due_schedule(scheduler, "schedule")
    eventually(lambda: not scheduler.list_schedules(GroupName="test")["Schedules"])
    letters = sqs.receive_message(QueueUrl=dead, MessageAttributeNames=["ERROR_CODE"]).get("Messages", [])
    causes = [(it["Body"], it["MessageAttributes"]["ERROR_CODE"]["StringValue"]) for it in letters]
    return message_count(sqs, due), causes


def is_invoked(emulator, permissions, mark):
    """Fires a schedule whose role has these permissions. Returns whether its function has made the mark."""
    scheduler = emulator.client("scheduler")
    scheduler.create_schedule_group(Name="test")
    create_role(emulator, "sender", permissions)
    alias = create_function(emulator, f"def handler(event, context): open('{mark}', 'w').close()")
    create_due_schedule(scheduler, "schedule", {"Arn": alias, "RoleArn": SENDER})
    eventually(lambda: not scheduler.list_schedules(GroupName="test")["Schedules"])
    with contextlib.suppress(AssertionError):
        eventually(mark.exists, seconds=5)
    return mark.exists()


def create_function(emulator, code):
    """Creates a function. Returns the ARN of its alias."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("index.py", code)
    functions = emulator.client("lambda")
    functions.create_function(
        FunctionName="test",
        Runtime="python3.12",
        Handler="index.handler",
        Role=SENDER,
        Code={"ZipFile": package.getvalue()},
    )
    return functions.create_alias(FunctionName="test", Name="live", FunctionVersion="$LATEST")["AliasArn"]


def create_due_schedule(scheduler, name, target=None):
    """Creates a schedule with a time in the past, by default for a queue."""
    queue = {"Arn": f"{QUEUES}due", "Input": "now", "DeadLetterConfig": {"Arn": f"{QUEUES}dead"}, "RoleArn": SENDER}
    scheduler.create_schedule(
        GroupName="test",
        Name=name,
        ScheduleExpression="at(2026-01-01T00:00:00)",
        ActionAfterCompletion="DELETE",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=target or queue,
    )


def assume_role(emulator, role, permissions, service="scheduler"):
    """Returns a client of a service with the permissions of a new role."""
    arn = create_role(emulator, role, permissions)
    session = emulator.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return emulator.client(service, session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])


def create_role(emulator, name, permissions):
    iam = emulator.client("iam")
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]
    iam.put_role_policy(RoleName=name, PolicyName="test", PolicyDocument=POLICY % permissions)
    return role["Arn"]


def is_allowed(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ClientError as error:
        if "AccessDenied" not in error.response["Error"]["Code"]:
            raise
        return False
    return True


if __name__ == "__main__":
    unittest.main()

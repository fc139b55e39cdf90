"""Each fix, twice: what it mends holds with it, and does not hold without it. When a new version of
the emulator makes the second half fail, the fix can go."""

import asyncio
import http.server
import io
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

HERE = Path(__file__).resolve().parent
CRASHES = 6
PAIR = ("left", "right")
POLICY = '{"Version": "2012-10-17", "Statement": [{ %s }]}'

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Origins: { Type: String, Default: "" }
Conditions:
  HasOrigins: !Not [!Equals [!Ref Origins, ""]]
Resources:
  Api:
    Type: AWS::Serverless::HttpApi
    Properties:
      CorsConfiguration: !If [HasOrigins, { AllowOrigins: !Split [",", !Ref Origins] }, !Ref AWS::NoValue]
      Auth:
        DefaultAuthorizer: Buyer
        Authorizers:
          Buyer:
            IdentitySource: $request.header.Authorization
            JwtConfiguration: { issuer: "http://127.0.0.1:1", audience: [orders] }
  Show:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.12
      Handler: index.handler
      InlineCode: "def handler(event, context): return 'hello'"
      Events:
        Request:
          Type: HttpApi
          Properties: { ApiId: !Ref Api, Method: GET, Path: "/api/orders/{id}" }
        Health:
          Type: HttpApi
          Properties: { ApiId: !Ref Api, Method: GET, Path: /api/hello, Auth: { Authorizer: NONE } }
"""


class Emulator:
    """The emulator on a free port; its state is in `folder`."""

    def __init__(self, folder, without="", port=None, **settings):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ, "GATEWAY_PORT": str(self.port), "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1",
            "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0", "PERSIST_STATE": "1", "STATE_DIR": f"{folder}/state",
            "TMPDIR": folder, "EMULATOR_WITHOUT_FIX": without, **settings,
        }

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, HERE / "launch.py"], env=self.environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: self.get("/_ministack/health")[0] == 200)
        return self

    def __exit__(self, *_):
        self.crash()

    def crash(self):
        """Ends it as a crash would, with all that it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def client(self, service, key="test", secret="test", token=None):
        return boto3.client(
            service, endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=key,
            aws_secret_access_key=secret, aws_session_token=token, config=Config(retries={"total_max_attempts": 1}))

    def get(self, path, authorization=""):
        """The status and the body."""
        return self.send(urllib.request.Request(self.url + path, headers={"Authorization": authorization}))

    def preflight(self, path, origin):
        """The status of what a browser asks before a page of this origin may send a request."""
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        return self.send(urllib.request.Request(self.url + path, headers=headers, method="OPTIONS"))[0]

    def send(self, request):
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(happens, seconds=60):
    deadline = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen")
        time.sleep(0.05)


class Fixes(unittest.TestCase):
    def folder(self):
        return self.enterContext(tempfile.TemporaryDirectory())

    def deploy(self, emulator, template=TEMPLATE):
        cloudformation = emulator.client("cloudformation")
        cloudformation.create_stack(
            StackName="it", TemplateBody=template, Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": "Origins", "ParameterValue": "https://shop.example"}])
        cloudformation.get_waiter("stack_create_complete").wait(StackName="it", WaiterConfig={"Delay": 1})
        return emulator.client("apigatewayv2").get_apis()["Items"][0]["ApiId"]

    def test_a_sam_template_has_the_routes_of_its_http_api_events(self):
        for without, expected in (("", (200, 401)), ("http_api_routes", (404, 404))):
            with self.subTest(without=without), Emulator(self.folder(), without) as emulator:
                api = f"/_aws/execute-api/{self.deploy(emulator)}/$default/api"
                open_route, guarded_route = emulator.get(f"{api}/hello"), emulator.get(f"{api}/orders/1")
                self.assertEqual((open_route[0], guarded_route[0]), expected)

    def test_a_page_may_call_an_api_that_names_its_origin(self):
        for without, expected in (("", 204), ("http_api_routes", 403), ("sam_parameters", 403)):
            with self.subTest(without=without), Emulator(self.folder(), without) as emulator:
                path = f"/_aws/execute-api/{self.deploy(emulator)}/$default/api/hello"
                self.assertEqual(emulator.preflight(path, "https://shop.example"), expected)

    def test_a_path_in_an_answer_leads_back_to_the_api(self):
        for without, expected in (("", (200, "hello")), ("api_at_root", (404, None))):
            with self.subTest(without=without), Emulator(self.folder(), without) as emulator:
                self.deploy(emulator)
                status, body = emulator.get("/api/hello")
                self.assertEqual((status, body if status == 200 else None), expected)

    def test_a_token_that_is_garbled_is_unauthorized(self):
        for without, expected in (("", 401), ("bad_tokens", 500)):
            with self.subTest(without=without), Emulator(self.folder(), without) as emulator:
                self.deploy(emulator)
                self.assertEqual(emulator.get("/api/orders/1", "Bearer W10.e30.AAAA")[0], expected)

    def test_a_template_with_gradual_deployments_is_deployed(self):
        gradual = "{ AutoPublishAlias: live, DeploymentPreference: { Type: Canary10Percent5Minutes } }"
        template = f"{TEMPLATE}Globals: {{ Function: {gradual} }}\n"
        for without in ("", "deployments"):
            with self.subTest(without=without), Emulator(self.folder(), without) as emulator:
                if without:
                    with self.assertRaisesRegex(ClientError, "AWS::CodeDeploy"):
                        self.deploy(emulator, template)
                else:
                    self.deploy(emulator, template)
                    self.change_code(emulator.client("lambda"), answer="changed")
                    self.assertEqual(emulator.get("/api/hello"), (200, "changed"))

    def change_code(self, functions, answer):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as files:
            files.writestr("index.py", f"def handler(event, context): return '{answer}'")
        name = functions.list_functions()["Functions"][0]["FunctionName"]
        functions.update_function_code(FunctionName=name, ZipFile=archive.getvalue())

    def test_what_was_answered_outlives_a_crash_at_any_moment(self):
        for without, expected in (("", True), ("journal", False)):
            with self.subTest(without=without):
                self.assertEqual(self.keeps_what_it_answered(without), expected)

    def keeps_what_it_answered(self, without):
        """Moves numbers from a queue into two tables while the emulator crashes, again and again. True if
        nothing that was answered is lost, and the tables and the queue always agree."""
        folder, sent, moved, port = self.folder(), set(), set(), None
        for crash in range(CRASHES):
            with Emulator(folder, without, port) as emulator:
                port = emulator.port
                try:
                    queue = self.prepare(emulator) if crash == 0 else self.queue(emulator, "numbers")
                    if not self.agree(emulator, queue, sent, moved):
                        return False
                except ClientError:
                    return False
                work = threading.Thread(target=self.move_numbers, args=(emulator, queue, sent, moved))
                work.start()
                time.sleep(random.uniform(0.3, 0.8))
                emulator.crash()
                work.join()
        self.assertGreater(len(moved), CRASHES)
        return True

    def prepare(self, emulator):
        for name in PAIR:
            self.make_table(emulator.client("dynamodb"), name)
        return emulator.client("sqs").create_queue(QueueName="numbers")["QueueUrl"]

    def queue(self, emulator, name):
        return emulator.client("sqs").get_queue_url(QueueName=name)["QueueUrl"]

    def move_numbers(self, emulator, queue, sent, moved):
        """Until it gets no answer."""
        queues, tables = emulator.client("sqs"), emulator.client("dynamodb")
        try:
            for number in itertools.count(max(sent, default=0) + 1):
                queues.send_message(QueueUrl=queue, MessageBody=str(number))
                sent.add(number)
                message = queues.receive_message(QueueUrl=queue, VisibilityTimeout=0)["Messages"][0]
                item = {"id": {"N": message["Body"]}}
                tables.transact_write_items(
                    TransactItems=[{"Put": {"TableName": name, "Item": item}} for name in PAIR])
                moved.add(int(message["Body"]))
                queues.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        except BotoCoreError:
            pass

    def agree(self, emulator, queue, sent, moved):
        """Whether each number that was sent is in the queue or has been moved, and to both tables or none."""
        left, right = (self.numbers_in(emulator, name) for name in PAIR)
        waiting = self.bodies(emulator.client("sqs"), queue)
        return left == right and moved <= left and sent <= left | set(map(int, waiting))

    def numbers_in(self, emulator, table):
        pages = emulator.client("dynamodb").get_paginator("scan").paginate(TableName=table)
        return {int(item["id"]["N"]) for page in pages for item in page["Items"]}

    def test_a_crash_in_a_deployment_leaves_all_of_it_or_nothing(self):
        template = TEMPLATE + "  Bus: { Type: AWS::Events::EventBus, Properties: { Name: it } }\n"
        with Emulator(self.folder()) as emulator:
            began = time.monotonic()
            self.deploy(emulator, template)
            seconds = time.monotonic() - began
        for crash in range(CRASHES):
            folder = self.folder()
            with self.subTest(crash=crash):
                with Emulator(folder) as emulator:
                    emulator.client("cloudformation").create_stack(
                        StackName="it", TemplateBody=template, Capabilities=["CAPABILITY_IAM"])
                    time.sleep(seconds * crash / CRASHES)
                    emulator.crash()
                with Emulator(folder) as emulator:
                    stacks = emulator.client("cloudformation").describe_stacks()["Stacks"]
                    if stacks:
                        self.assertEqual(stacks[0]["StackStatus"], "CREATE_COMPLETE")
                    else:
                        self.deploy(emulator, template)

    def test_a_crash_before_a_deployment_leaves_nothing_of_it(self):
        folder = self.folder()
        for crash in range(2):
            with Emulator(folder) as emulator:
                emulator.client("cloudformation").create_change_set(
                    StackName="it", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=TEMPLATE)
                emulator.crash()

    def test_a_stream_is_kept_with_its_table(self):
        folder = self.folder()
        with Emulator(folder) as emulator:
            self.make_table(emulator.client("dynamodb"), "rows")
            self.put_rows(emulator, range(3))
            emulator.crash()
        with Emulator(folder) as emulator:
            self.put_rows(emulator, range(3, 5))
            streams = emulator.client("dynamodbstreams")
            stream = emulator.client("dynamodb").describe_table(TableName="rows")["Table"]["LatestStreamArn"]
            shard = streams.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"][0]["ShardId"]
            start = streams.get_shard_iterator(StreamArn=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
            records = streams.get_records(ShardIterator=start["ShardIterator"])["Records"]
            self.assertEqual([record["dynamodb"]["Keys"]["id"]["N"] for record in records], list("01234"))

    def test_a_function_misses_no_record_in_a_crash(self):
        folder, rows, port = self.folder(), iter(range(10, 1000)), None
        for crash in range(CRASHES):
            with Emulator(folder, port=port) as emulator:
                port = emulator.port
                if crash == 0:
                    queues, handled, _ = self.start_relay(emulator, rows=())
                put = list(itertools.islice(rows, 10))
                self.put_rows(emulator, put)
                time.sleep(random.uniform(0, 0.5))
                emulator.crash()
        with Emulator(folder, port=port) as emulator:
            eventually(lambda: self.bodies(queues, handled) == set(map(str, range(10, put[-1] + 1))))

    def bodies(self, queues, url):
        """What is in a queue, where it stays."""
        seen = {}
        while messages := queues.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60).get("Messages", []):
            seen.update({message["ReceiptHandle"]: message["Body"] for message in messages})
        for handle in seen:
            queues.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
        return set(seen.values())

    def make_table(self, tables, name):
        return tables.create_table(
            TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )["TableDescription"]["LatestStreamArn"]

    def test_a_schedule_fires_when_it_is_due(self):
        for without, expected in (("", True), ("schedules_on_time", False)):
            with self.subTest(without=without), Emulator(self.folder(), without) as emulator:
                self.assertEqual(max(self.latenesses(emulator)) < 5, expected)

    def latenesses(self, emulator):
        """How late schedules are, one for each second of the ten that the stock emulator waits between
        looks: whenever it looks, some of them have just missed it."""
        queues, schedules = emulator.client("sqs"), emulator.client("scheduler")
        url = queues.create_queue(QueueName="due")["QueueUrl"]
        now, late = int(time.time()), []
        for due in range(now + 2, now + 12):
            schedules.create_schedule(
                Name=str(due), ScheduleExpression=f"at({time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(due))})",
                FlexibleTimeWindow={"Mode": "OFF"}, ActionAfterCompletion="DELETE", Target={
                    "Arn": "arn:aws:sqs:us-east-1:000000000000:due", "Input": str(due),
                    "RoleArn": "arn:aws:iam::000000000000:role/r"})
        while len(late) < 10:
            for message in queues.receive_message(
                    QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20,
                    AttributeNames=["SentTimestamp"])["Messages"]:
                late.append(int(message["Attributes"]["SentTimestamp"]) / 1000 - int(message["Body"]))
        return late

    def test_a_queue_that_refuses_plain_http_may_be_used(self):
        for without, expected in (("", True), ("secure_transport", False)):
            with self.subTest(without=without), Emulator(self.folder(), without, AUTH="true") as emulator:
                queue = emulator.client("sqs").create_queue(QueueName="it", Attributes={"Policy": POLICY % (
                    '"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "*",'
                    '"Condition": {"Bool": {"aws:SecureTransport": "false"}}')})["QueueUrl"]
                self.assertEqual(self.may(emulator.client("sqs").send_message, QueueUrl=queue, MessageBody="x"), expected)

    def test_who_may_send_a_message_may_send_a_batch_of_them(self):
        rights = ("SendMessage", "ReceiveMessage")
        for without, expected in (("", [True, False]), ("batch_permissions", [False, False])):
            with self.subTest(without=without), Emulator(self.folder(), without, AUTH="true") as emulator:
                queue = emulator.client("sqs").create_queue(QueueName="it")["QueueUrl"]
                may = [self.may(
                    self.session(emulator, right, f'"Effect": "Allow", "Action": "sqs:{right}", "Resource": "*"', "sqs")
                    .send_message_batch, QueueUrl=queue, Entries=[{"Id": "0", "MessageBody": "x"}]) for right in rights]
                self.assertEqual(may, expected)

    def test_a_schedule_is_made_by_who_may_use_its_group_and_pass_its_role(self):
        create = '"Effect": "Allow", "Action": "scheduler:CreateSchedule", "Resource": "arn:aws:scheduler:*:schedule/%s/*"'
        pass_role = (
            '"Effect": "Allow", "Action": "iam:PassRole", "Resource": "arn:aws:iam::000000000000:role/sender",'
            '"Condition": {"StringEquals": {"iam:PassedToService": "%s.amazonaws.com"}}')
        callers = [f"{create % group} }}, {{ {pass_role % service}"
                   for group, service in (("it", "scheduler"), ("it", "lambda"), ("default", "scheduler"))]
        for without, expected in (("", [True, False, False]), ("schedule_permissions", [False, False, True])):
            with self.subTest(without=without), Emulator(self.folder(), without, AUTH="true") as emulator:
                emulator.client("scheduler").create_schedule_group(Name="it")
                schedulers = [self.session(emulator, f"it-{number}", rights) for number, rights in enumerate(callers)]
                self.assertEqual([self.may(self.schedule, it, f"it-{n}") for n, it in enumerate(schedulers)], expected)

    def test_a_role_is_passed_by_who_may_pass_it(self):
        for without, expected in (("", False), ("schedule_permissions", True)):
            with self.subTest(without=without), Emulator(self.folder(), without, AUTH="true") as emulator:
                emulator.client("scheduler").create_schedule_group(Name="it")
                caller = self.session(emulator, "it", '"Effect": "Allow", "Action": "scheduler:*", "Resource": "*"')
                self.assertEqual(self.may(self.schedule, caller, "it"), expected)

    def test_a_schedule_sends_what_its_role_may_send(self):
        allow = '"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:*:%s"'
        none = '"Effect": "Allow", "Action": "sqs:ReceiveMessage", "Resource": "*"'
        for without, expected in (("", [(1, 0), (0, 1), (0, 0)]), ("schedule_permissions", [(1, 0)] * 3)):
            for rights, counts in zip((allow % "due", allow % "dead", none), expected):
                with self.subTest(without=without, rights=rights), Emulator(self.folder(), without, AUTH="true") as emulator:
                    queues = emulator.client("sqs")
                    due, dead = (queues.create_queue(QueueName=name)["QueueUrl"] for name in ("due", "dead"))
                    schedules = emulator.client("scheduler")
                    schedules.create_schedule_group(Name="it")
                    self.make_role(emulator, "sender", rights)
                    self.schedule(schedules, "it")
                    eventually(lambda: not schedules.list_schedules(GroupName="it")["Schedules"])
                    self.assertEqual((self.count(queues, due), self.count(queues, dead)), counts)

    def schedule(self, scheduler, name):
        """Makes a schedule that is due."""
        queues = "arn:aws:sqs:us-east-1:000000000000:"
        scheduler.create_schedule(
            GroupName="it", Name=name, ScheduleExpression="at(2026-01-01T00:00:00)", ActionAfterCompletion="DELETE",
            FlexibleTimeWindow={"Mode": "OFF"}, Target={
                "Arn": f"{queues}due", "RoleArn": "arn:aws:iam::000000000000:role/sender", "Input": "now",
                "DeadLetterConfig": {"Arn": f"{queues}dead"}})

    def session(self, emulator, role, rights, service="scheduler"):
        """A service, the scheduler if nothing is said, for one who may do this."""
        arn = self.make_role(emulator, role, rights)
        made = emulator.client("sts").assume_role(RoleArn=arn, RoleSessionName="it")["Credentials"]
        return emulator.client(service, made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])

    def make_role(self, emulator, name, rights):
        roles = emulator.client("iam")
        trust = POLICY % '"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}'
        role = roles.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]
        roles.put_role_policy(RoleName=name, PolicyName="it", PolicyDocument=POLICY % rights)
        return role["Arn"]

    def may(self, call, *args, **kwargs):
        try:
            call(*args, **kwargs)
        except ClientError as error:
            self.assertIn("AccessDenied", error.response["Error"]["Code"])
            return False
        return True

    def test_a_stream_is_delivered_with_partial_failures_halving_and_a_failure_destination(self):
        for without, expected in (("", True), ("stream_mapping", False)):
            with self.subTest(without=without), Emulator(self.folder(), without) as emulator:
                self.assertEqual(self.delivers_with_care(emulator), expected)

    def delivers_with_care(self, emulator):
        """Puts ten rows, of which the fourth is always reported as failed. True if those before it are
        handled once, and those after its batch, which goes to the failure destination as a whole."""
        queues, handled, failed = self.start_relay(emulator, rows=range(10))
        try:
            eventually(lambda: self.count(queues, failed) and self.count(queues, handled) >= 5, seconds=15)
        except AssertionError:
            return False
        return (self.count(queues, failed), self.count(queues, handled)) == (1, 5)

    def start_relay(self, emulator, rows):
        """A function that handles the stream of a table with these rows; the queues of what it has handled
        and of its failures."""
        queues = emulator.client("sqs")
        handled, failed = (queues.create_queue(QueueName=name)["QueueUrl"] for name in ("handled", "failed"))
        code = STREAM_HANDLER.replace("HANDLED", handled).replace("ENDPOINT", emulator.url)
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as files:
            files.writestr("index.py", code)
        stream = self.make_table(emulator.client("dynamodb"), "rows")
        functions = emulator.client("lambda")
        functions.create_function(
            FunctionName="relay", Runtime="python3.12", Handler="index.handler", Role="arn:aws:iam::000000000000:role/r",
            Code={"ZipFile": archive.getvalue()})
        self.put_rows(emulator, rows)
        functions.create_event_source_mapping(
            FunctionName="relay", EventSourceArn=stream, StartingPosition="TRIM_HORIZON", BatchSize=5,
            FunctionResponseTypes=["ReportBatchItemFailures"], MaximumRetryAttempts=1,
            DestinationConfig={"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:failed"}})
        return queues, handled, failed

    def put_rows(self, emulator, rows):
        for row in rows:
            emulator.client("dynamodb").put_item(TableName="rows", Item={"id": {"N": str(row)}})

    def count(self, queues, url):
        attributes = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(attributes["Attributes"]["ApproximateNumberOfMessages"])


# Handles rows by sending them to a queue, and reports row 3 as failed.
STREAM_HANDLER = """
import json, urllib.parse, urllib.request

def handler(event, context):
    for record in event["Records"]:
        row = record["dynamodb"]["NewImage"]["id"]["N"]
        if row == "3":
            return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
        form = urllib.parse.urlencode({"Action": "SendMessage", "QueueUrl": "HANDLED", "MessageBody": row})
        urllib.request.urlopen(urllib.request.Request("ENDPOINT", form.encode(), {
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request"}))
    return {"batchItemFailures": []}
"""


# These look into the process, so each runs in one of its own: with the fix if it is named.
def small_packets_are_sent_at_once():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            no_delay = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(bool(no_delay)).encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}") as answer:
        return json.load(answer)


def only_a_few_of_a_function_run_at_once():
    import concurrency_limits
    from ministack.services import lambda_svc

    running, most, lock = 0, 0, threading.Lock()

    def run(function, config):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1

    lambda_svc._execute_function_dispatch = run
    if "concurrency_limits" in sys.argv:
        concurrency_limits.apply()
    calls = [threading.Thread(target=lambda: lambda_svc._execute_function_dispatch({}, {"FunctionArn": "it"}))
             for _ in range(concurrency_limits.AT_ONCE * 4)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    return most <= concurrency_limits.AT_ONCE


def only_a_few_requests_to_the_api_are_served_at_once():
    import concurrency_limits
    from ministack import app

    running = most = 0

    async def serve(scope, receive, send):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1

    async def ask():
        api = {"type": "http", "path": "/api/orders"}
        await asyncio.gather(*(app.app(api, None, None) for _ in range(concurrency_limits.AT_ONCE * 4)))

    app.app = serve
    if "concurrency_limits" in sys.argv:
        concurrency_limits.apply()
    asyncio.run(ask())
    return most <= concurrency_limits.AT_ONCE


class JournalFile(unittest.TestCase):
    def test_however_little_of_a_file_is_left_its_changes_are_whole(self):
        from journal import Journal
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "journal"
        writer = Journal(path)
        writer.shrink(bool)
        self.addCleanup(writer.close)
        states = [{}]
        for change in ({"a": "1", "b": "1"}, {"a": "2", "b": ""}, {"a": "", "b": "3", "c": "3"}):
            writer.write(change)
            states.append(dict(writer.rows))
        whole, found = path.read_bytes(), []
        for size in range(len(whole) + 1):
            path.write_bytes(whole[:size])
            reader = Journal(path)
            reader.read()
            if reader.rows not in found:
                found.append(reader.rows)
        self.assertEqual(found, states)


class FixesInside(unittest.TestCase):
    def look(self, what, fix):
        command = [sys.executable, __file__, "look", what.__name__, *fix]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    def test_the_runtime_api_sends_small_packets_at_once(self):
        self.assertTrue(self.look(small_packets_are_sent_at_once, ["tcp_nodelay"]))
        self.assertFalse(self.look(small_packets_are_sent_at_once, []))

    def test_only_a_few_of_a_function_run_at_once(self):
        self.assertTrue(self.look(only_a_few_of_a_function_run_at_once, ["concurrency_limits"]))
        self.assertFalse(self.look(only_a_few_of_a_function_run_at_once, []))

    def test_only_a_few_requests_to_the_api_are_served_at_once(self):
        self.assertTrue(self.look(only_a_few_requests_to_the_api_are_served_at_once, ["concurrency_limits"]))
        self.assertFalse(self.look(only_a_few_requests_to_the_api_are_served_at_once, []))


if __name__ == "__main__":
    if sys.argv[1:2] == ["look"]:
        if "tcp_nodelay" in sys.argv:
            import tcp_nodelay
            tcp_nodelay.apply()
        print(json.dumps(globals()[sys.argv[2]]()))
    else:
        unittest.main()

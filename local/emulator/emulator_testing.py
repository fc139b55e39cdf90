"""Test support: an emulator on a free port, with or without one of the fixes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

HERE = Path(__file__).resolve().parent
ACCOUNT = "000000000000"


class Emulator:
    """An emulator inside a `with` block; its state is in `folder`."""

    def __init__(self, folder, without="", port=None, **settings):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "PERSIST_STATE": "1",
            "STATE_DIR": f"{folder}/state",
            "TMPDIR": folder,
            "EMULATOR_WITHOUT_FIX": without,
            **settings,
        }

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, HERE / "launch.py"],
            env=self.environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: self.get("/_ministack/health")[0] == 200)
        return self

    def __exit__(self, *_):
        self.crash()

    def crash(self):
        """Kills the emulator and all functions."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def client(self, service, key="test", secret="test", token=None):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def get(self, path, authorization=""):
        """Returns the status and the body of a response."""
        return self.send(urllib.request.Request(self.url + path, headers={"Authorization": authorization}))

    def preflight(self, path, origin):
        """Returns the status of a CORS preflight request."""
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        return self.send(urllib.request.Request(self.url + path, headers=headers, method="OPTIONS"))[0]

    def send(self, request):
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""


class EmulatorTest(unittest.TestCase):
    """A test of fixes: compares the emulator with all fixes and the emulator without one of them."""

    def folder(self):
        return self.enterContext(tempfile.TemporaryDirectory())

    def check(self, probe, expected, **settings):
        """Runs a probe with an emulator without each of the fixes in `expected`; "" stands for all fixes."""
        for without, result in expected.items():
            with self.subTest(without=without), Emulator(self.folder(), without, **settings) as emulator:
                self.assertEqual(probe(emulator), result)


def create_table(dynamodb, name):
    """Creates a table with a stream. Returns the ARN of the stream."""
    return dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )["TableDescription"]["LatestStreamArn"]


def put_items(dynamodb, table, numbers):
    for number in numbers:
        dynamodb.put_item(TableName=table, Item={"id": {"N": str(number)}})


def message_count(sqs, url):
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(attributes["Attributes"]["ApproximateNumberOfMessages"])


def message_bodies(sqs, url):
    """Returns the messages of a queue without removing them."""
    seen = {}
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60).get(
        "Messages", []
    ):
        seen.update({message["ReceiptHandle"]: message["Body"] for message in messages})
    for handle in seen:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    return set(seen.values())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition stayed false")
        time.sleep(0.05)

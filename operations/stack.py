"""The stack that a command works on: its outputs and AWS clients, and the frame of every command.

`--stack NAME` names a CloudFormation stack in the account of the current AWS credentials. Without the option,
ORDERS_STACK_FILE names a description of a stack (default: local/stack.json, written by `make run`).
"""

import argparse
import base64
import datetime
import functools
import json
import os
import sys
from pathlib import Path

import boto3
import botocore.exceptions

from items import Unreadable

ROOT = Path(__file__).resolve().parent.parent
# Alias with the traffic of a function. A command must not run the code of an unfinished deployment.
ALIAS = "live"
FOUND = 1  # exit code: something is wrong in the stack, or was not done
USAGE = 2  # exit code: wrong use of a command, as in argparse


class UserError(Exception):
    """A problem that the operator can solve; the message names the solution."""


class Stack:
    """A deployed stack."""

    def __init__(self, outputs, client, name=None, description=None):
        self.outputs, self.name = outputs, name
        # Description of a local stack; empty for a CloudFormation stack.
        self.description = description or {}
        self._new_client = client
        self._clients = {}

    @classmethod
    def named(cls, name):
        """The stack with this CloudFormation name, or the described stack if the name is `None`."""
        return cls._in_cloudformation(name) if name else cls._described(_description())

    @classmethod
    def _in_cloudformation(cls, name):
        try:
            stacks = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            raise UserError(f"There is no stack {name} in this account and region.") from None
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}
        return cls(outputs, boto3.client, name)

    @classmethod
    def _described(cls, description):
        settings = {"region_name": description["region"]}
        if description["endpointUrl"]:
            settings |= {"endpoint_url": description["endpointUrl"]}
            keys = {"aws_access_key_id": "accessKeyId", "aws_secret_access_key": "secretAccessKey"}
            settings |= {name: description.get(key, "test") for name, key in keys.items()}
        client = functools.partial(boto3.client, **settings)
        return cls(description["outputs"], client, description.get("stackName"), description)

    def client(self, service):
        """Returns the boto3 client of a service."""
        if service not in self._clients:
            self._clients[service] = self._new_client(service)
        return self._clients[service]

    def output(self, name):
        """Returns an output of the template."""
        if name not in self.outputs:
            raise UserError(f"The stack has no output {name}: it is another stack, or an older release.")
        return self.outputs[name]

    @property
    def api_url(self):
        """URL of the HTTP API."""
        return self.description.get("apiUrl") or self.output("ApiUrl")

    @property
    def emulated(self):
        """Whether the stack runs on an emulator of AWS."""
        return bool(self.description.get("endpointUrl"))

    def invoke(self, name, payload):
        """Invokes a function's live version. Returns its result; `None` if the function failed."""
        response = self.client("lambda").invoke(
            FunctionName=f"{self.output(f'{name}FunctionName')}:{ALIAS}", Payload=json.dumps(payload)
        )
        result = json.loads(response["Payload"].read() or b"null")
        return None if "FunctionError" in response else result


def relay(stack, records):
    """Passes stream records to the relay. Returns the sequence number of the first record that is not done.

    Returns an empty text if the relay failed as a whole, and `None` if all records are done.
    """
    result = stack.invoke("OrderRelay", {"Records": records})
    if result is None:
        return ""
    failures = result["batchItemFailures"]
    return failures[0]["itemIdentifier"] if failures else None


def as_lambda(record):
    """Converts a stream record of boto3 to the JSON that Lambda passes: times in seconds, bytes in Base64."""
    return json.loads(json.dumps(record, default=_without_json))


def arguments(description, writes=True):
    """Returns the parser of a command, with the options of all commands."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", metavar="NAME", help="CloudFormation stack; default: see ORDERS_STACK_FILE")
    if writes:
        add_write(parser)
    return parser


def add_write(parser):
    """Adds the option of all commands that write."""
    parser.add_argument("--write", action="store_true", help="make the changes; without it they are only listed")


def dry_run(changes):
    """Prints the end of a dry run."""
    print(f"Dry run: {changes}. Add --write (make: WRITE=1).")


def run(main):
    """Runs a command, and ends the program with its exit code. A known failure is a message, not a traceback."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        _end(error)
    except Unreadable as error:
        _end(f"An item cannot be read: {error}. It stays as it is.")
    except botocore.exceptions.NoCredentialsError:
        _end("There are no AWS credentials. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
    except botocore.exceptions.NoRegionError:
        _end("There is no AWS region. Set AWS_REGION.")
    except botocore.exceptions.ClientError as error:
        _end(f"AWS refused the request: {error} The needed rights are in docs/operations.md.")
    except botocore.exceptions.BotoCoreError as error:
        _end(f"AWS cannot be reached: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _end(message):
    print(message, file=sys.stderr)
    sys.exit(USAGE)


def _description():
    file = Path(os.environ.get("ORDERS_STACK_FILE", ROOT / "local/stack.json"))
    if not file.exists():
        raise UserError(f"{file} does not exist. Start a stack (make run), set ORDERS_STACK_FILE, or use --stack.")
    return json.loads(file.read_text())


def _without_json(value):
    return value.timestamp() if isinstance(value, datetime.datetime) else base64.b64encode(value).decode()

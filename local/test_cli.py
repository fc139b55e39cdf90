"""Tests of the command line: settings, data folder, description file."""

import fcntl
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import processes
import welcome
from data_folder import LOCK
from ports import Ports
from tools import UserError

HERE = Path(__file__).resolve().parent


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.data = self.folder / "data"

    def cli(self, command, **settings):
        """Runs a command. Returns the exit status and the only line on standard error."""
        paths = {"ORDERS_STATE": str(self.data), "ORDERS_STACK_FILE": str(self.folder / "stack.json")}
        done = subprocess.run(
            [sys.executable, HERE / "cli.py", command],
            env={**os.environ, **paths, **settings},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done.returncode, done.stderr.strip()

    def test_run_rejects_an_invalid_port(self):
        for port in ("abc", "70000", "-1"):
            message = f"PORT must be a number from 0 to 65535, not {port}."
            self.assertEqual(self.cli("run", ORDERS_PORT=port), (1, message))

    def test_run_rejects_equal_ports(self):
        result = self.cli("run", ORDERS_PORT="4901", ORDERS_ISSUER_PORT="4902", ORDERS_SHOP_PORT="4901")
        self.assertEqual(result, (1, "PORT and SHOP_PORT are both 4901, but must differ."))

    def test_privileged_port_is_not_reported_as_in_use(self):
        message = "Port 80 is not permitted: ports below 1024 are for root. To use another port: make run PORT=10080"
        # Tests may run as root, so the kernel's refusal is simulated.
        with mock.patch("socket.socket.bind", side_effect=PermissionError), self.assertRaises(UserError) as raised:
            Ports(80, 4567, 4568).check()
        self.assertEqual(str(raised.exception), message)

    def test_text_of_a_started_stack_ends_with_the_address_of_the_shop(self):
        text = welcome.text(self.data, Ports(4566, 4567, 4568))
        self.assertLess(len(text.splitlines()), 10)
        self.assertEqual(text.splitlines()[-1].split(), ["shop", "http://127.0.0.1:4568"])

    def test_publish_rejects_an_unknown_type_and_a_malformed_detail(self):
        status, message = self.cli("publish", TYPE="PaymentMade", DETAIL="{}")
        self.assertEqual((status, message[:26]), (1, "TYPE must be one of Ticket"))
        for detail in ("", "{", "[]", "1"):
            status, message = self.cli("publish", TYPE="PaymentCreated", DETAIL=detail)
            self.assertEqual((status, message[:29]), (1, "DETAIL must be a JSON object "))

    def test_commands_of_a_running_stack_name_the_command_to_start_one(self):
        for command in ("publish", "consume"):
            result = self.cli(command, TYPE="PaymentCreated", DETAIL="{}")
            self.assertEqual(result, (1, "No stack is running. To start one: make run"))

    def test_run_rejects_an_unusable_data_folder(self):
        (self.folder / "file").touch()
        folder = f"{self.folder}/file/data"
        message = f"{folder} cannot be used as the data folder: Not a directory."
        self.assertEqual(self.cli("run", ORDERS_STATE=folder), (1, message))

    def test_run_rejects_the_data_folder_of_a_starting_stack(self):
        self.data.mkdir()
        with open(self.data / LOCK, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            processes.record(self.data, "stack", os.getpid())
            result = self.cli("run")
        self.assertEqual(result, (1, "This stack is already running or starting. To stop it: make down"))
        self.assertEqual(processes.running(self.data, "stack"), os.getpid())

    def test_down_ends_a_running_stack(self):
        self.assertEqual(self.cli("down"), (0, "No stack was running."))
        self.data.mkdir()
        with subprocess.Popen(["sleep", "60"]) as stack:
            processes.record(self.data, "stack", stack.pid)
            self.assertEqual(self.cli("down"), (0, "The stack is stopped."))
            self.assertLess(stack.wait(), 0)
        self.assertIsNone(processes.running(self.data, "stack"))

    def test_clean_state_removes_only_the_data_folder_of_a_stack(self):
        self.assertEqual(self.cli("clean-state"), (0, f"There is no data in {self.data}."))
        self.data.mkdir()
        (self.data / "mine").touch()
        status, _ = self.cli("clean-state")
        self.assertEqual((status, (self.data / "mine").exists()), (1, True))
        (self.data / LOCK).touch()
        self.assertEqual(self.cli("clean-state"), (0, "The data of the stack is deleted."))
        self.assertFalse(self.data.exists())

    def test_down_removes_only_the_description_of_its_stack(self):
        self.data.mkdir()
        description = self.folder / "stack.json"
        for folder, kept in ((self.folder / "other", True), (self.data.resolve(), False)):
            description.write_text(f'{{"stateFolder": "{folder}"}}')
            self.cli("down")
            self.assertEqual(description.exists(), kept)


if __name__ == "__main__":
    unittest.main()

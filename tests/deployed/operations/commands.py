"""Runs the operators' commands on the stack of ORDERS_STACK_FILE."""

import json
import os
import subprocess
import sys
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from scenarios import Service

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 30
BUYER = "alice"


class OperationsTest(unittest.TestCase):
    """A test on the stack."""

    @classmethod
    def setUpClass(cls):
        cls.description = json.loads(Path(os.environ["ORDERS_STACK_FILE"]).read_text())
        cls.service = Service(cls.description).waiting(SECONDS)

    def run_command(self, command, *arguments, code=0, **environment):
        """Runs a command that must end with this code. Returns its output and its errors, as one text."""
        program = [sys.executable, ROOT / f"operations/{command}.py", *arguments]
        done = subprocess.run(
            program, text=True, capture_output=True, check=False, env={**os.environ, **environment}, timeout=120
        )
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, code, f"{command} {' '.join(arguments)}\n{text}")
        self.assertNotIn("Traceback", text)
        return text

    def order_ticket(self, ticket):
        """Sends an order of a ticket. Returns the status and the body of the response."""
        headers = {
            "Authorization": f"Bearer {self.description['tokens'][BUYER]}",
            "Content-Type": "application/json",
        }
        body = json.dumps({"ticketId": ticket}).encode()
        request = urllib.request.Request(f"{self.description['apiUrl']}/api/orders", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def forget(self, order, ticket):
        """Deletes an order and its ticket."""
        self.service.forget("Orders", order)
        self.service.forget("Tickets", ticket)

    def rows(self, *keys):
        """The rows of (table, id), to compare them later."""
        return [self.service.row(table, id) for table, id in keys]

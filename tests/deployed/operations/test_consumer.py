"""Follows the first order of README.md, with the example consumer of docs/ subscribed to its events."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import aws
import follow
from commands import ROOT, SECONDS, OperationsTest


class Consumer(OperationsTest):
    def test_consumer_acts_once_on_the_first_order_of_the_readme(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        consumer = subprocess.Popen(
            [sys.executable, ROOT / "docs/consumer.py", self.description["busName"], Path(folder) / "office.sqlite"],
            env={**os.environ, **aws.environment(self.description["endpointUrl"])},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(consumer.communicate)
        self.addCleanup(consumer.kill)
        # A consumer without output must end the test, not block it.
        watchdog = threading.Timer(10 * SECONDS, consumer.kill)
        watchdog.start()
        self.addCleanup(watchdog.cancel)
        self.assertIn("Waiting for the order events", consumer.stdout.readline())
        follow.publish_ticket()
        follow.follow("README.md", "bash")
        # The README pays the order and refunds it. Other tests change orders meanwhile.
        actions = [line.split(": ")[1].strip() for line in self.lines_of_the_readme(consumer.stdout)]
        self.assertEqual(actions, ["send ticket concert-1 to alice", "void ticket concert-1 of alice"])

    def lines_of_the_readme(self, lines):
        """Yields the lines about the ticket of the README, up to its refund."""
        for line in lines:
            if "ticket concert-1 " in line:
                yield line
            if "void ticket concert-1 " in line:
                return

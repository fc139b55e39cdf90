"""The harness tells what a function does, and does not take one that does nothing for a fast one."""

import sys
import textwrap
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

import kept
from cases import Case
from counts import check, spread
from harness import Ended, World

# Asks AWS for one thing for each event, and answers.
FUNCTION = """
    import json, os, ssl, sys, urllib.request
    runtime = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation/"
    trusted = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
    def post(url, body, headers={}):
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        return urllib.request.urlopen(request, context=trusted if url.startswith("https") else None).read()
    waste = bytearray(30_000_000)
    while True:
        with urllib.request.urlopen(runtime + "next") as event:
            body, id = json.load(event), event.headers["lambda-runtime-aws-request-id"]
        if body == "stop": sys.exit("stopped")
        found = json.loads(post(os.environ["AWS_ENDPOINT_URL"], body, {"x-amz-target": "DynamoDB_20120810.GetItem"}))
        post(runtime + id + "/response", {"statusCode": 200, "found": found})
"""


class Harness(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        program = Path(cls.enterClassContext(TemporaryDirectory())) / "function.py"
        program.write_text(textwrap.dedent(FUNCTION))
        cls.command = [sys.executable, program]

    def case(self, event="event", status=200, calls=("GetItem",)):
        return Case("case", "function", event, {"GetItem": {"Item": "one"}}, status, calls)

    def test_a_function_gets_as_many_events_as_asked_for_and_then_waits(self):
        for answers in (0, 1, 3):
            observed = self.world.run(self.command, self.case(), answers)
            self.assertEqual(observed.answers, [{"statusCode": 200, "found": {"Item": "one"}}] * answers)
            self.assertEqual(self.world.calls, ["GetItem"] * answers)

    def test_its_cpu_time_and_its_memory_are_its_own(self):
        observed = self.world.run(self.command, self.case(), 1)
        self.assertGreater(observed.peak_bytes, 30_000_000)
        self.assertGreater(observed.cpu_seconds, 0)

    def test_a_function_that_ends_is_told_of_with_what_it_said(self):
        with self.assertRaisesRegex(Ended, "stopped"):
            self.world.run(self.command, self.case("stop"), 1)

    def test_a_function_that_does_not_do_its_work_is_not_measured(self):
        observed = self.world.run(self.command, self.case(), 2)
        check(self.case(), self.world, observed)
        for other in (self.case(status=201), self.case(calls=["GetItem"] * 2), self.case(calls=["Query"])):
            with self.assertRaises(AssertionError):
                check(other, self.world, observed)


class Kept(unittest.TestCase):
    OLD = {"show": {"warm": 1_000_000, "first poll": 10}}

    def test_a_count_that_stays_within_the_tolerance_is_no_difference(self):
        self.assertEqual(kept.differences(self.OLD, {"show": {"warm": 1_099_000, "first poll": 10}}), [])

    def test_a_jump_is_a_difference_up_or_down(self):
        for count in (1_101_000, 899_000):
            self.assertEqual(len(kept.differences(self.OLD, {"show": {"warm": count}})), 1)

    def test_a_count_that_was_never_kept_is_a_difference(self):
        for name, what in (("cancel", "warm"), ("show", "first answer")):
            self.assertIn("none kept", kept.differences(self.OLD, {name: {what: 1}})[0])


class Noise(unittest.TestCase):
    def test_the_spread_is_half_the_distance_of_the_quartiles(self):
        self.assertEqual(spread([10, 9, 11, 10, 1_000]), 0.05)


if __name__ == "__main__":
    unittest.main()

"""Tests of the harness: the observed answers, calls, connections and resources, and the disturbed runs."""

import subprocess
import sys
import textwrap
import threading
import unittest
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import kept
from cases import Case
from counts import MAX_RUNS, Disturbed, check, disturbance, slow_clock, spread, undisturbed
from harness import TIMEOUT_SECONDS, Ended, Harness

# Makes one AWS call for each event, as an SDK does: on one connection, and again after a timeout.
FUNCTION = """
    import http.client, itertools, json, os, ssl, sys
    from urllib.parse import urlsplit
    invocation = "/2018-06-01/runtime/invocation/"
    runtime = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    aws = http.client.HTTPSConnection(
        urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc, timeout=float(os.environ.get("ATTEMPT_TIMEOUT", 60)),
        context=ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"]))

    def send(connection, method, path, body=None, headers={}):
        connection.request(method, path, body and json.dumps(body), headers)
        response = connection.getresponse()
        return response.headers, json.loads(response.read() or "null")

    def call(body):
        for attempt in itertools.count(1):
            headers = {"x-amz-target": "DynamoDB_20120810.GetItem", "amz-sdk-request": f"attempt={attempt}; max=3"}
            try:
                return send(aws, "POST", "/", body, headers)[1]
            except TimeoutError:
                aws.close()

    memory = bytearray(30_000_000)
    while True:
        headers, event = send(runtime, "GET", invocation + "next")
        if event == "stop": sys.exit("stopped")
        answer = {"statusCode": 200, "found": call(event)}
        if "RECONNECT" in os.environ: aws.close()
        send(runtime, "POST", invocation + headers["lambda-runtime-aws-request-id"] + "/response", answer)
"""


class WithFunction(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.harness = cls.enterClassContext(Harness())
        program = Path(cls.enterClassContext(TemporaryDirectory())) / "function.py"
        program.write_text(textwrap.dedent(FUNCTION))
        cls.command = [sys.executable, program]

    def run_function(self, case, answers=1, **settings):
        return self.harness.run(self.command, case, answers, environment=settings)

    def case(self, event="event", reply=None, status=200, calls=("GetItem",)):
        replies = {"GetItem": reply or {"Item": "one"}}
        return Case("case", "function", event, replies, status, calls)


class HarnessTest(WithFunction):
    def test_a_function_answers_the_given_number_of_events_and_is_left_waiting(self):
        for answers in (0, 1, 3):
            observed = self.run_function(self.case(), answers)
            self.assertEqual(observed.answers, [{"statusCode": 200, "found": {"Item": "one"}}] * answers)
            self.assertEqual(observed.calls, ["GetItem"] * answers)

    def test_cpu_time_and_memory_are_those_of_the_function(self):
        observed = self.run_function(self.case())
        self.assertGreater(observed.peak_bytes, 30_000_000)
        self.assertGreater(observed.cpu_seconds, 0)

    def test_a_function_that_ends_is_reported_with_its_error_output(self):
        with self.assertRaisesRegex(Ended, "stopped"):
            self.run_function(self.case("stop"))

    def test_a_wrong_answer_or_another_call_fails_the_measurement(self):
        observed = self.run_function(self.case(), 2)
        check(self.case(), observed)
        for other in (self.case(status=201), self.case(calls=["GetItem"] * 2), self.case(calls=["Query"])):
            with self.assertRaises(AssertionError):
                check(other, observed)


class Disturbances(WithFunction):
    def setUp(self):
        self.enterContext(redirect_stderr(StringIO()))

    def stalled(self):
        """Observes a function whose first attempt gets no response until the second has come."""
        second, attempts = threading.Event(), []

        def reply(_):
            attempts.append(1)
            second.wait() if len(attempts) == 1 else second.set()
            return {"Item": "one"}

        return self.run_function(self.case(reply=reply), ATTEMPT_TIMEOUT="0.2")

    def test_a_run_without_repeated_calls_on_one_connection_is_not_disturbed(self):
        observed = self.run_function(self.case(), 3)
        self.assertEqual(observed.connections, {"AWS": 1, "the Runtime API": 1})
        self.assertIsNone(disturbance(observed))

    def test_a_repeated_call_is_a_disturbance(self):
        observed = self.stalled()
        # The answer is right: only the attempts show that the function did more.
        check(self.case(), observed)
        self.assertIn("repeated calls: GetItem", disturbance(observed))

    def test_a_second_connection_is_a_disturbance(self):
        observed = self.run_function(self.case(), 2, RECONNECT="yes")
        self.assertEqual(observed.repeated_calls, [])
        self.assertEqual(disturbance(observed), "2 connections to AWS")

    def test_a_disturbed_run_is_repeated_and_its_count_is_not_used(self):
        runs = iter([lambda: (self.stalled(), 150), lambda: (self.run_function(self.case()), 100)])
        self.assertEqual(undisturbed("case", self.case(), lambda: next(runs)()), 100)

    def test_a_measurement_fails_as_disturbed_when_every_run_is(self):
        observed, runs = self.stalled(), []

        def measure():
            runs.append(1)
            return observed, 150

        with self.assertRaisesRegex(Disturbed, f"in each of {MAX_RUNS} runs, last by repeated calls"):
            undisturbed("case", self.case(), measure)
        self.assertEqual(len(runs), MAX_RUNS)

    def test_a_wrong_answer_fails_only_in_an_undisturbed_run(self):
        runs = iter([lambda: (self.stalled(), 150), lambda: (self.run_function(self.case(status=503)), 100)])
        with self.assertRaises(AssertionError):
            undisturbed("case", self.case(status=503), lambda: next(runs)())
        self.assertIsNone(next(runs, None))


class SlowClock(unittest.TestCase):
    def test_a_timeout_of_two_seconds_outlasts_the_harness(self):
        measure = textwrap.dedent("""
            import time
            wall, monotonic = time.time(), time.monotonic()
            time.sleep(0.5)
            passed = time.monotonic() - monotonic
            print((time.time() - wall) / passed)
        """)
        with TemporaryDirectory() as folder:
            output = subprocess.check_output([sys.executable, "-c", measure], env=slow_clock(folder))
        self.assertGreater(2 * float(output), TIMEOUT_SECONDS)

    def test_a_wait_for_a_call_is_as_slow_as_the_clock(self):
        wait = "import select; print('waits', flush=True); select.epoll().poll(0.004); print('waited', flush=True)"
        with TemporaryDirectory() as folder:
            command, environment = [sys.executable, "-c", wait], slow_clock(folder)
            with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
                process.stdout.readline()
                with self.assertRaises(subprocess.TimeoutExpired):
                    process.wait(0.5)
                process.kill()
                self.assertEqual(process.stdout.read(), b"")


class Kept(unittest.TestCase):
    OLD = {"show": {"warm": 1_000_000, "first poll": 10}}

    def test_a_count_within_the_tolerance_is_no_difference(self):
        self.assertEqual(kept.differences(self.OLD, {"show": {"warm": 1_099_000, "first poll": 10}}), [])

    def test_a_jump_is_a_difference_up_or_down(self):
        for count in (1_101_000, 899_000):
            self.assertEqual(len(kept.differences(self.OLD, {"show": {"warm": count}})), 1)

    def test_a_count_that_was_never_accepted_is_a_difference(self):
        for name, figure in (("cancel", "warm"), ("show", "first answer")):
            self.assertIn("none accepted", kept.differences(self.OLD, {name: {figure: 1}})[0])


class Spread(unittest.TestCase):
    def test_the_spread_is_half_the_distance_of_the_quartiles(self):
        self.assertEqual(spread([10, 9, 11, 10, 1_000]), 0.05)


if __name__ == "__main__":
    unittest.main()

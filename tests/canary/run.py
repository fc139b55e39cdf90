"""Runs planted releases beside the sound one, and checks that the alarms of the deployment roll them back:
`make canary`.

Each release of `releases.toml` is built in a copy of the checkout. The harness of the benchmark calls the
binaries as Lambda does. The metrics come from what the platform sees and from the functions' own output; the
alarms are those of the expanded template.
"""

import copy
import itertools
import json
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import alarms
import checkout
import edits
from cases import CASES
from harness import Harness

RELEASES = edits.load(Path(__file__).with_name("releases.toml"))
TEMPLATE = json.loads((checkout.ROOT / ".tools/template.json").read_text())
# A canary has 10 % of the calls.
CALLS, PLANTED_CALLS = 40, 4
# An alarm needs 20.
FEW_CALLS = 19


class Canary(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.harness = cls.enterClassContext(Harness())
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        build(checkout.ROOT, checkout.ROOT / "target")
        cls.copy = checkout.Copy("canary")

    def test_failing_releases_are_rolled_back_and_sound_ones_are_not(self):
        for name, release in RELEASES.items():
            with self.subTest(name):
                function, case = release["function"], single(self.case(release))
                sound, planted = self.binaries(name, release)

                def firing(*calls, refused=0):
                    return self.firing(function, case, calls, refused)

                self.assertEqual(firing((sound, CALLS)), {}, "sound release")
                canary = (sound, CALLS - PLANTED_CALLS), (planted, PLANTED_CALLS)
                self.assertEqual(firing(*canary), {function: [f"{function}Failures"]}, "canary")
                if case.status:
                    half = firing(*canary, refused=CALLS)
                    self.assertEqual(half, {function: [f"{function}Failures"]}, "half of the requests refused")
                self.assertEqual(firing((planted, CALLS)), {function: [f"{function}Failures"]}, "all calls")
                self.assertEqual(firing((planted, FEW_CALLS)), {}, "few calls")
                print(f"{name}: {function}Failures")

    def binaries(self, name, release):
        """Returns the function's binaries of the sound and of the planted release."""
        for edit in release["edit"]:
            text = (checkout.ROOT / edit["file"]).read_text()
            (self.copy.folder / edit["file"]).write_text(edits.apply(edit, text))
        build(self.copy.folder, self.copy.target)
        built = Path(checkout.host()) / "debug" / self.case(release).function
        # The next release of this function is built in the same place.
        planted = shutil.copy2(self.copy.target / built, self.folder / name)
        return checkout.ROOT / "target" / built, planted

    def firing(self, function, case, calls, refused):
        """Calls binaries of a function within one minute; API Gateway refuses a number of further requests. Returns
        the alarms that are on, by the function whose deployment they stop."""
        minute = alarms.Minute(TEMPLATE)
        for binary, count in calls:
            self.call(function, binary, case, count, minute)
        for status in itertools.islice(itertools.cycle((401, 429)), refused):
            minute.log_request(self.route(function), status)
        total = self.alarm(f"{function}Failures")["Metrics"][1]["MetricStat"]["Metric"]
        self.assertEqual(minute.sum(total), sum(count for _, count in calls), "the alarm sees each call")
        stopping = {
            name: [alarm for alarm in names if alarms.is_on(self.alarm(alarm), minute)]
            for name, names in alarms.deployments(TEMPLATE).items()
        }
        return {name: names for name, names in stopping.items() if names}

    def call(self, function, binary, case, count, minute):
        """Calls a binary, and adds the metrics of Lambda, of API Gateway and of the function itself."""
        name = f"{function}Function"
        with tempfile.TemporaryFile("w+") as output:
            environment = {"AWS_LAMBDA_FUNCTION_NAME": name}
            observed = self.harness.run([binary], case, count, environment=environment, output=output)
            output.seek(0)
            minute.log_output(output)
        minute.count("AWS/Lambda", "Errors", {"FunctionName": name}, count - len(observed.answers))
        if case.status:
            for answer in observed.answers:
                minute.log_request(self.route(function), answer["statusCode"])

    def case(self, release):
        return next(case for case in CASES if case.name == release["case"])

    def route(self, function):
        return TEMPLATE["Mappings"]["Routes"][function]["Route"]

    def alarm(self, name):
        return TEMPLATE["Resources"][name]["Properties"]


def build(folder, target):
    command = ["cargo", "build", "--locked", "--target", checkout.host(), "--target-dir", str(target)]
    built = subprocess.run(command, cwd=folder, check=False, text=True, stderr=subprocess.PIPE)
    # A planted release may have warnings; they are shown only with an error.
    assert built.returncode == 0, built.stderr


def single(case):
    """Returns the case with the first of its records, so that a call is a message."""
    event = json.loads(case.event)
    if "Records" not in event:
        return case
    one = copy.copy(case)
    one.event = json.dumps({"Records": event["Records"][:1]})
    return one


if __name__ == "__main__":
    unittest.main()

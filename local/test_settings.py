"""Tests of the check of make variables."""

import os
import subprocess
import tomllib
import unittest

import settings
from tools import ROOT, UserError


class Settings(unittest.TestCase):
    def fault(self, *names, **values):
        try:
            settings.check(names, values)
        except UserError as error:
            return str(error)
        return None

    def test_values_of_the_wrong_kind_are_rejected(self):
        for name, value, wanted in (
            ("BUYERS", "abc", "a whole number, 1 or more"),
            ("SEEDS", "0", "a whole number, 1 or more"),
            ("SEED", "x", "a whole number, 0 or more"),
            ("SETTINGS", "now", "one of before, after"),
            ("FIRST", "-1", "a whole number, 0 or more"),
            ("RUNS", "1e6", "a whole number, 1 or more"),
            ("TICKETS", "99999999999999999999", "a whole number, 1 or more"),
            ("PORT", "70000", "a number from 0 to 65535"),
            ("SHOP_PORT", "abc", "a number from 0 to 65535"),
            ("WRITE", "0", "1, or left out"),
            ("FIX", "true", "1, or left out"),
            ("AUTH", "1", "true or false"),
        ):
            self.assertEqual(self.fault(**{name: value}), f"{name} must be {wanted}, not {value}.")

    def test_names_of_targets_and_suites_are_known(self):
        self.assertRegex(self.fault(TARGET="prices"), "^TARGET must be one of cursor, .*, not prices.$")
        self.assertRegex(self.fault(SUITE="lib apis"), "^SUITE must be one of lib, api, .*, not lib apis.$")

    def test_every_rust_suite_is_run(self):
        packages = [tomllib.loads(path.read_text()) for path in (ROOT / "tests").glob("**/Cargo.toml")]
        named = {suite["name"] for package in packages for suite in package.get("test", [])}
        self.assertEqual(named | {"lib"}, set(settings.suites()))

    def test_right_and_empty_values_are_accepted(self):
        values = {"BUYERS": "1000", "FIRST": "0", "PORT": "0", "WRITE": "1", "AUTH": "false", "SEEDS": ""}
        self.assertIsNone(self.fault(*values, **values, TARGET="price", SUITE="lib api", NOTE="bank statement 7"))

    def test_misspelt_variable_is_rejected(self):
        self.assertRegex(self.fault("SEEEDS", SEEEDS="5"), "^No make target uses the variable SEEEDS. ")

    def test_every_target_checks_its_variables_before_it_runs(self):
        listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        targets = [line.split()[0] for line in listed.splitlines() if line.startswith("  ")]
        self.assertIn("load-test", targets)
        # Variables of the make that runs this test do not reach the tested one.
        environment = {name: os.environ[name] for name in ("HOME", "PATH")}
        for target in targets:
            command = ["make", "--dry-run", "--no-print-directory", target, "BUYERS=abc"]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
            self.assertRegex(done.stdout, r"\A\S+ local/settings.py BUYERS\n", target)


if __name__ == "__main__":
    unittest.main()

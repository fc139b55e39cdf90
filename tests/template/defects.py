"""Proves the checks: each patch in `defects/` breaks one thing in the template, and the check that its
first line names must find it."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import cfnlint.api

import assertions
from expand import ROOT, TEMPLATE, expand

HERE = Path(__file__).resolve().parent
CHECKOV = [sys.executable, ROOT / "local/tools.py", "checkov", "--config-file", HERE / "checkov.yaml", "--output", "json"]
SAYS = "Caught by: "


class Defects(unittest.TestCase):
    def test_each_is_caught_by_the_check_that_it_names(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for patch in sorted((HERE / "defects").glob("*.patch")):
            with self.subTest(patch.stem):
                check = patch.read_text().partition("\n")[0].removeprefix(SAYS)
                expanded = expand(broken(patch, folder))
                self.assertIn(check, findings(expanded, check.split()[0], folder))
                print(f"{patch.stem}: {check}")


def broken(patch, folder):
    """The template with the defect."""
    copy = folder / TEMPLATE.name
    copy.write_text(TEMPLATE.read_text())
    subprocess.run(["git", "apply", patch], cwd=folder, check=True)
    return copy.read_text()


def findings(expanded, tool, folder):
    """What the tool finds in the expanded template: cfn-lint, checkov, or else our own assertions."""
    if tool == "cfn-lint":
        return {f"{tool} {match.rule.id}" for match in cfnlint.api.lint(json.dumps(expanded))}
    if tool == "checkov":
        file = folder / "expanded.json"
        file.write_text(json.dumps(expanded))
        report = subprocess.run([*CHECKOV, "--file", file], check=False, capture_output=True).stdout
        return {f"{tool} {check['check_id']}" for check in json.loads(report)["results"]["failed_checks"]}
    return failures(expanded, tool.partition(".")[0])


def failures(expanded, group):
    """The assertions of this group that the template fails."""
    assertions.Template.expanded = expanded
    try:
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(getattr(assertions, group)).run(result)
    finally:
        assertions.Template.expanded = None
    # An error is a finding as well: something that an assertion looks at is not there.
    return {test.id().removeprefix("assertions.") for test, _ in [*result.failures, *result.errors]}


if __name__ == "__main__":
    unittest.main()

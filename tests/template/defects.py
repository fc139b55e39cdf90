"""Tests the checks of the template: each defect of `defects.toml` must fail the check named there, in both forms of
the template (forms.py)."""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import cfnlint.api
from samcli.yamlhelper import yaml_parse

import assertions
import edits
from expand import ROOT, TEMPLATE, translated, written_out
from forms import PARAMETERS, differences

HERE = Path(__file__).resolve().parent
CHECKOV = [
    sys.executable,
    ROOT / "local/tools.py",
    "checkov",
    "--config-file",
    HERE / "checkov.yaml",
    "--output",
    "json",
]


class Defects(unittest.TestCase):
    def test_each_is_caught_by_the_check_that_it_names(self):
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name, defect in edits.load(HERE / "defects.toml").items():
            with self.subTest(name):
                check = defect["caught_by"]
                template = yaml_parse(broken(defect))
                # The checks read the expanded form. The form with loops has the same resources, so the same defect.
                expanded = written_out(template)
                self.assertEqual(differences(template, expanded), set())
                self.assertIn(check, findings(translated(expanded), check.split()[0], folder))
                print(f"{name}: {check}")


class Forms(unittest.TestCase):
    def setUp(self):
        self.template = yaml_parse(TEMPLATE.read_text())
        self.expanded = written_out(self.template)

    def test_both_have_the_same_resources(self):
        for parameters in PARAMETERS:
            self.assertEqual(differences(self.template, self.expanded, parameters), set())

    def test_each_condition_is_compared_with_both_results(self):
        decisive = re.findall(r'{"Ref": "(\w+)"}', json.dumps(self.expanded["Conditions"]))
        self.assertLessEqual(set(decisive), set(PARAMETERS[1]))

    def test_each_difference_is_found(self):
        text = json.dumps(self.expanded, indent=2)
        for name, edit in edits.load(HERE / "differences.toml").items():
            with self.subTest(name):
                wrong = json.loads(edits.apply(edit, text))
                self.assertEqual(differences(self.template, wrong), set(edit["differs"]))


def broken(defect):
    """Returns the template with the defect."""
    text = TEMPLATE.read_text()
    for edit in defect["edit"]:
        text = edits.apply(edit, text)
    return text


def findings(expanded, tool, folder):
    """Returns the findings of cfn-lint, checkov or our own assertions in the expanded template."""
    if tool == "cfn-lint":
        return {f"{tool} {match.rule.id}" for match in cfnlint.api.lint(json.dumps(expanded))}
    if tool == "checkov":
        file = folder / "expanded.json"
        file.write_text(json.dumps(expanded))
        report = subprocess.run([*CHECKOV, "--file", file], check=False, capture_output=True).stdout
        return {f"{tool} {check['check_id']}" for check in json.loads(report)["results"]["failed_checks"]}
    return failures(expanded, tool.partition(".")[0])


def failures(expanded, group):
    """Returns the failing assertions of a group."""
    assertions.Template.expanded = expanded
    try:
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(getattr(assertions, group)).run(result)
    finally:
        assertions.Template.expanded = None
    # An error is a finding too: a checked property is missing.
    return {test.id().partition(".")[2] for test, _ in [*result.failures, *result.errors]}


if __name__ == "__main__":
    unittest.main()

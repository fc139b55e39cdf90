"""Removes each right from the template and checks that an assertion of the template fails. Rights required by
AWS are checked by their documentation page. All rights are checked by the table of roles; `run.py` shows that
the deployed service needs the others."""

import copy
import unittest

import assertions
from defects import failures
from expand import TEMPLATE, expand
from roles import policies, rights, without

TABLE = "Roles.test_each_may_do_what_the_table_says"
DEMANDED = "Roles.test_each_may_do_what_aws_does_with_it"


def demanded(template):
    """Returns the rights required by AWS, as (role, action, resource), each with its documentation page."""
    assertions.Template.expanded = template
    try:
        assertions.Roles.setUpClass()
        return [(page, right) for page, *right in assertions.Roles().demanded()]
    finally:
        assertions.Template.expanded = None


def page_of(right, pages):
    """Returns the documentation page that requires a right, or `None` for a right of the service's own code."""
    return next((page for page, it in pages if it == [right.role, right.action, right.resource]), None)


class Asserted(unittest.TestCase):
    def test_each_right_is_missed(self):
        template = expand(TEMPLATE.read_text())
        pages = demanded(template)
        for right in rights(template["Resources"]):
            with self.subTest(f"{right.role} {right}"):
                page = page_of(right, pages)
                missed_by = failures(taken_from(template, right), "Roles")
                self.assertLessEqual({TABLE, DEMANDED} if page else {TABLE}, missed_by)


def taken_from(template, right):
    """Returns the template without this right."""
    narrower = copy.deepcopy(template)
    (policy,) = (
        it for role, it in policies(narrower["Resources"]) if (role, it["PolicyName"]) == (right.role, right.policy)
    )
    policy["PolicyDocument"] = without(policy["PolicyDocument"], right)
    return narrower


if __name__ == "__main__":
    unittest.main()

"""The expanded template as a test case."""

import re
import unittest

from expand import TEMPLATE, expand


def target(reference):
    """Returns the resource of a `Ref` or `Fn::GetAtt`."""
    return reference["Ref"] if "Ref" in reference else reference["Fn::GetAtt"][0]


def arn(resource):
    return {"Fn::GetAtt": [resource, "Arn"]}


def as_list(value):
    return value if isinstance(value, list) else [value]


class Template(unittest.TestCase):
    """The expanded template. defects.py replaces it with a defective one."""

    expanded = None

    @classmethod
    def setUpClass(cls):
        template = Template.expanded or expand(TEMPLATE.read_text())
        cls.resources, cls.outputs = template["Resources"], template["Outputs"]
        cls.parameters, cls.conditions = template["Parameters"], template["Conditions"]
        cls.mappings, cls.description = template["Mappings"], template["Description"]

    def all(self, kind):
        """Returns the properties of each resource of this type, by name."""
        kind = f"AWS::{kind}"
        found = {name: it.get("Properties", {}) for name, it in self.resources.items() if it["Type"] == kind}
        self.assertTrue(found, kind)
        return found.items()

    def one(self, name):
        return self.resources[name]["Properties"]

    def functions(self):
        """Returns the name of each function, without the suffix, and its properties."""
        return [(name.removesuffix("Function"), it) for name, it in self.all("Lambda::Function")]

    def check_pattern(self, parameter, allowed, refused):
        """Checks which values a parameter of type String accepts, its default among them."""
        it = self.parameters[parameter]
        self.assertIn(int(it["Default"]), allowed, parameter)
        for value in map(str, allowed):
            self.assertIsNotNone(re.fullmatch(it["AllowedPattern"], value), f"{parameter} {value}")
        for value in refused:
            self.assertIsNone(re.fullmatch(it["AllowedPattern"], value), f"{parameter} {value}")

    def number(self, value):
        """Returns a number, or the default of its parameter."""
        return self.parameters[value["Ref"]]["Default"] if isinstance(value, dict) else value

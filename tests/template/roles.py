"""Lists the rights of each role: `make roles`."""

from collections import defaultdict
from typing import NamedTuple

from expand import TEMPLATE, expand


class Right(NamedTuple):
    """An action that a role may take on a resource, with the place in its policy."""

    role: str
    action: str
    resource: object
    condition: object
    policy: str
    statement: int
    place: int  # index in the statement's resources

    def __str__(self):
        condition = f"  if {_text(self.condition)}" if self.condition else ""
        return f"{self.action:<38} {_text(self.resource)}{condition}"


def table(resources):
    """Returns the table of rights as text."""
    rows = defaultdict(list)
    for right in rights(resources):
        rows[right.role].append(f"    {right}")
    return "\n".join("\n".join([role, *sorted(rows[role]), ""]) for role in sorted(rows))


def rights(resources):
    """Returns the rights of all roles."""
    for role, policy in policies(resources):
        for number, statement in enumerate(policy["PolicyDocument"]["Statement"]):
            for action in _list(statement["Action"]):
                for place, resource in enumerate(_list(statement["Resource"])):
                    condition = statement.get("Condition")
                    yield Right(role, action, resource, condition, policy["PolicyName"], number, place)


def policies(resources):
    """Returns every policy with its role."""
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::IAM::Role":
            yield from ((name, policy) for policy in properties.get("Policies", []))
        elif resource["Type"] == "AWS::IAM::Policy":
            yield from ((role["Ref"], properties) for role in properties["Roles"])


def without(document, right):
    """Returns the policy document, of the template or deployed, without this right."""
    before, statement, after = _around(document["Statement"], right.statement)
    resources = _list(statement["Resource"])
    others = [action for action in _list(statement["Action"]) if action != right.action]
    elsewhere = resources[: right.place] + resources[right.place + 1 :]
    left = [{**statement, "Action": others}] if others else []
    left += [{**statement, "Action": right.action, "Resource": elsewhere}] if elsewhere else []
    return {**document, "Statement": [*before, *left, *after]}


def _around(items, place):
    return items[:place], items[place], items[place + 1 :]


def _list(value):
    return value if isinstance(value, list) else [value]


def _text(value):
    """Returns an intrinsic function as short text."""
    match value:
        case {"Fn::GetAtt": [resource, "Arn"]}:
            return resource
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"{resource}.{attribute}"
        case {"Fn::Sub": text}:
            return text.replace("arn:${AWS::Partition}:", "").replace("${AWS::Region}:${AWS::AccountId}:", "")
        case {"Fn::If": [_, one, other]}:
            return f"{_text(one)} or {_text(other)}"
        case dict():
            return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    return str(value)


if __name__ == "__main__":
    print(table(expand(TEMPLATE.read_text())["Resources"]), end="")

"""The roles, and what each may do with what: `make roles`."""

from collections import defaultdict

from expand import TEMPLATE, expand


def table(resources):
    """The table as text."""
    rights = defaultdict(list)
    for role, statement in _statements(resources):
        condition = f"  if {_text(statement['Condition'])}" if "Condition" in statement else ""
        for action in _list(statement["Action"]):
            rights[role] += [f"    {action:<38} {_text(on)}{condition}" for on in _list(statement["Resource"])]
    return "\n".join("\n".join([role, *sorted(rights[role]), ""]) for role in sorted(rights))


def _statements(resources):
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::IAM::Role":
            policies = [(name, policy) for policy in properties.get("Policies", [])]
        elif resource["Type"] == "AWS::IAM::Policy":
            policies = [(role["Ref"], properties) for role in properties["Roles"]]
        else:
            continue
        for role, policy in policies:
            for statement in policy["PolicyDocument"]["Statement"]:
                yield role, statement


def _list(value):
    return value if isinstance(value, list) else [value]


def _text(value):
    """An intrinsic function as one would say it."""
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

"""Checks docs/asyncapi.yaml: the fields of AsyncAPI 3.0 in use here, every reference, and each example against its
schema. tests/in_process/schemas.rs checks the code against the same schemas."""

import json
import sys
from pathlib import Path

import jsonschema_rs
import yaml

DOCS = Path(__file__).resolve().parent.parent.parent.parent / "docs"

DESCRIBED = {"title", "summary", "description"}
# Allowed and required fields of each object (AsyncAPI 3.0.0, "Schema").
ALLOWED = {
    "document": (
        {"asyncapi", "info", "defaultContentType", "servers", "channels", "operations", "components"},
        {"asyncapi", "info"},
    ),
    "info": ({"title", "version", "description", "license"}, {"title", "version"}),
    "server": (DESCRIBED | {"host", "protocol", "variables"}, {"host", "protocol"}),
    "channel": (DESCRIBED | {"address", "messages", "servers"}, {"address", "messages"}),
    "operation": (DESCRIBED | {"action", "channel"}, {"action", "channel"}),
    "message": (DESCRIBED | {"correlationId", "payload"}, {"payload"}),
    "payload": ({"schemaFormat", "schema"}, {"schemaFormat", "schema"}),
}


def main():
    document = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
    files = {"": document}

    def follow(reference):
        file, _, pointer = reference.partition("#/")
        name = file.removeprefix("./")
        if name not in files:
            files[name] = json.loads((DOCS / name).read_text())
        found = files[name]
        for part in pointer.split("/"):
            assert part in found, f"{reference} leads nowhere"
            found = found[part]
        return found

    def check(kind, found):
        allowed, required = ALLOWED[kind]
        assert required <= found.keys() <= allowed, f"{kind}: {sorted(found)}"

    check("document", document)
    assert document["asyncapi"] == "3.0.0"
    check("info", document["info"])
    for server in document["servers"].values():
        check("server", server)
    follow_all(document, follow)
    for operation in document["operations"].values():
        check("operation", operation)
        assert operation["action"] in ("send", "receive")
    used_channels = {operation["channel"]["$ref"] for operation in document["operations"].values()}
    assert used_channels == {f"#/channels/{name}" for name in document["channels"]}
    used = {}
    for source, channel in document["channels"].items():
        check("channel", channel)
        for name, message in channel["messages"].items():
            assert message["$ref"] == f"#/components/messages/{name}"
            used[name] = source
    messages = document["components"]["messages"]
    assert used.keys() == messages.keys(), "a message is in no channel"
    for name, message in messages.items():
        check("message", message)
        check("payload", message["payload"])
        reference = message["payload"]["schema"]["$ref"]
        examples = follow(reference).get("examples")
        assert examples, f"{name} has no example"
        file = files[reference.partition("#")[0].removeprefix("./")]
        own = jsonschema_rs.validator_for({**file, "oneOf": [{"$ref": f"#/$defs/{name}"}]})
        for example in examples:
            assert (example["source"], example["detail-type"]) == (used[name], name)
            for validator in (own, jsonschema_rs.validator_for(file)):
                validator.validate(example)
    print(f"asyncapi.yaml: {len(document['channels'])} channels, {len(messages)} messages")


def follow_all(part, follow):
    if isinstance(part, dict):
        if "$ref" in part:
            follow(part["$ref"])
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            follow_all(inner, follow)


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, jsonschema_rs.ValidationError) as error:
        sys.exit(f"asyncapi.yaml: {error}")

"""Checks the examples of docs/openapi.yaml: each body and each parameter with an example fits its schema, each body has
an example, and each problem type of the code has one with the code's title. `make openapi` compares the running service
with the document."""

import re
import sys
from pathlib import Path

import jsonschema_rs
import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs/openapi.yaml"
PROBLEMS = ROOT / "shared/lambda/src/problem.rs"
PROBLEM_TYPE = r'"(urn:problem-type:orders:[a-z-]+)",\s*"([^"]+)"'


def main():
    document = yaml.safe_load(DOCUMENT.read_text())
    bodies = list(find(document, "content"))
    count, problems = 0, {}
    for place, media in bodies:
        for kind, body in media.items():
            examples = list(examples_of(body))
            assert examples, f"{place}: {kind} has no example"
            accepts = validator(document, body["schema"])
            # A schema that accepts everything would prove nothing.
            assert not accepts.is_valid({}) and not accepts.is_valid([{}]), f"{place}: the schema accepts everything"
            for example in examples:
                accepts.validate(example)
                count += 1
            if kind == "application/problem+json":
                problems |= {example["type"]: example["title"] for example in examples}
                for example in examples:
                    messages = [error["message"] for error in example["errors"]]
                    assert example["detail"] == "; ".join(messages), f"{place}: the detail of {example}"
    for place, parameters in find(document, "parameters"):
        # The parameters of a link are texts.
        if "/links/" in place:
            continue
        for parameter in parameters.values() if isinstance(parameters, dict) else parameters:
            for example in examples_of(parameter):
                validator(document, parameter["schema"]).validate(example)
                count += 1
    known = dict(re.findall(PROBLEM_TYPE, PROBLEMS.read_text()))
    assert known, "problem.rs has no problem types"
    problems.pop("about:blank")
    assert problems == known, f"problem types with examples: {problems}, in the code: {known}"
    print(f"openapi.yaml: {count} examples, {len(known)} problem types")


def find(part, key, place=""):
    """Yields each value of a key in the document, with its place."""
    if isinstance(part, list):
        part = dict(enumerate(part))
    for name, inner in part.items() if isinstance(part, dict) else ():
        if name == key:
            yield f"{place}/{name}", inner
        elif name not in ("example", "examples"):
            yield from find(inner, key, f"{place}/{name}")


def examples_of(part):
    if "example" in part:
        yield part["example"]
    yield from (example["value"] for example in part.get("examples", {}).values())


def validator(document, schema):
    return jsonschema_rs.validator_for({"components": document["components"], **schema}, validate_formats=True)


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, jsonschema_rs.ValidationError) as error:
        sys.exit(f"openapi.yaml: {error}")

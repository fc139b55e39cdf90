"""Expands the template: loops, and SAM resources into CloudFormation resources. Functions evaluated in an
account (`Ref`, `Fn::GetAtt`, `Fn::If` ...) stay unchanged."""

import json
import logging
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
_LOOP = "Fn::ForEach::"


def expand(text):
    template = yaml_parse(text)
    for section in ("Resources", "Outputs"):
        template[section] = _write_out(template[section])
    template["Transform"] = "AWS::Serverless-2016-10-31"
    # SAM requires code in S3; the location is irrelevant here.
    template["Globals"]["Function"]["CodeUri"] = "s3://code/zip"
    logging.disable(logging.WARNING)
    session = boto3.Session(region_name="us-east-1")
    expanded = Translator({}, Parser(), boto_session=session).translate(template, {})
    return json.loads(json.dumps(expanded))


def _write_out(section):
    """Expands the loops of a section like CloudFormation: the variable is replaced in names and in the
    text of `Fn::Sub`, and nowhere else (template reference, `Fn::ForEach`)."""
    written = {}
    for key, value in section.items():
        if key.startswith(_LOOP):
            variable, items, fragment = value
            for item in items:
                written.update(_write_out(_fill_in(fragment, "${" + variable + "}", item)))
        else:
            written[key] = value
    return written


def _fill_in(node, variable, item):
    if isinstance(node, list):
        return [_fill_in(part, variable, item) for part in node]
    if not isinstance(node, dict):
        return node
    if isinstance(text := node.get("Fn::Sub"), str):
        text = text.replace(variable, item)
        return {"Fn::Sub": text} if "${" in text else text
    return {key.replace(variable, item): _fill_in(part, variable, item) for key, part in node.items()}


if __name__ == "__main__":
    print(json.dumps(expand(TEMPLATE.read_text()), indent=2))

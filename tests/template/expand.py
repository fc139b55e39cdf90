"""Expands the template: loops, and SAM resources into CloudFormation resources. Functions evaluated in an
account (`Ref`, `Fn::GetAtt`, `Fn::If` ...) stay unchanged.

expand.py           prints the CloudFormation resources
expand.py --loops   writes out only the loops: a template for `sam build` without AWS::LanguageExtensions
"""

import json
import logging
import sys
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
LANGUAGE_EXTENSIONS = "AWS::LanguageExtensions"
_LOOP = "Fn::ForEach::"


def expand(text):
    """Returns the CloudFormation template of a SAM template with loops."""
    return translated(written_out(yaml_parse(text)))


def written_out(template):
    """Returns the template with its loops written out, and with the other transforms only."""
    written = {section: _write_out(template[section]) for section in ("Resources", "Outputs")}
    transforms = [it for it in template["Transform"] if it != LANGUAGE_EXTENSIONS]
    return json.loads(json.dumps({**template, **written, "Transform": transforms}))


def translated(template):
    """Returns the template with the resources of CloudFormation in the place of those of SAM. The argument is lost."""
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
    expanded = written_out(yaml_parse(TEMPLATE.read_text()))
    print(json.dumps(expanded if sys.argv[1:] == ["--loops"] else translated(expanded), indent=2))

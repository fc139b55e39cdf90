"""The two forms of the template: template.yaml, whose loops AWS::LanguageExtensions writes out in CloudFormation,
and `make expanded-template`, which has them written out. Both must have the same resources.

SAM CLI's implementation of AWS::LanguageExtensions stands for CloudFormation's: this project has no part in it.
It also resolves conditions, so `PARAMETERS` has each condition with both results."""

from samcli.lib.cfn_language_extensions.sam_integration import expand_language_extensions

from expand import LANGUAGE_EXTENSIONS

PARAMETERS = (
    {},
    {
        "JwtIssuer": "https://issuer.example",
        "JwtAudience": "orders",
        "SelfSignUp": "true",
        "EventBusName": "shared",
        "ArchiveDays": "0",
        "ReconcileMinutes": "0",
        "ReservedConcurrency": "50",
        "CorsOrigins": "https://shop.example",
        "AlarmTopicArn": "arn:aws:sns:us-east-1:000000000000:alarms",
    },
)


def differences(template, expanded, parameters=PARAMETERS[0]):
    """Returns what differs between a template with loops and its expanded form: section and name."""
    loops = _by_extensions(template, parameters)
    written = _by_extensions({**expanded, "Transform": [LANGUAGE_EXTENSIONS, *expanded["Transform"]]}, parameters)
    sections = loops.keys() | written.keys()
    return {
        f"{section} {name}"
        for section in sections
        for name in _names(loops.get(section)) | _names(written.get(section))
        if _part(loops, section, name) != _part(written, section, name)
    }


def _by_extensions(template, parameters):
    return expand_language_extensions(template, parameters, enabled=True).expanded_template


def _names(section):
    return set(section) if isinstance(section, dict) else {""}


def _part(template, section, name):
    part = template.get(section)
    return part.get(name) if isinstance(part, dict) else part

"""Fix: templates with an archive of an event bus are deployable.

The emulator has archives and replays, but no CloudFormation resource for them. This fix adds
`AWS::Events::Archive`.
"""

import json

from ministack.services import eventbridge
from ministack.services.cloudformation import provisioners


def apply():
    provisioners._RESOURCE_HANDLERS["AWS::Events::Archive"] = {"create": _create, "update": _update, "delete": _delete}


def _create(logical_id, properties, stack_name):
    name = properties.get("ArchiveName") or f"{stack_name}-{logical_id}"
    source = {"EventSourceArn": properties["SourceArn"]}
    _succeed(eventbridge._create_archive({"ArchiveName": name, **source, **_settings(properties)}))
    return name, {"Arn": eventbridge._archives[name]["ArchiveArn"]}


def _update(name, _, properties, __):
    _succeed(eventbridge._update_archive({"ArchiveName": name, **_settings(properties)}))
    return name, {"Arn": eventbridge._archives[name]["ArchiveArn"]}


def _delete(name, _):
    eventbridge._delete_archive({"ArchiveName": name})


def _settings(properties):
    return {
        "EventPattern": json.dumps(properties.get("EventPattern", {})),
        "RetentionDays": int(properties.get("RetentionDays", 0)),
    }


def _succeed(response):
    status, _, body = response
    if status >= 400:
        raise ValueError(f"AWS::Events::Archive failed: {body!r}")
